"""Segments: clips are found by name; segments stay few, and clips are seldom copied."""

import math
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from index.storage.compaction import FANOUT, level_of, to_merge
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


@dataclass(eq=False)
class Pile:
    """As much of a segment as is looked at."""

    clips: int
    rows: int = 0
    table: range = field(init=False)

    def __post_init__(self):
        self.table = range(max(self.rows, self.clips))

    def __len__(self):
        return self.clips


@given(st.lists(st.integers(1, 30_000), max_size=150))
def test_few_segments_and_few_copies(batches):
    piles, copied = [], 0
    for batch in batches:
        merged = to_merge(piles, batch)
        piles = [pile for pile in piles if pile not in merged]
        piles.append(Pile(batch + sum(map(len, merged))))
        copied += len(piles[-1])
    total = sum(batches)
    assert sum(map(len, piles)) == total
    levels = 1 + level_of(total)
    assert len(piles) <= (FANOUT - 1) * levels
    assert copied <= total * (levels + 1 + math.log2(1 + len(batches)))


def test_what_hardly_counts_goes_along():
    full, hollow = Pile(10_000), Pile(10, rows=10_000)
    assert to_merge([full, hollow], 5) == [hollow]
    assert to_merge([full], 5) == []
