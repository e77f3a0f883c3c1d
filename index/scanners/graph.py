"""Graph: walks from row to row towards better ones; no bound on what it misses.

    x ~ low + (high - low) * (k + 1/2) / 255        k: whole numbers in [0, 255], for each column

HNSW (Malkov and Yashunin, arXiv 1603.09320) over bytes. All rows of a unit have about the same length, so that who
is near whom by inner product, cosine or distance is the same. A constant would spoil that: the graph is built with
the same constant everywhere, and the codes get the true ones afterwards, for searching. With more than one thread
FAISS builds a slightly different graph each time.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final, Self, final

import faiss
import numpy as np

from index.scanners import codes_file
from index.scanners.bounds import Doubles
from index.scanners.flat import Flat
from index.scanners.found import chunks, cleaned, limits, multiple, nothing, padded, selector
from index.scanners.scanner import Allowed, Floats, Rows, Scanner, Shape

ALIGNED: Final = 16  # columns; FAISS's fast kernels want whole blocks
LINKS: Final = 24  # of a row in the graph; twice as many on the ground level
CARE: Final = 60  # rows looked at when one is put in
EFFORT: Final = 64  # rows kept in sight by a search, unless said otherwise
FEW: Final = 0.05  # of the rows: scoring so few is cheaper than finding them in the graph
MADE: Final[Any] = faiss.IndexHNSWSQ
SEARCHING: Final[Any] = faiss.SearchParametersHNSW  # type: ignore[attr-defined]
TOGETHER: Final = 128 * 2**20  # bytes of vectors put in together, so that threads have something to share


@final
class Graph(Scanner):
    """An HNSW graph over bytes."""

    kind = "graph"

    def __init__(self, vectors: Floats, shape: Shape, index: Any, file: codes_file.CodesFile | None) -> None:
        self.vectors = vectors
        self.shape = shape
        self._index = index  # None until it is read
        self._file = file

    @property
    def _width(self) -> int:
        """Of the codes."""
        return multiple(self.shape.width, ALIGNED)

    @classmethod
    def build(cls, vectors: Floats, shape: Shape) -> Self:
        width = multiple(shape.width, ALIGNED)
        index = MADE(width, faiss.ScalarQuantizer.QT_8bit, LINKS, faiss.METRIC_INNER_PRODUCT)
        index.hnsw.efConstruction = CARE
        low, high = limits(vectors)
        index.train(padded(np.stack([low, high]), width))  # FAISS takes the ranges of what it is given
        for _, some in chunks(vectors, TOGETHER):
            wide = padded(some, width)
            if shape.constant:
                wide = wide.copy() if wide is some else wide
                wide[:, shape.width - 1] = low[-1]
            index.add(wide)
        if shape.constant and high[-1] > low[-1]:
            storage: Any = faiss.downcast_index(index.storage)
            codes = faiss.rev_swig_ptr(storage.codes.data(), len(vectors) * width).reshape(len(vectors), width)
            constants = (vectors[:, -1].astype(np.float64) - low[-1]) / (float(high[-1]) - low[-1])
            codes[:, shape.width - 1] = np.clip(255 * constants, 0, 255).astype(np.uint8)
        return cls(vectors, shape, index, None)

    @classmethod
    def open(cls, path: Path, vectors: Floats, shape: Shape) -> Self:
        return cls(vectors, shape, None, codes_file.CodesFile.open(path, cls.kind, vectors, shape, ()))

    def save(self, path: Path) -> None:
        codes_file.write(
            path, self._read(), len(self.vectors) * self._width, {}, self.kind, self.vectors, self.shape
        )

    @staticmethod
    def files(path: Path) -> tuple[Path, ...]:
        """What `save` writes."""
        return codes_file.files(path)

    def _read(self) -> Any:
        if self._index is None:
            assert self._file is not None  # one of the two is there
            self._index = self._file.read(self.vectors, self._width)
        return self._index

    def scan(
        self, queries: Floats, count: int, allowed: Allowed | None = None, *, effort: int = 0
    ) -> tuple[Floats, Rows]:
        index = self._read()  # also where it is not needed: damage is found by the first scan
        found = len(self.vectors) if allowed is None else allowed.count
        count = min(count, found)
        if not count:
            return nothing(len(queries))
        flat = Flat(self.vectors, self.shape)
        if found < 4 * count or found < FEW * len(self.vectors):
            return flat.scan(queries, count, allowed)
        params = SEARCHING(
            efSearch=max(effort or EFFORT, count), sel=None if allowed is None else selector(allowed)
        )
        estimates, rows = cleaned(*index.search(padded(queries, self._width), count, params=params))
        return flat.completed(estimates, rows, queries, allowed)  # parts of a graph may not be reachable

    def bound(self, queries: Floats) -> Doubles:
        return np.full(len(queries), np.inf)
