"""Ids in messages."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mee.protocols.files import count, name_id, name_ids


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
