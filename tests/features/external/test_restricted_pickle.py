"""Pickles are read without trusting them."""

import collections
import os
import pickle
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from features.errors import InputError
from features.external.restricted_pickle import PickledArray, load_pickle

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


@given(content=PLAIN, protocol=st.sampled_from(PROTOCOLS))
def test_plain_things_come_back(tmp_path_factory, content, protocol):
    path = tmp_path_factory.getbasetemp() / "plain.pickle"
    path.write_bytes(pickle.dumps(content, protocol))
    assert load_pickle(path) == content


@given(
    array=hnp.arrays(NUMBERS, hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4)),
    protocol=st.sampled_from(PROTOCOLS),
    lay=st.sampled_from([np.asfortranarray, np.transpose, lambda a: a[::-1] if a.ndim else a]),
)
def test_arrays_come_back_however_they_lie(tmp_path_factory, array, protocol, lay):
    path = tmp_path_factory.getbasetemp() / "array.pickle"
    path.write_bytes(pickle.dumps({"a": lay(array)}, protocol))
    (found,) = load_pickle(path).values()
    assert isinstance(found, PickledArray)
    assert found.content.dtype == array.dtype
    np.testing.assert_array_equal(found.content, lay(array))


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_containers_and_scalars_of_numpy(load, protocol):
    ordered = collections.OrderedDict([("b", 1), ("a", 2)])
    default = collections.defaultdict(list, {"x": [1.5]})
    content = [ordered, default, {1, 2}, frozenset("a"), np.float32(1.5), np.int64(3), b"", b"\xff"]
    found = load(pickle.dumps(content, protocol))
    assert found == content
    assert list(found[0]) == ["b", "a"]
    assert type(found[1]) is dict
    assert [type(number) for number in found[4:6]] == [float, int]


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_text_and_objects_in_arrays(load, protocol):
    inner = np.ones(2, dtype="f4")
    objects = np.empty(2, dtype=object)
    objects[:] = ["a", inner]
    text, found = load(pickle.dumps([np.array(["a", "übung"]), objects], protocol))
    assert text.content.tolist() == ["a", "übung"]
    assert found.content[0] == "a"
    np.testing.assert_array_equal(found.content[1].content, inner)


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
    np.testing.assert_array_equal(array.content, np.arange(3, dtype="f4"))
    whole = pickle.loads(PYTHON_2[protocol], encoding="latin1")  # noqa: S301  # our own bytes, above
    np.testing.assert_array_equal(whole["video7"], array.content)


ATTACKS = {
    "system": (Calls(os.system, "touch broken"), "posix.system"),
    "eval": (Calls(eval, "open('broken', 'w')"), "builtin.*.eval"),
    "exec": (Calls(exec, "open('broken', 'w')"), "builtin.*.exec"),
    "nested": ({"a": [({"b": Calls(os.system, "touch broken")},)]}, "posix.system"),
    "getattr": (Calls(getattr, "a", "upper"), "builtin.*.getattr"),
    "numpy loads pickles": (Calls(np.load, "x.npy", None, True), "numpy.load"),
    "numpy imports": (Calls(np.testing.rundocs), "rundocs"),
    "numpy reads files": (Calls(np.fromfile, "/etc/passwd"), "fromfile"),
    "in a key": ({(Calls(os.system, "touch broken"),): 1}, "posix.system"),
    "a default": (collections.defaultdict(os.getcwd), "getcwd"),
    "an object": (Calls(Calls, os.system, "x"), "Calls"),
    "pandas": (__import__("pandas").DataFrame({"a": [1]}), "pandas|_reconstructor"),
    "torch": (__import__("torch").ones(2), "torch"),
}


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("attack", ATTACKS)
def test_whatever_could_run_is_refused_by_name(load, tmp_path, monkeypatch, attack, protocol):
    monkeypatch.chdir(tmp_path)
    harmful, name = ATTACKS[attack]
    with pytest.raises(InputError, match=name) as refusal:
        load(pickle.dumps(harmful, protocol))
    assert str(refusal.value).count("\n") == 0
    assert not (tmp_path / "broken").exists()


DTYPE = b"cnumpy\ndtype\n(X\x02\x00\x00\x00f4I00\nI01\ntR"
EMPTY = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\ntC\x01btR"
DEEP = b")" + b"2\x86" * 60  # a tuple of twice a tuple of twice a tuple ...: 2^60 steps to hash it
DAMAGE = {
    "the state of a function": b"cnumpy\ndtype\n(N}X\x05\x00\x00\x00_make]stb.",
    "attributes of a class": b"cnumpy\nndarray\n}X\x05\x00\x00\x00_makeNsb.",
    "an array by its class": b"cnumpy\nndarray\n((I3\nttR.",
    "a class as an object": b"\x80\x02cnumpy\nndarray\n)\x81.",
    "bytes that do not fit": EMPTY + b"(I1\n(I2\nt" + DTYPE + b"I00\nC\x04abcdtb.",
    "a negative shape": EMPTY + b"(I1\n(I-1\nI-1\nt" + DTYPE + b"I00\nC\x04abcdtb.",
    "a shape that is none": EMPTY + b"(I1\n]" + DTYPE + b"I00\nC\x04abcdtb.",
    "a state set twice": EMPTY
    + b"(I1\n(I1\nt"
    + DTYPE
    + b"I00\nC\x04abcdtb(I1\n(I1\nt"
    + DTYPE
    + b"I00\nC\x04abcdtb.",
    "a type of structures": b"cnumpy\ndtype\n(X\x05\x00\x00\x00f4,i4I00\nI01\ntR.",
    "a type of arrays": b"cnumpy\ndtype\n(X\x07\x00\x00\x00(9,9)f4I00\nI01\ntR.",
    "a type without a name": b"cnumpy\ndtype\n(]I00\nI01\ntR.",
    "a type with fields": DTYPE + b"(I3\nX\x01\x00\x00\x00<N(X\x01\x00\x00\x00at}I-1\nI-1\nI0\ntb.",
    "times": b"cnumpy\ndtype\n(X\x02\x00\x00\x00M8I00\nI01\ntR.",
    "another encoding": b"c_codecs\nencode\n(X\x01\x00\x00\x00aX\x05\x00\x00\x00rot13tR.",
    "an empty pickle": b"\x80\x02.",
    "text": b"hello world",
    "a tuple of tuples of tuples for a key": b"\x80\x04}" + DEEP + b"Ns.",
    "the same in a dict": b"(" + DEEP + b"Nd.",
    "the same in a set": b"\x80\x04\x8f(" + DEEP + b"\x90.",
    "the same in a frozenset": b"\x80\x04(" + DEEP + b"\x91.",
    "the same in a set of Python 2": b"c__builtin__\nset\n((" + DEEP + b"ltR.",
    "the same in an ordered dict": b"ccollections\nOrderedDict\n(((" + DEEP + b"NtltR.",
    "cut short": pickle.dumps({"a": np.ones((40, 40))})[:-500],
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_pickle_gone_wrong_is_one_sentence(load, damage):
    with pytest.raises(InputError, match="cannot be read as a pickle") as refusal:
        load(DAMAGE[damage])
    assert "\n" not in str(refusal.value)
    np.testing.assert_array_equal(load(pickle.dumps(np.ones(2))).content, np.ones(2))  # nothing has been changed
    assert np.dtype("f4").byteorder == "="


BOMBS = {
    "a memo place far out": b"\x80\x04Nr\xff\xff\xff\xff.",
    "long bytes": b"\x80\x04\x8e" + struct.pack("<Q", 2**45) + b"abc.",
    "a long bytearray": b"\x80\x05\x96" + struct.pack("<Q", 2**35) + b"abc.",
    "a long frame": b"\x80\x04\x95" + struct.pack("<Q", 2**62) + b"N.",
    "copies of copies": b"\x80\x04]q\x00("
    + b"K\x01" * 5000
    + b"e0"
    + b"c__builtin__\nset\nh\x00\x85R0" * 500
    + b"N.",
}


@pytest.mark.parametrize("bomb", BOMBS)
def test_what_a_pickle_only_claims_takes_no_memory(load, bomb):
    import tracemalloc

    tracemalloc.start()
    try:
        load(BOMBS[bomb])
    except InputError as refusal:
        assert "\n" not in str(refusal)  # noqa: PT017  # one of them does no harm and may be read
    finally:
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert peak < 1 << 20


def test_copies_of_copies_are_refused(load):
    with pytest.raises(InputError, match="again and again"):
        load(BOMBS["copies of copies"])


def test_objects_outside_of_the_file(load):
    with pytest.raises(InputError, match=r"torch\.save"):
        load(b"\x80\x02X\x01\x00\x00\x00aQ.")
    with pytest.raises(InputError, match=r"torch\.save"):
        load(b"P1\n.")


def test_an_empty_file(load):
    with pytest.raises(InputError, match="cannot be read"):
        load(b"")


@given(content=st.binary(max_size=200), at=st.integers(0, 300), new=st.integers(0, 255))
def test_no_damage_gets_through_as_anything_but_an_error(tmp_path_factory, content, at, new):
    path = tmp_path_factory.getbasetemp() / "damaged.pickle"
    whole = bytearray(pickle.dumps({"a": np.ones(3), "b": [1, "x"]}, 4))
    whole[at % len(whole)] = new
    for spoiled in (content, bytes(whole)):
        path.write_bytes(spoiled)
        try:
            load_pickle(path)
        except InputError as error:
            assert str(path) in str(error)  # noqa: PT017
