"""What a scan returns, (Q, C) estimates in falling order and (Q, C) rows, -inf and -1 where nothing was found; and
walks over rows of vectors, a few at a time.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import faiss
import numpy as np

from index.scanners.scanner import Allowed, Floats, Rows


def nothing(queries: int) -> tuple[Floats, Rows]:
    """No column at all."""
    return np.empty((queries, 0), dtype=np.float32), np.empty((queries, 0), dtype=np.int64)


def cleaned(estimates: Floats, rows: Rows) -> tuple[Floats, Rows]:
    """As FAISS hands it back, with -inf where it leaves its lowest number, or where the query is no number."""
    missing = (rows < 0) | np.isnan(estimates)
    if missing.any():
        estimates[missing] = -np.inf
        rows[missing] = -1
    return estimates, rows


def best(estimates: Floats, rows: Rows, count: int) -> tuple[Floats, Rows]:
    """The best `count` columns, in falling order; the lower row first where estimates are equal."""
    order = np.lexsort((rows, -estimates), axis=1)[:, :count]
    return np.take_along_axis(estimates, order, axis=1), np.take_along_axis(rows, order, axis=1)


def among_allowed(estimates: Floats, rows: Rows, allowed: Allowed, count: int) -> tuple[Floats, Rows]:
    """The first `count` of each query that are allowed, their order kept."""
    good = (rows >= 0) & allowed.mask[rows]
    order = np.argsort(~good, axis=1, kind="stable")[:, :count]
    good = np.take_along_axis(good, order, axis=1)
    estimates = np.take_along_axis(estimates, order, axis=1)
    rows = np.take_along_axis(rows, order, axis=1)
    return np.where(good, estimates, np.float32(-np.inf)), np.where(good, rows, -1)


def selector(allowed: Allowed) -> Any:
    """FAISS's form of a mask; it does not own the bits, which live as long as `allowed`."""
    return faiss.IDSelectorBitmap(len(allowed), faiss.swig_ptr(allowed.bits))


def searching(allowed: Allowed | None) -> Any:
    """FAISS's search parameters: which rows."""
    return None if allowed is None else faiss.SearchParameters(sel=selector(allowed))  # type: ignore[call-arg]


CHUNK: Final = 4 * 2**20  # bytes of vectors handled at a time: what stays in the cache


def multiple(width: int, of: int) -> int:
    """The least multiple of `of` that is at least `width`."""
    return -(-width // of) * of


def chunks(vectors: Floats, size: int = CHUNK) -> Iterator[tuple[int, Floats]]:
    """Some rows at a time, about so many bytes, with the number of the first."""
    step = max(1, size // (4 * vectors.shape[1]))
    for start in range(0, len(vectors), step):
        yield start, np.asarray(vectors[start : start + step])


def sample(vectors: Floats, count: int, seed: int = 0) -> Floats:
    """(count, W) some rows, always the same ones, rising; all of them if there are no more."""
    rows: Rows = np.arange(len(vectors))
    if len(rows) > count:
        rows = np.sort(np.random.default_rng(seed).choice(len(rows), count, replace=False))
    return np.asarray(vectors[rows])


def limits(vectors: Floats) -> tuple[Floats, Floats]:
    """(W,) the least and the largest of each column."""
    low = np.full(vectors.shape[1], np.inf, dtype=np.float32)
    high = -low
    for _, some in chunks(vectors):
        np.minimum(low, some.min(axis=0), out=low)
        np.maximum(high, some.max(axis=0), out=high)
    return low, high
