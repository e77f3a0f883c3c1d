"""How queries are divided into blocks: memory for a block's scores is bounded, whatever the gallery's size."""

from __future__ import annotations

from collections.abc import Iterator

BLOCK_SCORES = 2**21  # of a block: 8 MB, which a cache holds
LARGEST_BLOCK = 2**25
FEWEST_ROWS = 128  # below, a matrix product is slowed down by reading the gallery


def query_parts(queries: int, candidates: int) -> Iterator[slice]:
    """The queries, a block's worth at a time."""
    wide = max(1, candidates)
    count = max(1, BLOCK_SCORES // wide, min(FEWEST_ROWS, LARGEST_BLOCK // wide))
    for start in range(0, queries, count):
        yield slice(start, min(start + count, queries))
