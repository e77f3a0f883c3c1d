"""Files of arrays made to read other files, to run code, to fill the memory or to take forever."""

import io
import os
import pickle
import resource
import zipfile

import h5py
import numpy as np
import pytest

from features import files
from features.errors import InputError
from features.external.arrays import arrange, open_arrays

SECRET = b"nothing of this file may be read"
ONES = np.ones((1, 3), "f4")


def npy(shape, content=b"", descr="<f4"):
    """A .npy whose header says what we like."""
    head = io.BytesIO()
    np.lib.format.write_array_header_2_0(head, {"descr": descr, "fortran_order": False, "shape": shape})
    return head.getvalue() + content


def long_npy(description, says=None):
    return b"\x93NUMPY\x02\x00" + (says or len(description)).to_bytes(4, "little") + description


def hdf5(make):
    def write(path):
        with h5py.File(path, "w") as file:
            make(file, path)

    return write


def virtual(file, path):
    layout = h5py.VirtualLayout(shape=(1, 3), dtype="f4")
    layout[:] = h5py.VirtualSource(str(path.with_name("other.h5")), "x", shape=(1, 3))
    file.create_virtual_dataset("a", layout)


def plug_in(file, _):
    how = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    how.set_chunk((1, 3))
    how.set_filter(32001, h5py.h5z.FLAG_OPTIONAL)
    h5py.h5d.create(file.id, b"a", h5py.h5t.NATIVE_FLOAT, h5py.h5s.create_simple((1, 3)), how)


def npz(*members):
    def write(path):
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in members:
                archive.writestr(name, content)

    return write


def external(file, path):
    file.create_dataset("a", (1, len(SECRET)), "u1", external=[(str(path.with_name("secret")), 0, len(SECRET))])


def deflated(file, _):
    file.create_dataset("a", data=np.zeros((20, 2_000_000), "f4"), chunks=(20, 2_000_000), compression="gzip")


TWICE = [bytes([n]) * 2 for n in range(60)]  # each list, or tuple, holds the one before it twice
NESTED_LISTS = b"\x80\x04]\x94K\x01a" + b"".join(b"0](h%ch%ce\x94" % (*pair,) for pair in TWICE)
NESTED_TUPLES = b"K\x01\x85\x94" + b"".join(b"0h%ch%c\x86\x94" % (*pair,) for pair in TWICE)
SMALL = npy((1, 1), bytes(4))
HOSTILE = {
    "external.h5": hdf5(external),
    "virtual.h5": hdf5(virtual),
    "link.h5": hdf5(lambda file, _: file.update({"a": h5py.ExternalLink("other.h5", "/x"), "b": ONES})),
    "plug-in.h5": hdf5(plug_in),
    "lengths.h5": hdf5(lambda file, _: file.create_dataset("a", (2,), h5py.vlen_dtype(np.float32))),
    "references.h5": hdf5(lambda file, _: file.create_dataset("a", data=file.ref, dtype=h5py.ref_dtype)),
    "fill.h5": hdf5(lambda file, _: file.create_dataset("a", (10**7, 10**5), "f4", chunks=(9, 9), fillvalue=1.0)),
    "deflated.h5": hdf5(deflated),
    "claims.npz": npz(("a.npy", npy((10**12, 1000), bytes(100))), ("b.npy", SMALL)),
    "deflated.npz": npz(("a.npy", npy((20, 10**6), bytes(8 * 10**7))), ("b.npy", SMALL)),
    "twice.npz": npz(("a.npy", SMALL), ("a", SMALL)),
    "control.npz": npz(("a\x1b]0;x\x07.npy", SMALL), ("b.npy", SMALL)),
    "nameless.npz": npz((".npy", SMALL), ("b.npy", SMALL)),
    "claims.npy": lambda path: path.write_bytes(npy((10**9, 4096), bytes(1000))),
    "deep.npy": lambda path: path.write_bytes(long_npy(b"{'shape': " + b"(" * 9000)),
    "long.npy": lambda path: path.write_bytes(long_npy(b"{" + b" " * 20_000)),
    "claims a header.npy": lambda path: path.write_bytes(long_npy(b"{", 2**32 - 1)),
    "linked": lambda path: (path.mkdir(), (path / "a.npy").symlink_to(path.with_name("secret"))),
    "piped": lambda path: (path.mkdir(), os.mkfifo(path / "a.npy")),
    "pipe.npy": os.mkfifo,
    "lists.pickle": lambda path: path.write_bytes(NESTED_LISTS + b"."),
    "key.pickle": lambda path: path.write_bytes(b"\x80\x04}" + NESTED_TUPLES + b"K\x01s."),
    "names.pickle": lambda path: path.write_bytes(pickle.dumps({frozenset("a"): ONES})),
    "memo.pickle": lambda path: path.write_bytes(b"\x80\x04Nr" + b"\xff" * 4 + b"."),
    "claims.pickle": lambda path: path.write_bytes(b"\x80\x04\x8e" + (2**40).to_bytes(8, "little") + b"a."),
    "claims bytes.pickle": lambda path: path.write_bytes(b"\x80\x05\x96" + (2**40).to_bytes(8, "little") + b"a."),
    "deep.pickle": lambda path: path.write_bytes(b"\x80\x04" + b"](" * 50_000 + b"K\x01" + b"e" * 50_000 + b"."),
}


def read(path):
    opened = open_arrays(path)
    opened.load(opened.names[0])
    arrange(opened, None)


@pytest.mark.parametrize("name", HOSTILE)
def test_it_is_refused_in_one_sentence_with_little_memory(tmp_path, monkeypatch, says, name):
    monkeypatch.setattr(files, "ROOM", 64 << 20)  # so that small bombs are large
    (tmp_path / "secret").write_bytes(SECRET)
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["x"] = ONES
    HOSTILE[name](tmp_path / name)
    before, limit = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, resource.getrlimit(resource.RLIMIT_DATA)
    with pytest.raises(InputError, match=rf"^[^\n]*{name}[^\n]*$") as error:
        read(tmp_path / name)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 800 << 10
    assert resource.getrlimit(resource.RLIMIT_DATA) == limit
    says(str(error.value).partition("of another format (")[0].partition("as a pickle (")[0])


def test_links_in_a_file_a_link_of_the_user_and_a_stack_in_parts_are_read(tmp_path):
    with h5py.File(tmp_path / "real.h5", "w") as file:
        file["a/x"], file["b"] = ONES, ONES
        file["a/loop"], file["a/self"] = h5py.SoftLink("/a"), file["a"]
    (tmp_path / "link.h5").symlink_to("real.h5")
    opened = open_arrays(tmp_path / "link.h5")
    assert sorted(opened.names) == ["a/x", "b"]
    np.testing.assert_array_equal(opened.load("a/x"), ONES)


def test_a_larger_file_may_take_more_memory_also_inside_another(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "ROOM", 1 << 20)
    (tmp_path / "small").write_bytes(bytes(10))
    (tmp_path / "large").write_bytes(bytes(10 << 20))
    with files.limited(tmp_path / "small"):
        with files.limited(tmp_path / "large"):
            bytearray(99 << 20)
        with pytest.raises(InputError, match=r"small' takes more than 1 MB"), files.limited(tmp_path / "small"):
            bytearray(99 << 20)
    bytearray(99 << 20)
