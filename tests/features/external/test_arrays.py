"""Files of arrays and lists of clips: every format gives the same, every layout the array of each clip."""

import json
import pickle
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import save_file
from safetensors.torch import save_file as save_torch

from features.errors import InputError
from features.external.arrays import ArrayFile, arrange, open_arrays, sha256_of
from features.external.config import ListedClip, read_ids

ARRAYS = {"a": np.arange(6, dtype="f4").reshape(2, 3), "b c": np.ones((1, 3), dtype="f2")}
IDS, STACK = ["a", "b", "c"], np.ones((3, 2))


def write_hdf5(path, arrays):
    with h5py.File(path, "w") as file:
        for name, array in arrays.items():
            file[name] = array


def write_pickle(path, content):
    path.write_bytes(pickle.dumps(content))


def write_folder(path, arrays):
    for name, array in arrays.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        np.save(path / f"{name}.npy", array)


WRITERS = {
    "x.npz": lambda path, arrays: np.savez(path, **arrays),
    "packed.NPZ": lambda path, arrays: np.savez_compressed(path.open("wb"), **arrays),
    "x.safetensors": lambda path, arrays: save_file(arrays, path),
    "x.h5": write_hdf5,
    "x.hdf5": write_hdf5,
    "x.pickle": write_pickle,
    "x.pkl": write_pickle,
    "folder": write_folder,
}


@pytest.mark.parametrize("name", WRITERS)
def test_every_format_gives_the_arrays_by_name(tmp_path, name):
    WRITERS[name](tmp_path / name, ARRAYS)
    opened = open_arrays(tmp_path / name)
    assert sorted(opened.names) == sorted(ARRAYS)
    for key, array in ARRAYS.items():
        found = opened.read(key)
        assert tuple(found.shape) == array.shape
        np.testing.assert_array_equal(found[...], array)
        np.testing.assert_array_equal(found[0], array[0])


def test_folders_pickles_and_memory_mapped_arrays(tmp_path):
    np.save(tmp_path / "x.npy", ARRAYS["a"])
    opened = open_arrays(tmp_path / "x.npy")
    assert opened.names == ("",)
    assert isinstance(opened.read(""), np.memmap)
    assert open_arrays((tmp_path / "x.npy").rename(tmp_path / "x.npz")).names == ("",)
    write_folder(tmp_path / "f", {"a.mp4": ARRAYS["a"], "sub/b": ARRAYS["a"]})
    np.savez(tmp_path / "f" / "c.npz", ARRAYS["a"])
    (tmp_path / "f" / "README.md").write_text("hello")
    (tmp_path / "f" / ".hidden.npy").write_text("")
    opened = open_arrays(tmp_path / "f")
    assert sorted(opened.names) == ["a.mp4", "c", "sub/b"]
    for name in opened.names:
        np.testing.assert_array_equal(opened.read(name)[...], ARRAYS["a"])
    np.savez(tmp_path / "f" / "a.mp4.npz", ARRAYS["a"])
    with pytest.raises(InputError, match=r"a\.mp4"):
        open_arrays(tmp_path / "f")
    content = {"rows": [[1, 2], [3, 4.5]], b"row": [1.5, 2], 7: np.ones(2), "empty": [], "nothing": None}
    write_pickle(tmp_path / "x.pkl", content)
    opened = open_arrays(tmp_path / "x.pkl")
    assert opened.names == ("rows", "row", "7", "empty", "nothing")
    *arrays, nothing = map(opened.read, opened.names)
    assert [np.asarray(array).tolist() for array in arrays] == [[[1, 2], [3, 4.5]], [1.5, 2], [1, 1], []]
    assert nothing is None
    write_pickle(tmp_path / "one.pkl", ARRAYS["a"])
    assert open_arrays(tmp_path / "one.pkl").names == ("",)


@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float8_e4m3fn], ids=str)
def test_tensors_of_types_that_numpy_does_not_have(tmp_path, kind):
    tensor, ids = torch.tensor([[1.5, -2, 0.25], [0, 3, 1]]).to(kind), torch.tensor([2**40 + 1, 2**40 + 2])
    save_torch({"a": tensor, "ids": ids}, tmp_path / "x.safetensors")
    opened = open_arrays(tmp_path / "x.safetensors")
    np.testing.assert_array_equal(opened.read("a"), tensor.float().numpy(), strict=True)
    assert opened.load("ids").tolist() == ids.tolist()  # the others stay as they are


NAMES = {"a b": "a b", "features/a features/b": "a b", "x/y/a x/y/b": "a b", "a/features b/features": "a b"}
NAMES |= {"one/a one/b two/a": "one/a one/b two/a", "a two/b": "a two/b"}


@pytest.mark.parametrize("places", NAMES)
def test_names_of_the_data_sets_of_hdf5(tmp_path, places):
    write_hdf5(tmp_path / "x.h5", {place: np.full(2, number) for number, place in enumerate(places.split())})
    opened = open_arrays(tmp_path / "x.h5")
    assert list(opened.names) == NAMES[places].split()
    assert [int(opened.read(name)[0]) for name in opened.names] == list(range(len(opened.names)))
    write_hdf5(tmp_path / "other.h5", {"ids": ["a", "übung"], "void": h5py.Empty("f4")})
    opened = open_arrays(tmp_path / "other.h5")
    assert opened.read("ids")[...].tolist() == ["a", "übung"]
    assert opened.read("void") is None


def cut(path, write):
    write(path, {"a": np.random.default_rng(0).normal(size=(300, 30))})
    path.write_bytes(path.read_bytes()[:-20000])


OBJECTS = np.array([{"a": 1}], dtype=object)
TWO_A_GROUP = dict.fromkeys([f"{clip}/{what}" for clip in "ab" for what in ("streams", "times")], np.ones(2))
PICKLED = {"text.pkl": "text", "none.pkl": None, "list.pkl": [1.0, 2.0], "empty.pkl": {}, "pickle.npy": 1}
PICKLED |= {"alike.pkl": {"1": np.ones(2), 1: np.ones(2)}}
PICKLED |= {"ragged.pkl": {"a": [[1, 2], [3]]}}
UNREADABLE = {  # name of the file -> how it is made; reading `a` fails
    "nowhere.npy": lambda path: None,
    **{f"x{ending}": lambda path: path.write_text("x") for ending in (".mat", ".tar", ".pth", ".lmdb", ".npz.gz")},
    "x.tfrecord-00000-of-00010": lambda path: path.write_text("x"),
    "x.feather": lambda path: path.write_text("x"),
    "x.xyz": lambda path: path.write_text("x"),
    "a .pt a clip": lambda path: (path.mkdir(), (path / "a.pt").write_text("x")),
    "no arrays": lambda path: path.mkdir(),
    "an empty array": lambda path: (path.mkdir(), (path / "a.npy").write_bytes(b"")),
    "two arrays a file": lambda path: (path.mkdir(), np.savez(path / "a.npz", np.ones(2), np.ones(2))),
    "groups.h5": lambda path: write_hdf5(path, TWO_A_GROUP),
    "objects.npy": lambda path: np.save(path, OBJECTS, allow_pickle=True),
    "objects.npz": lambda path: np.savez(path, a=OBJECTS),
    "square.npy": lambda path: np.save(path, np.array([[None, 1.0]]), allow_pickle=True),
    "code.npy": lambda path: np.save(path, np.array([Path("x")], dtype=object), allow_pickle=True),
    "torch.pkl": lambda path: torch.save({"a": torch.ones(2)}, path),
    "old torch.pkl": lambda path: torch.save({"a": torch.ones(2)}, path, _use_new_zipfile_serialization=False),
    "tensors.pkl": lambda path: write_pickle(path, {"a": torch.ones(2)}),
    **{name: lambda path, content=content: write_pickle(path, content) for name, content in PICKLED.items()},
    "cut.safetensors": lambda path: cut(path, WRITERS["x.safetensors"]),
    "cut.h5": lambda path: cut(path, write_hdf5),
    "cut.npz": lambda path: cut(path, WRITERS["x.npz"]),
    "cut.npy": lambda path: cut(path, lambda path, arrays: np.save(path, arrays["a"])),
}


@pytest.mark.parametrize("name", UNREADABLE)
def test_what_cannot_be_read_is_one_sentence_that_names_it(tmp_path, says, name):
    UNREADABLE[name](tmp_path / name)
    with pytest.raises(InputError) as error:
        np.asarray(open_arrays(tmp_path / name).read("a")[...])
    says(str(error.value).partition("of another format (")[0])  # without the words of numpy and others


JUNK = (b"", b"hello world", b"\x93NUMPY\x01\x00v\x00{'descr': broken", b"PK\x03\x04abc", bytes(100))


@pytest.mark.parametrize("name", ["x.npy", "x.npz", "x.safetensors", "x.h5", "x.pickle"])
def test_foreign_and_empty_files_are_one_sentence_that_names_them(tmp_path, name):
    for content in JUNK:
        (tmp_path / name).write_bytes(content)
        with pytest.raises(InputError, match=f"^[^\n]*{name}[^\n]*$"):
            open_arrays(tmp_path / name)


@pytest.mark.parametrize("name", ["x.npy", "x.npz", "x.pickle"])
def test_objects_of_python_are_read_as_a_pickle_is(tmp_path, name):
    """A dict in an array without axes, as numpy.save wraps it; a list of streams that differ in length."""
    streams, path = {"a": np.ones((2, 3)), "b": np.nan, "c": None, "d": np.array(None)}, tmp_path / name
    several = np.empty(4, dtype=object)
    several[:] = list(streams.values())
    ids = np.array(list(streams), dtype=object)
    write = {
        "x.npz": lambda array: np.savez(path, array, ids=ids),
        "x.npy": lambda array: np.save(path, array, allow_pickle=True),
        "x.pickle": lambda array: write_pickle(path, array),
    }[name]
    for content in (several, np.array(streams), streams):
        if name == "x.npz" and content is not several:
            continue
        write(content)
        found = arrange(open_arrays(path), list(streams))
        np.testing.assert_array_equal(found.read("a"), streams["a"])
        assert np.isnan(found.read("b"))
        assert found.read("c") is found.read("d") is None


# ---- layouts


def file_of(**arrays):
    return ArrayFile(Path("x.npz"), tuple(arrays), lambda name: arrays[name])


def test_one_array_a_clip_of_several_or_of_one(tmp_path):
    found = arrange(file_of(a=np.ones(3), b=np.zeros((2, 3)), c=None), None)
    assert (list(found.places), found.layout) == (IDS, "keyed, the first (3,) float64")
    np.testing.assert_array_equal(found.read("b"), np.zeros((2, 3)))
    assert found.read("c") is found.read("d") is None
    assert list(arrange(file_of(b=STACK), IDS).places) == ["b"]
    np.save(tmp_path / "ids.npy", STACK)
    assert list(arrange(open_arrays(tmp_path), None).places) == ["ids"]
    for ids in (np.array(IDS, "S"), np.array(IDS), np.arange(3)):
        wanted = ["0", "1", "2"] if ids.dtype.kind == "i" else IDS
        assert list(arrange(file_of(ids=ids, x=STACK), None).places) == wanted


def test_one_array_is_a_clip_where_a_clip_has_its_name():
    for listed, known in ((None, ["x", "y"]), (["x"], []), (["y", "x"], [])):
        found = arrange(file_of(x=STACK), listed, known)
        assert list(found.places) == ["x"]
        np.testing.assert_array_equal(found.read("x"), STACK)
    assert list(arrange(file_of(x=STACK), IDS, ["x"]).places) == IDS
    assert list(arrange(file_of(x=STACK, ids=np.array(IDS)), None, ["x"]).places) == IDS


@pytest.mark.parametrize("shape", [(3, 2), (3, 4, 2), (3, 1, 1, 2)])
@pytest.mark.parametrize("name", ["", "anything"])
def test_all_clips_in_one_array(shape, name):
    stack = np.random.default_rng(0).normal(size=shape)
    inside = file_of(**{name: stack, "ids": np.array(IDS)})
    for found in (arrange(file_of(**{name: stack}), IDS), arrange(inside, None), arrange(inside, ["c"])):
        assert (list(found.places), found.layout) == (IDS, f"stacked {shape} float64")
        np.testing.assert_array_equal([found.read(clip_id) for clip_id in IDS], stack)


@given(st.lists(st.integers(0, 4), min_size=1, max_size=8))
def test_ragged_rows_are_what_was_put_together(lengths):
    streams = [np.full((length, 2), number) for number, length in enumerate(lengths)]
    ids = [f"v{number}" for number in range(len(lengths))]
    arrays = {"rows": np.concatenate(streams), "offsets": np.cumsum([0, *lengths]), "ids": np.array(ids)}
    found = arrange(file_of(**arrays), None)
    for clip_id, stream in zip(ids, streams):
        np.testing.assert_array_equal(found.read(clip_id), stream)


OFFSETS = {"float offsets": np.ones(4), "no offsets": np.ones(0, int), "offsets end early": np.array([0, 1, 2])}
OFFSETS |= {"offsets start late": np.array([1, 3]), "offsets fall": np.array([0, 2, 1, 3], "u8")}
UNARRANGED = {
    "no ids": ({"x": STACK}, None),
    "fewer in --ids": ({"x": STACK}, ["a", "b"]),
    "fewer in the file": ({"x": STACK, "ids": np.array(["a"])}, IDS),
    "an id twice": ({"x": STACK, "ids": np.array(["a", "b", "a"])}, None),
    "ids are floats": ({"x": STACK, "ids": np.ones(3)}, None),
    "ids in two columns": ({"x": STACK, "ids": np.ones((3, 1), int)}, None),
    "two arrays": ({"x": STACK, "y": STACK, "ids": np.array(IDS)}, None),
    "no ids and no name": ({"": STACK}, None),
    "one axis and no ids": ({"x": np.ones(3)}, None),
    "one axis": ({"x": np.ones(3)}, IDS),
    "an empty entry": ({"x": None}, IDS),
    "ragged without ids": ({"rows": STACK, "offsets": np.arange(4)}, None),
    "ragged, fewer ids": ({"rows": STACK, "offsets": np.arange(4)}, ["a"]),
    "ragged and more": ({"rows": STACK, "offsets": np.arange(4), "t": STACK, "ids": np.array(IDS)}, None),
    "empty ids": ({"x": STACK, "ids": None}, None),
    "rows of one axis": ({"rows": np.ones(3), "offsets": np.arange(4)}, IDS),
    **{what: ({"rows": STACK, "offsets": offsets}, IDS) for what, offsets in OFFSETS.items()},
    "a name twice": ({"a": np.ones(2), " a": np.ones(2)}, None),
    "an empty name": ({"a": np.ones(2), " ": np.ones(2)}, None),
}


@pytest.mark.parametrize("what", UNARRANGED)
def test_arrays_that_do_not_fit_together(says, what):
    arrays, ids = UNARRANGED[what]
    with pytest.raises(InputError, match=r"^x\.npz") as error:
        arrange(file_of(**arrays), ids)
    says(error.value)


def test_digests(tmp_path):
    """Of a file as other programs give it; of a folder by names and contents of its clips."""
    (tmp_path / "x").write_text("abc")
    assert sha256_of(tmp_path / "x") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    seen = set()
    for name, content in (("a", 1), ("b", 1), ("b", 2)):
        write_folder(tmp_path / f"{name}{content}", {name: np.full(3, content)})
        (tmp_path / f"{name}{content}" / "README").write_text(str(len(seen)))
        seen.add(sha256_of(tmp_path / f"{name}{content}"))
    assert len(seen) == 3


LISTED = ["video7", "übung 漢字.mp4", "c#t=0,10", "0012"]
LISTS = {
    "x.txt": lambda path: path.write_text("\ufeff" + "\r\n".join(LISTED) + "\r\n\n", encoding="utf-8"),
    "x": lambda path: path.write_text("\n".join(f" {clip_id}\t" for clip_id in LISTED)),
    "x.csv": lambda path: pd.DataFrame({"video_id": LISTED, "n": 1}).to_csv(path, index=False),
    "x.parquet": lambda path: pd.DataFrame({"video": LISTED}).to_parquet(path),
    "x.json": lambda path: path.write_text(json.dumps(LISTED)),
    "x.jsonl": lambda path: path.write_text("".join(json.dumps({"id": name, "n": 1}) + "\n" for name in LISTED)),
    "captions.csv": lambda path: path.write_text(
        "\n".join(["id,caption", *(f'"{i}",x' for i in [*LISTED, *LISTED])])
    ),
    "lines.jsonl": lambda path: path.write_text("\n".join(json.dumps(clip_id) for clip_id in LISTED)),
    "bytes.parquet": lambda path: pd.DataFrame({"id": [clip_id.encode() for clip_id in LISTED]}).to_parquet(path),
}


@pytest.mark.parametrize("name", LISTS)
def test_every_format_gives_the_ids_in_order(tmp_path, name):
    LISTS[name](tmp_path / name)
    clips = read_ids(tmp_path / name)
    assert list(clips) == LISTED
    assert clips["video7"] == ListedClip("video7", "video7", 0.0, 0.0)


def test_times_and_the_video_of_a_clip_and_whole_numbers_as_ids(tmp_path):
    (tmp_path / "x.json").write_text("[7, 8]")
    assert list(read_ids(tmp_path / "x.json")) == ["7", "8"]
    (tmp_path / "x.csv").write_text("clip_id,video,start_s,end_s\na1,a.mp4,0,2.5\na2,a.mp4,2.5,4\na3,b.mp4,,\n")
    assert list(read_ids(tmp_path / "x.csv").values()) == [
        ListedClip("a1", "a.mp4", 0, 2.5),
        ListedClip("a2", "a.mp4", 2.5, 4),
        ListedClip("a3", "b.mp4", 0, 0),
    ]
    pd.DataFrame({"id": ["a"], "start_s": [None], "end_s": [3.0]}).to_parquet(tmp_path / "x.parquet")
    assert read_ids(tmp_path / "x.parquet") == {"a": ListedClip("a", "a", 0, 3)}


WRONG_LISTS = {"empty.txt": b"", "twice.txt": b"a\nb\na\n", "metadata.txt": b"a\n__metadata__\n"}
WRONG_LISTS |= {"control.txt": b"a\0\n", "utf16.txt": b"\xff\xfe\x00", "twice.csv": b"video_id,n\na,1\na,2\n"}
WRONG_LISTS |= {"nameless.csv": b"video_id,n\na,1\n ,2\n", "columns.csv": b"name,n\na,1\n", "rows.csv": b"id,n\n"}
WRONG_LISTS |= {"empty.csv": b"", "start.csv": b"id,start_s,end_s\na,x,1\n"}
WRONG_LISTS |= {"negative.csv": b"id,start_s,end_s\na,-1,1\n", "order.csv": b"id,start_s,end_s\na,3,1\n"}
WRONG_LISTS |= {"video.csv": b"clip_id,video\na,\n", "junk.parquet": b"junk", "object.json": b"{}"}
WRONG_LISTS |= {"cut.json": b"[", "number.json": b"[1.5]", "true.json": b"[true]", "null.json": b"[null]"}
WRONG_LISTS |= {"surrogate.json": b'["\\ud800"]', "line.json": b'["a\\nb"]', "deep.json": b"[" * 100000}
WRONG_LISTS |= {"lacks.jsonl": b'{"id": "a"}\n{"name": "b"}\n', "mixed.jsonl": b'{"id": "a"}\n"b"\n'}
WRONG_LISTS |= {"x.xls": b"a", "nowhere.txt": None}


@pytest.mark.parametrize("name", WRONG_LISTS)
def test_lists_that_cannot_be_used_are_one_sentence(tmp_path, says, name):
    path = tmp_path / name
    if WRONG_LISTS[name] is not None:
        path.write_bytes(WRONG_LISTS[name])
    with pytest.raises(InputError, match=name) as error:
        read_ids(path)
    assert "\n" not in str(error.value)
    says(str(error.value).partition("list of ids: ")[0])  # without the words of the parsers
