"""Padding: vectors with zeros behind, because FAISS wants a multiple of so many columns; a few rows at a time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np

from index.scanners.scanner import Floats, Rows

CHUNK: Final = 4 * 2**20  # bytes of vectors handled at a time: what stays in the cache


def multiple(width: int, of: int) -> int:
    """The least multiple of `of` that is at least `width`."""
    return -(-width // of) * of


def padded(vectors: Floats, width: int) -> Floats:
    """(N, width) the same with zeros behind; the same array if nothing is missing."""
    if vectors.shape[1] == width and vectors.flags.c_contiguous:
        return vectors
    wide = np.zeros((len(vectors), width), dtype=np.float32)
    wide[:, : vectors.shape[1]] = vectors
    return wide


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
