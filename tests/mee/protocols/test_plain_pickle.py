"""Pickles that nobody trusts: what is plain comes back, all else is refused, and nothing runs."""

import collections
import os
import pickle
import struct
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mee.errors import InputError
from mee.protocols.msvd import load_plain_pickle

PLAIN = st.recursive(
    st.none() | st.text(),
    lambda inner: st.lists(inner) | st.lists(inner).map(tuple) | st.dictionaries(st.text(), inner),
    max_leaves=12,
)


class Calls:
    """Unpickled by others, it calls a function."""

    def __init__(self, function, *arguments):
        self.made = (function, arguments)

    def __reduce__(self):
        return self.made


@pytest.fixture
def load(tmp_path):
    def run(content):
        path = tmp_path / "x.pkl"
        path.write_bytes(content)
        return load_plain_pickle(path)

    return run


@given(content=PLAIN, protocol=st.sampled_from(range(pickle.HIGHEST_PROTOCOL + 1)))
def test_plain_things_come_back(tmp_path_factory, content, protocol):
    path = tmp_path_factory.getbasetemp() / "plain.pkl"
    path.write_bytes(pickle.dumps(content, protocol))
    assert load_plain_pickle(path) == content


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize(
    "content",
    [collections.OrderedDict(a=["b"]), [Calls(len, "x")], collections.Counter("a"), {"a": print}],
    ids=["ordered", "call", "counter", "function"],
)
def test_what_names_or_calls_anything_is_refused(load, content, protocol):
    with pytest.raises(
        InputError, match=r"x.pkl asks for more than lists, dicts and text, which could run code; if"
    ):
        load(pickle.dumps(content, protocol))


def test_nothing_is_ever_run(load, tmp_path):
    mark = tmp_path / "ran"
    with pytest.raises(InputError, match="could run code"):
        load(pickle.dumps(Calls(os.mkdir, str(mark))))
    with pytest.raises(InputError, match="could run code"):
        load(b"(S'" + str(mark).encode() + b"'\nios\nmkdir\n.")
    assert not mark.exists()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"garbage",
        pickle.dumps({"a": ["b"]})[:-3],
        pickle.dumps({"a": 1}),
        pickle.dumps({"a": b"x"}),
        pickle.dumps({("a",): "x"}),
        pickle.dumps({"a": {"b"}}),
        b"\x80\x04" + pickle.BYTEARRAY8 + struct.pack("<Q", 1 << 60) + b".",
    ],
)
def test_what_is_no_pickle_of_lists_dicts_and_text(load, content):
    with pytest.raises(InputError, match=r"x.pkl cannot be read as a pickle of lists, dicts and text \(.+\)$"):
        load(content)


@pytest.mark.parametrize(
    "content",
    [
        b"\x80\x04" + pickle.BINUNICODE8 + struct.pack("<Q", 1 << 40) + b"x.",
        b"\x80\x04" + pickle.FRAME + struct.pack("<Q", 1 << 40) + b"].",
        b"\x80\x04]" + pickle.LONG_BINPUT + struct.pack("<I", (1 << 32) - 1) + b".",
    ],
)
def test_lengths_that_are_only_claimed_take_no_memory(load, content):
    tracemalloc.start()
    try:
        load(content)
    except InputError:
        pass
    finally:
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert peak < 1_000_000
