"""ClipTable: a segment's clips by row and by name, without reading all of them where they lie sorted on disk."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from typing import final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

FEW = 64  # rows that are read one by one
PASS = 100  # rows of a sorted table that are passed over in the time that one clip is looked up


@final
class ClipTable:
    """N clips; rows are counted from 0."""

    def __init__(self, arrow: pa.Table, places: Mapping[str, Sequence[int]] | None = None) -> None:
        """Take a table over.

        Args:
            arrow: with the columns of index/storage/columns.py.
            places: of clips by name, all their rows, rising, of which those from N on are not looked at; None: the
                table is sorted by clip_id, each once.
        """
        self.arrow = arrow
        self._ids = arrow["clip_id"]
        self._places = places

    def __len__(self) -> int:
        return len(self.arrow)

    def ids(self, rows: NDArray[np.int64]) -> list[str]:
        """Clip ids of some rows."""
        if len(rows) <= FEW:
            return [self._ids[row].as_py() for row in rows.tolist()]
        found: list[str] = self._ids.take(pa.array(rows)).to_pylist()
        return found

    def find(self, clip_id: str) -> int | None:
        """The row of a clip, the last if it has several; None where it has none."""
        if self._places is not None:
            rows = self._places.get(clip_id, ())
            place = bisect_left(rows, len(self))
            return rows[place - 1] if place else None
        row = bisect_left(range(len(self)), clip_id, key=lambda row: self._ids[row].as_py())
        return row if row < len(self) and self._ids[row].as_py() == clip_id else None

    def rows_of(self, clip_ids: Sequence[str]) -> NDArray[np.int64]:
        """(N,) the row of each clip; -1 where it has none."""
        if self._places is not None or len(clip_ids) * PASS <= len(self):
            found = [self.find(clip_id) for clip_id in clip_ids]
            return np.array([-1 if row is None else row for row in found], dtype=np.int64)
        rows = pc.index_in(pa.array(clip_ids, type=pa.string()), value_set=self._ids)
        return np.asarray(pc.fill_null(rows, -1), dtype=np.int64)
