"""What a scan returns: (Q, C) estimates in falling order and (Q, C) rows; -inf and -1 where nothing was found."""

from __future__ import annotations

from typing import Any

import faiss
import numpy as np

from index.allowed import Allowed
from index.scanners.scanner import Floats, Rows


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
