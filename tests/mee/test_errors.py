"""How messages name things."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mee.errors import count, did_you_mean, name_id, name_ids


@pytest.mark.parametrize(
    ("ids", "shown"),
    [
        ([], ""),
        (["a"], "'a'"),
        (["a", "b", "c"], "'a', 'b', 'c'"),
        (list("abcd"), "'a', 'b', 'c' and 1 more"),
        ([str(number) for number in range(1990)], "'0', '1', '2' and 1,987 more"),
    ],
)
def test_three_ids_and_how_many_more(ids, shown):
    assert name_ids(ids) == shown


def test_one_is_not_many():
    assert [count(number, "test video") for number in (0, 1, 2_990)] == [
        "0 test videos",
        "1 test video",
        "2,990 test videos",
    ]


@given(name=st.text())
def test_an_id_from_anywhere_is_shown_on_one_short_line(name):
    shown = name_id(name)
    assert shown.isprintable()
    assert len(shown) <= 83
    if name.isprintable() and len(name) <= 80:
        assert shown == f"'{name}'"


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("msrvtt-1k", " (did you mean 'msrvtt-1ka' or 'msrvtt-1kb'?)"),
        (" MSRVTT_1kA", " (did you mean 'msrvtt-1ka'?)"),
        ("mvsd", " (did you mean 'msvd'?)"),
        ("zzz", ""),
    ],
)
def test_a_typo_suggests_the_nearest_names(typed, meant):
    assert did_you_mean(typed, ["msrvtt-1ka", "msrvtt-1kb", "msvd"]) == meant
    assert did_you_mean(typed, []) == ""
