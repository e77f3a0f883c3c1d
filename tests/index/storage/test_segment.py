"""Clips are found by name, whether their table is sorted or has grown."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from index.storage.segment import FEW, ClipTable

NAMES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=4)


@given(st.sets(NAMES, max_size=40), st.lists(NAMES, max_size=2 * FEW))
def test_a_sorted_table(ids, asked):
    ids = sorted(ids)  # Python and Arrow agree on what that is
    table = ClipTable(pa.table({"clip_id": pa.array(ids, pa.string())}))
    expected = [ids.index(name) if name in ids else -1 for name in asked]
    assert table.rows_of(asked).tolist() == expected
    assert [table.find(name) for name in asked] == [None if row < 0 else row for row in expected]
    assert table.rows_of(ids * 3).tolist() == [*range(len(ids))] * 3
    rows = np.arange(len(ids))[::-1]
    assert table.ids(rows) == ids[::-1]
    assert pa.array(ids, pa.string()).sort() == pa.array(ids, pa.string())


@pytest.mark.parametrize("count", [3, 5 * FEW])
def test_many_ids_at_once(count):
    ids = [f"{number:05d}" for number in range(count)]
    table = ClipTable(pa.table({"clip_id": ids}))
    assert table.ids(np.arange(count)) == ids
    assert len(table) == count
    few = [ids[-1], "x", ids[0]]
    assert table.rows_of(few).tolist() == [count - 1, -1, 0]


def test_a_table_that_grows_is_seen_as_it_was():
    places = {"a": [0, 2], "b": [1]}
    two = ClipTable(pa.table({"clip_id": ["a", "b"]}), places)
    three = ClipTable(pa.table({"clip_id": ["a", "b", "a"]}), places)
    assert (two.find("a"), three.find("a"), two.find("b"), two.find("c")) == (0, 2, 1, None)
    assert three.rows_of(["c", "a"]).tolist() == [-1, 2]
