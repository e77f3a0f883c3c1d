"""How messages name things."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mee.errors import count, did_you_mean, name_id, name_ids, visible

NAMES = ["msrvtt-1ka", "msrvtt-1kb", "msvd"]


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        (name_ids([]), ""),
        (name_ids(["a"]), "'a'"),
        (name_ids(["a", "b", "c"]), "'a', 'b', 'c'"),
        (name_ids(list("abcd")), "'a', 'b', 'c' and 1 more"),
        (name_ids([str(number) for number in range(1990)]), "'0', '1', '2' and 1,987 more"),
        (count(0, "test video"), "0 test videos"),
        (count(1, "test video"), "1 test video"),
        (count(2_990, "test video"), "2,990 test videos"),
        (did_you_mean("msrvtt-1k", NAMES), " (did you mean 'msrvtt-1ka' or 'msrvtt-1kb'?)"),
        (did_you_mean(" MSRVTT_1kA", NAMES), " (did you mean 'msrvtt-1ka'?)"),
        (did_you_mean("mvsd", NAMES), " (did you mean 'msvd'?)"),
        (did_you_mean("zzz", NAMES), ""),
        (did_you_mean("msvd", []), ""),
    ],
)
def test_ids_counts_and_suggestions(shown, expected):
    assert shown == expected


@given(name=st.text())
def test_an_id_from_anywhere_is_shown_on_one_short_line(name):
    shown = name_id(name)
    assert visible(shown) == shown
    assert len(shown) <= 83
    if name.isprintable() and len(name) <= 80:
        assert shown == f"'{name}'"
