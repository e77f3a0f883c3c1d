"""Flat: scores every row in float32, from the vectors themselves; GpuFlat: the same on a GPU.

|estimate - exact| <= gamma * (sum over m of |q_m| 1.001  +  |q_c| max |c|)        see index/scanners/scanner.py
"""

from __future__ import annotations

from functools import cache, cached_property
from typing import Any, Final, final

import faiss
import numpy as np

from index.scanners.scanner import (
    LARGEST_NORM,
    TINY,
    Allowed,
    Doubles,
    Floats,
    Results,
    Rows,
    Scanner,
    Shape,
    cleaned,
    gamma,
    no_results,
    only_allowed,
    part_norms,
)

MANY: Final = 20  # queries, from which on FAISS multiplies matrices; it cannot skip rows then
BLOCK: Final = 32 * 2**20  # bytes gathered at a time
GPU_BLOCK: Final = 2**16  # rows copied to a GPU at a time
GPU_MOST: Final = 2048  # rows that FAISS can find on a GPU


@final
class Flat(Scanner):
    """Keeps nothing beside the vectors."""

    kind = "flat"

    def _scan(self, queries: Floats, count: int, allowed: Allowed | None) -> Results:
        if allowed is None or allowed.count == len(self.vectors):
            return cleaned(*faiss.knn(queries, self.vectors, count, faiss.METRIC_INNER_PRODUCT))
        if len(queries) >= MANY:
            return self._gathered(queries, count, allowed.rows)
        return self._skipping(queries, count, allowed)

    def _gathered(self, queries: Floats, count: int, rows: Rows) -> Results:
        """Copies the allowed rows together, some at a time."""
        step = max(1, BLOCK // (4 * self.shape.width))
        estimates, found = no_results(len(queries))
        for start in range(0, len(rows), step):
            some = rows[start : start + step]
            scores, places = faiss.knn(
                queries, self.vectors[some], min(count, len(some)), faiss.METRIC_INNER_PRODUCT
            )
            scores, places = cleaned(scores, np.where(places < 0, -1, some[places]))
            estimates = np.concatenate([estimates, scores], axis=1)
            found = np.concatenate([found, places], axis=1)
            if found.shape[1] > count:  # the lower row first where estimates are equal
                order = np.lexsort((found, -estimates), axis=1)[:, :count]
                estimates = np.take_along_axis(estimates, order, axis=1)
                found = np.take_along_axis(found, order, axis=1)
        return estimates, found

    def _skipping(self, queries: Floats, count: int, allowed: Allowed) -> Results:
        """Reads the allowed rows in place."""
        estimates = np.empty((len(queries), count), dtype=np.float32)
        rows = np.empty((len(queries), count), dtype=np.int64)
        at = faiss.swig_ptr
        faiss.swigfaiss.knn_inner_product(  # type: ignore[attr-defined]
            at(queries), at(self.vectors), self.shape.width, len(queries), len(self.vectors), count,
            at(estimates), at(rows), selector(allowed),
        )  # fmt: skip
        return cleaned(estimates, rows)

    def completed(self, results: Results, queries: Floats, allowed: Allowed | None) -> Results:
        """Results of another kind, with exact ones for each query that it found too few rows for."""
        estimates, rows = results
        short = np.flatnonzero((rows < 0).any(axis=1))
        if len(short):
            again = np.ascontiguousarray(queries[short])
            estimates[short], rows[short] = self.scan(again, rows.shape[1], allowed)
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


def threads() -> int:
    """How many FAISS uses."""
    return int(faiss.omp_get_max_threads())


def selector(allowed: Allowed) -> Any:
    """FAISS's form of a mask; it does not own the bits, so `allowed` must outlive it."""
    return faiss.IDSelectorBitmap(len(allowed), faiss.swig_ptr(allowed.bits))


def gpu_usable() -> bool:
    """Whether this FAISS was built for GPUs, and sees one."""
    return hasattr(faiss, "StandardGpuResources") and faiss.get_num_gpus() > 0


@cache
def _resources() -> Any:
    return faiss.StandardGpuResources()


@final
class GpuFlat(Scanner):
    """FAISS's brute force over a copy of the vectors on a GPU; `Flat` where more than 2,048 rows are needed."""

    kind = "flat"

    def __init__(self, vectors: Floats, shape: Shape) -> None:
        super().__init__(vectors, shape)
        self._flat = Flat(vectors, shape)
        self._index = faiss.GpuIndexFlatIP(_resources(), shape.width)
        for start in range(0, len(vectors), GPU_BLOCK):
            self._index.add(np.ascontiguousarray(vectors[start : start + GPU_BLOCK]))

    def _scan(self, queries: Floats, count: int, allowed: Allowed | None) -> Results:
        banned = 0 if allowed is None else len(allowed) - allowed.count
        if count + banned > GPU_MOST:
            return self._flat.scan(queries, count, allowed)
        found = cleaned(*self._index.search(queries, count + banned))
        return found if allowed is None else only_allowed(*found, allowed, count)

    def bound(self, queries: Floats) -> Doubles:
        return self._flat.bound(queries)
