"""Segments stay few, and clips are seldom copied."""

import math
from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import strategies as st

from index.storage.compaction import FANOUT, FLOOR, level_of, to_merge


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


def test_levels():
    assert [level_of(n) for n in (0, 1, FLOOR, 4 * FLOOR - 1, 4 * FLOOR, 16 * FLOOR)] == [0, 0, 0, 0, 1, 2]


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
