"""FastScan: looks four columns up at a time, in tables that fit a register; no bound on what it misses.

    x_g ~ one of 16 centroids of the group g of 4 columns;   <q, x> ~ sum over g of table_g[k_g]
    table_g = <q_g, centroids of g> / kept_m,   kept_m = sum of <x_m, coded x_m> / sum of |x_m|^2,   m: expert of g

Product quantisation (Jégou, Douze, Schmid, TPAMI 2011, section II) with 4 bits a group, scanned as André,
Kermarrec and Le Scouarnec do (arXiv 1704.07355). An offset goes to several groups of its own, each with its part:
one group with a wide range would make all tables coarse, which share one scale of 8 bits. Coded vectors are
shorter than the true ones; without kept_m (measured on the training rows) the best rows of such a partition would
stand behind worse ones of a partition that is scanned exactly: of 40,000 clips in 15 partitions, 5 of them flat,
40 candidates held 95.5 % of the best 10, and hold 99.2 % with it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final, Self, final

import faiss
import numpy as np

from index.scanners import codes_file
from index.scanners.bounds import Doubles, part_starts
from index.scanners.flat import Flat
from index.scanners.found import among_allowed, chunks, cleaned, multiple, nothing, sample
from index.scanners.scanner import Allowed, Floats, Rows, Scanner, Shape

GROUP: Final = 4  # columns
PARTS: Final = 4  # groups that an offset is spread over
CENTROIDS: Final = 16
TRAINING: Final = 2048  # rows that centroids are made of
ROUNDS: Final = 10  # of k-means; more make no better centroids from so few columns
LEAST: Final = 0.1  # of what is kept: a query is not made longer without end
FEW: Final = 0.05  # of the rows: scoring so few is cheaper than finding them among all


@final
class FastScan(Scanner):
    """One bit a column."""

    kind = "fastscan"

    def __init__(
        self, vectors: Floats, shape: Shape, kept: Floats, index: Any, file: codes_file.CodesFile | None
    ) -> None:
        self.vectors = vectors
        self.shape = shape
        self.kept = kept  # (W,) of the column's expert; 1 for the offset
        self._index = index  # None until it is read
        self._file = file

    @classmethod
    def build(cls, vectors: Floats, shape: Shape) -> Self:
        width = _width(shape)
        index = faiss.IndexPQFastScan(width, width // GROUP, 4, faiss.METRIC_INNER_PRODUCT)
        index.pq.cp.min_points_per_centroid = 1
        index.pq.cp.niter = ROUNDS
        training = sample(vectors, TRAINING)
        grouped = _grouped(training, shape, 1 / PARTS)
        index.train(grouped[np.arange(max(CENTROIDS, len(grouped))) % len(grouped)])
        coded = index.sa_decode(index.sa_encode(grouped))[:, : shape.width]
        kept = np.ones(shape.width, dtype=np.float32)
        for start, size in zip(part_starts(shape), shape.sizes):
            part = slice(start, start + size)
            length = np.vdot(training[:, part], training[:, part])
            if length > 0:
                kept[part] = max(LEAST, float(np.vdot(training[:, part], coded[:, part]) / length))
        for _, some in chunks(vectors):
            index.add(_grouped(some, shape, 1 / PARTS))
        return cls(vectors, shape, kept, index, None)

    @classmethod
    def open(cls, path: Path, vectors: Floats, shape: Shape) -> Self:
        file = codes_file.CodesFile.open(path, cls.kind, vectors, shape, ("kept",))
        return cls(vectors, shape, file.arrays["kept"], None, file)

    def save(self, path: Path) -> None:
        codes_file.write(path, self._read(), 0, {"kept": self.kept}, self.kind, self.vectors, self.shape)

    @staticmethod
    def files(path: Path) -> tuple[Path, ...]:
        """What `save` writes."""
        return codes_file.files(path)

    def _read(self) -> Any:
        if self._index is None:
            assert self._file is not None  # one of the two is there
            self._index = self._file.read(self.vectors, _width(self.shape))
        return self._index

    def scan(self, queries: Floats, count: int, allowed: Allowed | None = None) -> tuple[Floats, Rows]:
        index = self._read()  # also where it is not needed: damage is found by the first scan
        every = len(self.vectors)
        found = every if allowed is None else allowed.count
        count = min(count, found)
        if not count:
            return nothing(len(queries))
        flat = Flat(self.vectors, self.shape)
        if found < 4 * count or found < FEW * every:
            return flat.scan(queries, count, allowed)
        grouped = _grouped(queries / self.kept, self.shape, 1.0)
        if allowed is None or found == every:
            return flat.completed(*cleaned(*index.search(grouped, count)), queries, None)
        fetched = count + min(every - found, 8 + count * (every - found) // found)
        while True:
            estimates, rows = index.search(grouped, fetched)
            estimates, rows = among_allowed(estimates, rows, allowed, count)
            if fetched == every or rows[:, -1].min() >= 0:
                return flat.completed(estimates, rows, queries, allowed)  # a query of zeros finds nothing
            fetched = min(every, 2 * fetched)

    def bound(self, queries: Floats) -> Doubles:
        return np.full(len(queries), np.inf)


def _width(shape: Shape) -> int:
    """Of the groups' columns."""
    return multiple(sum(shape.sizes), GROUP) + shape.offset * GROUP * PARTS


def _grouped(vectors: Floats, shape: Shape, part: float) -> Floats:
    """(N, width) the experts' columns, zeros up to whole groups, and `part` of the offset in its groups."""
    experts = sum(shape.sizes)
    wide = np.zeros((len(vectors), _width(shape)), dtype=np.float32)
    wide[:, :experts] = vectors[:, :experts]
    if shape.offset:
        wide[:, -GROUP * PARTS :: GROUP] = vectors[:, -1:] * np.float32(part)
    return wide
