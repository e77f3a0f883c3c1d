"""Entries: clips on their way into an index, as rows of a table and their embeddings.

table      clip_id, video, start_s, end_s, and what else index/storage/columns.py knows
packed     (N, E) float32, each present expert of norm at most 1.001; anything where one is missing
available  (N, M) bool; a clip without any stream is kept and listed, and nothing finds it
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from index.scanners import LARGEST_NORM
from index.storage.columns import finite_offsets, standard_columns
from mee.layout import Layout

if TYPE_CHECKING:
    import pandas as pd

    from mee.encode import Gallery

NORM = LARGEST_NORM  # unit norms, with float16 and rounding; what the proofs of index/scanners allow for


@dataclass(frozen=True, eq=False)
class Entries:
    """N clips."""

    table: pa.Table
    packed: NDArray[np.float32]
    available: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.table)

    @classmethod
    def of(cls, gallery: Gallery, clips: pd.DataFrame, layout: Layout) -> Entries:
        """The clips of a gallery, and those that it found to have no stream.

        Args:
            gallery: made by the index's model.
            clips: index clip_id; columns video, start_s, end_s, and if you like offset, version and any
                metadata; has a row for every clip of the gallery, and may have others.
            layout: of the gallery's packed vectors.
        """
        ids = [*gallery.clip_ids, *gallery.without_stream]
        if not clips.index.is_unique:
            raise ValueError(
                f"clip '{clips.index[clips.index.duplicated()][0]}' has two rows in the table of clips"
            )
        missing = sorted(set(ids) - set(clips.index))
        if missing:
            raise ValueError(f"{len(missing)} clips have no row in the table of clips, '{missing[0]}' among them")
        rows = clips.loc[ids]
        columns = {"clip_id": pa.array(ids, type=pa.string())}
        for name in rows.columns:
            try:
                columns[str(name)] = pa.Array.from_pandas(rows[name])
            except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError) as error:
                raise ValueError(f"column '{name}' of the table of clips holds values of several types") from error
        packed = np.zeros((len(ids), layout.total), dtype=np.float32)
        packed[: len(gallery.clip_ids)] = gallery.video.packed.detach().cpu().float().numpy()
        available = np.zeros((len(ids), len(layout.names)), dtype=np.bool_)
        available[: len(gallery.clip_ids)] = gallery.video.available.cpu().numpy()
        return cls(pa.table(columns), packed, available).checked(layout)

    def checked(self, layout: Layout, *, offsets: bool = False) -> Entries:
        """The same with the columns of index/storage/columns.py, once all is as an index can keep it.

        Args:
            layout: of the index.
            offsets: whether every clip with a stream must have one.
        """
        table = standard_columns(self.table)
        shapes = (len(table), layout.total), (len(table), len(layout.names))
        if (self.packed.shape, self.available.shape) != shapes or self.available.dtype != np.bool_:
            given = f"{self.packed.shape} vectors and {self.available.shape} {self.available.dtype} availability"
            raise ValueError(
                f"{len(table)} clips come with {given}; this index wants {shapes[0]} and {shapes[1]} bool"
            )
        packed = np.ascontiguousarray(self.packed, dtype=np.float32)
        _check_clips(table)
        _check_norms(table, packed, self.available, layout)
        if offsets:
            lacking = np.asarray(pc.is_null(table["offset"])) & self.available.any(axis=1)
            if lacking.any():
                first = table["clip_id"][int(lacking.argmax())]
                raise ValueError(
                    f"this index carries offsets, and {lacking.sum()} clips have none, '{first}' among them; "
                    "give each its own, or take the offsets off the index"
                )
        return Entries(table, packed, self.available)

    def part(self, rows: NDArray[np.int64]) -> Entries:
        """Some of them."""
        return Entries(self.table.take(pa.array(rows)), self.packed[rows], self.available[rows])


def _check_clips(table: pa.Table) -> None:
    ids = table["clip_id"]
    if ids.null_count or pc.any(pc.equal(ids, "")).as_py():
        raise ValueError("a clip has no clip_id")
    if pc.count_distinct(ids).as_py() < len(table):
        counts = pc.value_counts(ids)
        several = counts.filter(pc.greater(counts.field("counts"), 1))
        raise ValueError(f"clip '{several[0]['values']}' is given twice")
    finite = {name: pc.is_finite(table[name]) for name in ("start_s", "end_s")}
    finite["offset"] = finite_offsets(table)
    good = {"video": pc.not_equal(table["video"], ""), **finite}
    for name, fine in good.items():
        fine = pc.fill_null(fine, name == "offset")
        if not pc.all(fine, min_count=0).as_py():
            clip = ids[pc.index(fine, False).as_py()]
            raise ValueError(f"clip '{clip}' has no {'' if name == 'video' else 'finite '}{name}")


def _check_norms(
    table: pa.Table, packed: NDArray[np.float32], available: NDArray[np.bool_], layout: Layout
) -> None:
    for m, (name, columns) in enumerate(zip(layout.names, layout.slices)):
        with np.errstate(all="ignore"):  # what is missing may be anything
            squares = np.einsum("ne,ne->n", packed[:, columns], packed[:, columns])
            bad = available[:, m] & ~(squares <= NORM**2)
        if bad.any():
            row = int(bad.argmax())
            norm = float(np.sqrt(squares[row]))
            what = f"norm {norm:.4g}, more than {NORM}" if np.isfinite(norm) else "values that are not finite"
            raise ValueError(f"the embedding of clip '{table['clip_id'][row]}' by expert '{name}' has {what}")
