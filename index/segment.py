"""Segment: clips that came into an index together, as a table and one unit for each availability pattern."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import compress

import numpy as np
from numpy.typing import NDArray

from index.allowed import Allowed
from index.clip_table import ClipTable
from index.scanners.scanner import Shape
from index.unit import Unit
from mee.layout import Layout
from mee.scoring import Pattern


@dataclass(frozen=True, eq=False)
class Segment:
    """N clips, of which some may no longer count."""

    name: str  # of its folder; "" where it lies in memory
    table: ClipTable
    units: tuple[Unit, ...]  # with all of their rows; which of them count stands in `allowed`
    live: NDArray[np.bool_] | None = None  # (N,) which rows count; None: all
    digest: str = ""  # SHA-256 of its segment.json

    def __len__(self) -> int:
        """How many clips count, those without streams included."""
        return len(self.table) if self.live is None else int(np.count_nonzero(self.live))

    def with_live(self, live: NDArray[np.bool_] | None) -> Segment:
        """The same clips, of which these count."""
        if live is not None and live.all():
            live = None
        units = (replace(unit, allowed=None if live is None else _allowed(live[unit.rows])) for unit in self.units)
        return replace(self, units=tuple(units), live=live)

    def without(self, rows: NDArray[np.int64]) -> Segment:
        """The same, less some rows."""
        if not len(rows):
            return self
        live = np.ones(len(self.table), dtype=np.bool_) if self.live is None else self.live.copy()
        live[rows] = False
        return self.with_live(live)

    def is_live(self, row: int) -> bool:
        """Whether a row counts."""
        return self.live is None or bool(self.live[row])

    def find(self, clip_id: str) -> int | None:
        """The row of a clip that counts."""
        row = self.table.find(clip_id)
        return row if row is not None and self.is_live(row) else None

    def live_rows(self, clip_ids: list[str]) -> NDArray[np.int64]:
        """Rows that count of those clips that have one."""
        rows = self.table.rows_of(clip_ids)
        rows = rows[rows >= 0]
        return rows if self.live is None else rows[self.live[rows]]

    def place(self, row: int) -> tuple[Unit, int] | None:
        """The unit that holds a row's vector, and where in it; None: the clip has no stream."""
        for unit in self.units:
            place = int(np.searchsorted(unit.rows, row))
            if place < len(unit.rows) and unit.rows[place] == row:
                return unit, place
        return None

    def numbered(self, number: int) -> Segment:
        """The same at another place in a snapshot."""
        if all(unit.segment == number for unit in self.units):
            return self
        return replace(self, units=tuple(replace(unit, segment=number) for unit in self.units))


def shape_of(pattern: Pattern, layout: Layout, constant: bool) -> Shape:
    """How vectors of a pattern are made up."""
    return Shape(tuple(compress(layout.sizes, pattern)), constant)


def _allowed(mask: NDArray[np.bool_]) -> Allowed | None:
    return None if mask.all() else Allowed(mask)
