"""Clips are found by name; segments stay few, and clips are seldom copied."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from index.storage.merge import FANOUT, FLOOR, level_of, to_merge
from index.storage.segment import FEW, ClipTable

NAMES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=4)


@given(st.sets(NAMES, max_size=40), st.lists(NAMES, max_size=2 * FEW))
def test_a_sorted_table_finds_clips_by_name(ids, wanted):
    ids = sorted(ids)  # Python and Arrow agree on what that is
    table = ClipTable(pa.table({"clip_id": pa.array(ids, pa.string())}))
    expected = [[ids.index(name)] if name in ids else [] for name in wanted]
    assert table.rows_of(wanted).tolist() == [row for rows in expected for row in rows]
    assert [table.rows_of([name]).tolist() for name in wanted] == expected
    assert table.rows_of(ids * 3).tolist() == [*range(len(ids))] * 3
    rows = np.arange(len(ids))[::-1]
    assert table.ids(rows) == ids[::-1]
    assert pa.array(ids, pa.string()).sort() == pa.array(ids, pa.string())


@dataclass(eq=False)
class Pile:
    """As much of a segment as `to_merge` reads."""

    clips: int
    rows: int = 0

    @property
    def table(self):
        return range(max(self.rows, self.clips))

    def __len__(self):
        return self.clips


@given(st.lists(st.integers(1, 30_000), max_size=150), st.integers(1, 32))
def test_few_segments_and_few_copies(batches, every):
    piles, copied = [], 0
    for number, batch in enumerate(batches, start=1):
        piles.append(Pile(batch))
        if number % every == 0 or number == len(batches):
            merged = to_merge(piles)
            piles = [pile for pile in piles if pile not in merged]
            if merged:
                piles.append(Pile(sum(map(len, merged))))
                copied += len(piles[-1])
            assert to_merge(piles) == []
            assert len(piles) <= (FANOUT - 1) * (1 + level_of(sum(map(len, piles))))
    assert sum(map(len, piles)) == sum(batches)
    small = FANOUT * FLOOR * len(batches)  # what merges of level 0 copy, which leave it there
    assert copied <= sum(batches) * (1 + level_of(sum(batches))) + small


def test_what_hardly_counts_is_merged():
    full, hollow = Pile(10_000), Pile(10, rows=10_000)
    assert to_merge([full, hollow]) == [hollow]
    assert to_merge([full]) == to_merge([]) == []
