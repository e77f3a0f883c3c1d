"""Pickles are read without trusting them."""

import collections
import io
import os
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from features.errors import InputError
from features.external.pickles import load_pickle

PROTOCOLS = range(pickle.HIGHEST_PROTOCOL + 1)
SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary()
PLAIN = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner) | st.lists(inner).map(tuple) | st.dictionaries(st.text() | st.integers(), inner),
    max_leaves=12,
)
NUMBERS = st.sampled_from(["f2", "f4", "f8", ">f4", "i1", "i8", "u2"])


@pytest.fixture
def load(tmp_path):
    """Write bytes, and read them as a pickle."""

    def run(content):
        path = tmp_path / "x.pickle"
        path.write_bytes(content)
        return load_pickle(path)

    return run


class Calls:
    """Unpickled by others, it calls a function."""

    def __init__(self, function, *arguments):
        self.made = (function, arguments)

    def __reduce__(self):
        return self.made


@given(
    content=PLAIN,
    array=hnp.arrays(NUMBERS, hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4)),
    protocol=st.sampled_from(PROTOCOLS),
    lay=st.sampled_from([np.asfortranarray, np.transpose, lambda a: a[::-1] if a.ndim else a]),
)
def test_plain_values_and_arrays_are_read_back(tmp_path_factory, content, array, protocol, lay):
    path, array = tmp_path_factory.getbasetemp() / "written.pickle", lay(array)
    path.write_bytes(pickle.dumps({"a": array, "plain": content}, protocol))
    found = load_pickle(path)
    assert found["plain"] == content
    path.write_bytes(pickle.dumps(content, protocol))
    assert load_pickle(path) == content
    np.testing.assert_array_equal(np.asarray(found["a"]), array, strict=True)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_text_scalars_and_the_dicts_of_collections(load, protocol):
    content = {"text": np.array(["a", "übung"]), "scalar": np.float32(1.5), "rows": [np.ones(2), np.zeros(2)]}
    for made in (collections.OrderedDict(content), collections.defaultdict(list, content)):
        found = load(pickle.dumps(made, protocol))
        assert type(found) is dict
        assert np.asarray(found["text"]).tolist() == ["a", "übung"]
        assert type(found["scalar"]) is float
        np.testing.assert_array_equal(np.asarray(found["rows"]), [[1, 1], [0, 0]])


PYTHON_2 = {  # {'video7': numpy.arange(3, dtype='f4')}, spelt as Python 2 and numpy 1 spell it: str is bytes there
    0: b"(dS'video7'\ncnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\ntS'b'\ntR(I1\n(I3\nt"
    b"cnumpy\ndtype\n(S'f4'\nI0\nI1\ntR(I3\nS'<'\nNNNI-1\nI-1\nI0\ntbI00\n"
    b"S'\\x00\\x00\\x00\\x00\\x00\\x00\\x80?\\x00\\x00\\x00@'\ntbs.",
    2: b"\x80\x02}q\x01U\x06video7q\x02cnumpy.core.multiarray\n_reconstruct\nq\x03cnumpy\nndarray\nq\x04K\x00\x85"
    b"U\x01b\x87Rq\x05(K\x01K\x03\x85cnumpy\ndtype\nq\x06U\x02f4K\x00K\x01\x87Rq\x07(K\x03U\x01<NNNJ\xff\xff\xff\xff"
    b"J\xff\xff\xff\xffK\x00tb\x89U\x0c\x00\x00\x00\x00\x00\x00\x80?\x00\x00\x00@tbs.",
}


@pytest.mark.parametrize("protocol", PYTHON_2)
def test_a_pickle_of_python_2(load, protocol):
    ((name, array),) = load(PYTHON_2[protocol]).items()
    assert name == b"video7"
    np.testing.assert_array_equal(np.asarray(array), np.arange(3, dtype="f4"))


REFUSED = {
    "system": (Calls(os.system, "touch broken"), "posix.system"),
    "eval": (Calls(eval, "open('broken', 'w')"), "builtin.*.eval"),
    "nested": ({"a": [({"b": Calls(os.system, "touch broken")},)]}, "posix.system"),
    "getattr": (Calls(getattr, "a", "upper"), "builtin.*.getattr"),
    "numpy loads pickles": (Calls(np.load, "x.npy", None, True), "numpy.load"),
    "numpy reads files": (Calls(np.fromfile, "/etc/passwd"), "fromfile"),
    "in a key": ({(Calls(os.system, "touch broken"),): 1}, "posix.system"),
    "a default": (collections.defaultdict(os.getcwd), "getcwd"),
    "an object": (Calls(Calls, os.system, "x"), "Calls"),
    "pandas": (__import__("pandas").DataFrame({"a": [1]}), "pandas|_reconstructor"),
    "torch": (__import__("torch").ones(2), "torch"),
    "an array of objects": (np.array([{}, Calls(os.system, "touch broken")], dtype=object), "object|posix.system"),
    "an array of structures": (np.zeros(2, "f4,i4"), "V8"),
    "times": (np.zeros(2, "M8[s]"), "datetime64"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_is_not_allowed_is_refused_by_name_and_never_run(load, tmp_path, monkeypatch, what):
    monkeypatch.chdir(tmp_path)
    content, name = REFUSED[what]
    for protocol in PROTOCOLS:
        with pytest.raises(InputError, match=rf"^.*({name}).*\Z"):  # one line
            load(pickle.dumps(content, protocol))
    assert not (tmp_path / "broken").exists()
    archive = io.BytesIO()
    __import__("torch").save({"a": np.ones(2)}, archive)
    with pytest.raises(InputError, match=r"torch\.save"):
        load(archive.getvalue())


DTYPE = b"cnumpy\ndtype\n(X\x02\x00\x00\x00f4I00\nI01\ntR"
EMPTY = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\ntC\x01btR"
DAMAGE = {
    "a class as an object": b"\x80\x02cnumpy\nndarray\n)\x81.",
    "the state of a class": b"cnumpy\nndarray\n(K\x01K\x02tb.",
    "bytes that do not fit": EMPTY + b"(I1\n(I2\nt" + DTYPE + b"I00\nC\x04abcdtb.",
    "a negative shape": EMPTY + b"(I1\n(I-1\nI-1\nt" + DTYPE + b"I00\nC\x04abcdtb.",
    "another encoding": b"c_codecs\nencode\n(X\x01\x00\x00\x00aX\x05\x00\x00\x00rot13tR.",
    "an empty pickle": b"\x80\x02.",
    "an empty file": b"",
    "text": b"hello world",
    "cut short": pickle.dumps({"a": np.ones((40, 40))})[:-500],
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_pickle_is_one_sentence(load, damage):
    with pytest.raises(InputError, match=r"^.*cannot be read as a pickle.*\Z"):
        load(DAMAGE[damage])
    """A pickle of `numpy.dtype` and of defaults spoils nothing for the next."""
    load(b"cnumpy.core.numeric\n_frombuffer\n(N}X\x0c\x00\x00\x00__defaults__)stb.")
    load(DTYPE + b"(I3\nX\x01\x00\x00\x00>NNNI-1\nI-1\nI0\ntb.")
    np.testing.assert_array_equal(np.asarray(load(pickle.dumps(np.ones(2)))), np.ones(2))
    assert np.dtype("f4").byteorder == "="


@given(content=st.binary(max_size=200), at=st.integers(0, 300), new=st.integers(0, 255))
def test_any_damage_is_at_most_an_input_error(tmp_path_factory, content, at, new):
    path = tmp_path_factory.getbasetemp() / "damaged.pickle"
    whole = bytearray(pickle.dumps({"a": np.ones(3), "b": [1, "x"]}, 4))
    whole[at % len(whole)] = new
    for spoiled in (content, bytes(whole)):
        path.write_bytes(spoiled)
        try:
            load_pickle(path)
        except InputError as error:
            assert str(path) in str(error)  # noqa: PT017
