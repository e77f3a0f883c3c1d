"""Tail: what the log says, in memory: the clips put since the last segment was written.

Each clip that is put gets a new row; an earlier row of the same name no longer counts. Segments made from it
before stay as they were: arrays and tables grow at their ends only.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Generic, TypeVar, final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from index.scanners import Partition, build
from index.storage.columns import by_pattern, code_column, joined, with_pattern
from index.storage.entries import Entries
from index.storage.log import Record, Removal
from index.storage.segment import ClipTable, Segment, shape_of
from mee.layout import Layout
from mee.scoring import Pattern

Value = TypeVar("Value", np.float32, np.int64, np.bool_)


@final
class GrowingArray(Generic[Value]):
    """(N, ...) rows of one shape; grows by doubling, and what was handed out before stays as it was."""

    def __init__(self, shape: tuple[int, ...], dtype: type[Value]) -> None:
        self._rows: NDArray[Value] = np.empty((0, *shape), dtype=dtype)
        self._count = 0

    def __len__(self) -> int:
        return self._count

    @property
    def rows(self) -> NDArray[Value]:
        """(N, ...) what there is now; later rows come behind it."""
        return self._rows[: self._count]

    def extend(self, rows: NDArray[Value]) -> None:
        """Put rows behind the others."""
        count = self._count + len(rows)
        if count > len(self._rows):
            grown = np.empty((max(count, 2 * len(self._rows)), *self._rows.shape[1:]), dtype=self._rows.dtype)
            grown[: self._count] = self.rows
            self._rows = grown
        self._rows[self._count : count] = rows
        self._count = count


@final
class Tail:
    """Starts empty."""

    def __init__(self, layout: Layout, *, offsets: bool) -> None:
        self._layout, self._offsets = layout, offsets
        self.changes = 0
        self._tables: list[pa.Table] = []  # each at least twice as long as the next: few, and seldom copied
        self._places: dict[str, list[int]] = {}
        self._live = GrowingArray((), np.bool_)
        self._partitions: dict[Pattern, tuple[GrowingArray[np.float32], GrowingArray[np.int64]]] = {}

    def __len__(self) -> int:
        """How many rows, those included that no longer count."""
        return len(self._live)

    def put(self, entries: Entries) -> None:
        """Add checked clips, or replace those of the same names."""
        first = len(self)
        self.remove(clip_ids := entries.table["clip_id"].to_pylist())
        for row, clip_id in enumerate(clip_ids, start=first):
            self._places.setdefault(clip_id, []).append(row)
        self._live.extend(np.ones(len(entries), dtype=np.bool_))
        for pattern, rows in by_pattern(entries.available):
            vectors, places = self._partition(pattern)
            vectors.extend(vectors_of(entries, pattern, rows, self._layout, offsets=self._offsets))
            places.extend(first + rows)
        self._tables.append(with_pattern(entries.table, code_column(entries.available)))
        while len(self._tables) > 1 and len(self._tables[-2]) < 2 * len(self._tables[-1]):
            last = self._tables.pop()
            self._tables[-1] = joined([self._tables[-1], last]).combine_chunks()

    def remove(self, clip_ids: list[str]) -> None:
        """Take clips out; those it does not have stay away."""
        self.changes += 1
        rows = [self._places[clip_id][-1] for clip_id in clip_ids if clip_id in self._places]
        self._live.rows[rows] = False

    def segment(self) -> Segment | None:
        """What it holds now; None: no row that counts."""
        if not self._live.rows.any():
            return None
        table = ClipTable(joined(self._tables), self._places)
        segment = Segment("", table, tuple(self._made(pattern, table) for pattern in sorted(self._partitions)))
        return segment.with_live(self._live.rows.copy())

    def _partition(self, pattern: Pattern) -> tuple[GrowingArray[np.float32], GrowingArray[np.int64]]:
        if pattern not in self._partitions:
            width = shape_of(pattern, self._layout, self._offsets).width
            self._partitions[pattern] = GrowingArray((width,), np.float32), GrowingArray((), np.int64)
        return self._partitions[pattern]

    def _made(self, pattern: Pattern, table: ClipTable) -> Partition:
        vectors, places = self._partitions[pattern][0].rows, self._partitions[pattern][1].rows
        scanner = build("flat", vectors, shape_of(pattern, self._layout, self._offsets))
        return Partition(pattern, vectors, places, scanner, table, 0)


def vectors_of(
    entries: Entries, pattern: Pattern, rows: NDArray[np.int64], layout: Layout, *, offsets: bool
) -> NDArray[np.float32]:
    """(N, W) vectors of clips of one pattern: their experts side by side, then their offset if they have one."""
    kept = np.flatnonzero(np.repeat(pattern, layout.sizes))
    every = len(kept) == layout.total
    vectors = entries.packed[rows] if every else entries.packed[rows[:, None], kept]
    if not offsets:
        return vectors
    offset = entries.table["offset"].to_numpy(zero_copy_only=False)[rows].astype(np.float32)
    return np.concatenate([vectors, offset[:, None]], axis=1)


def replay(records: Iterable[Record], segments: Sequence[Segment], tail: Tail) -> list[Segment]:
    """Put what records say into the tail, and take it out of the segments."""
    touched: list[str] = []
    for record in records:
        if isinstance(record, Removal):
            tail.remove(record.clip_ids)
            touched += record.clip_ids
        else:
            tail.put(record)
            touched += record.table["clip_id"].to_pylist()
    return [segment.without(segment.live_rows(touched)) for segment in segments]
