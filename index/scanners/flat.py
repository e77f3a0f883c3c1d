"""Flat: scores every row in float32, from the vectors themselves.

|estimate - exact| <= gamma * (sum over m of |q_m| 1.001  +  |q_c| max |c|)        see index/scanners/bounds.py
"""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Final, Self, final

import faiss
import numpy as np

from index.scanners.bounds import LARGEST_NORM, TINY, Doubles, gamma, part_norms
from index.scanners.found import best, cleaned, nothing, selector
from index.scanners.scanner import Allowed, Floats, Rows, Scanner, Shape

MANY: Final = 20  # queries, from which on FAISS multiplies matrices; it cannot skip rows then
BLOCK: Final = 32 * 2**20  # bytes that are copied together at a time


@final
class Flat(Scanner):
    """Keeps nothing: the vectors are all it needs."""

    kind = "flat"

    def __init__(self, vectors: Floats, shape: Shape) -> None:
        self.vectors = vectors
        self.shape = shape

    @classmethod
    def build(cls, vectors: Floats, shape: Shape) -> Self:
        return cls(vectors, shape)

    @classmethod
    def open(cls, path: Path, vectors: Floats, shape: Shape) -> Self:
        return cls(vectors, shape)

    def save(self, path: Path) -> None:
        return

    @staticmethod
    def files(path: Path) -> tuple[Path, ...]:
        """What `save` writes: nothing."""
        return ()

    def scan(self, queries: Floats, count: int, allowed: Allowed | None = None) -> tuple[Floats, Rows]:
        if allowed is not None and allowed.count == len(self.vectors):
            allowed = None
        count = min(count, len(self.vectors) if allowed is None else allowed.count)
        if not count:
            return nothing(len(queries))
        if allowed is None:
            return cleaned(*faiss.knn(queries, self.vectors, count, faiss.METRIC_INNER_PRODUCT))
        if len(queries) >= MANY:
            return self._gathered(queries, count, allowed.rows)
        return self._skipping(queries, count, allowed)

    def _gathered(self, queries: Floats, count: int, rows: Rows) -> tuple[Floats, Rows]:
        """Copies the allowed rows together, some at a time."""
        step = max(1, BLOCK // (4 * self.shape.width))
        estimates, found = nothing(len(queries))
        for start in range(0, len(rows), step):
            some = rows[start : start + step]
            scores, places = faiss.knn(
                queries, self.vectors[some], min(count, len(some)), faiss.METRIC_INNER_PRODUCT
            )
            scores, places = cleaned(scores, np.where(places < 0, -1, some[places]))
            estimates = np.concatenate([estimates, scores], axis=1)
            found = np.concatenate([found, places], axis=1)
            if found.shape[1] > count:
                estimates, found = best(estimates, found, count)
        return estimates, found

    def _skipping(self, queries: Floats, count: int, allowed: Allowed) -> tuple[Floats, Rows]:
        """Reads the allowed rows where they lie."""
        estimates = np.empty((len(queries), count), dtype=np.float32)
        rows = np.empty((len(queries), count), dtype=np.int64)
        at = faiss.swig_ptr
        faiss.swigfaiss.knn_inner_product(  # type: ignore[attr-defined]
            at(queries), at(self.vectors), self.shape.width, len(queries), len(self.vectors), count,
            at(estimates), at(rows), selector(allowed),
        )  # fmt: skip
        return cleaned(estimates, rows)

    def completed(
        self, estimates: Floats, rows: Rows, queries: Floats, allowed: Allowed | None
    ) -> tuple[Floats, Rows]:
        """What another kind found, with an exact answer for each query that it found too few rows for."""
        lost = np.flatnonzero((rows < 0).any(axis=1))
        if len(lost):
            asked = np.ascontiguousarray(queries[lost])
            estimates[lost], rows[lost] = self.scan(asked, rows.shape[1], allowed)
        return estimates, rows

    @cached_property
    def _largest_offset(self) -> float:
        return float(np.abs(self.vectors[:, -1]).max())

    def bound(self, queries: Floats) -> Doubles:
        norms = part_norms(queries, self.shape)
        longest = np.full(norms.shape[1], LARGEST_NORM)
        if self.shape.offset:
            longest[-1] = self._largest_offset if norms[:, -1].any() else 0.0
        return np.asarray(gamma(self.shape.width) * (norms @ longest) + TINY)
