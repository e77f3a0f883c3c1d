"""Rows a few at a time."""

import numpy as np
import pytest

from index.scanners.found import chunks, limits, multiple, sample

VECTORS = np.random.default_rng(0).standard_normal((23, 5)).astype(np.float32)


@pytest.mark.parametrize(("width", "of", "expected"), [(1, 16, 16), (16, 16, 16), (17, 16, 32), (5, 1, 5)])
def test_multiple(width, of, expected):
    assert multiple(width, of) == expected


@pytest.mark.parametrize("size", [1, 20, 100, 10**6])
def test_chunks_are_the_whole(size):
    parts = list(chunks(VECTORS, size))
    assert [start for start, _ in parts] == np.cumsum([0, *(len(some) for _, some in parts)])[:-1].tolist()
    assert (np.concatenate([some for _, some in parts]) == VECTORS).all()
    low, high = limits(VECTORS)
    assert (low == VECTORS.min(0)).all()
    assert (high == VECTORS.max(0)).all()


def test_a_sample_is_always_the_same():
    assert (sample(VECTORS, 7) == sample(VECTORS.copy(), 7)).all()
    assert sample(VECTORS, 7).shape == (7, 5)
    assert (sample(VECTORS, 100) == VECTORS).all()
