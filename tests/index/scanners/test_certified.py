"""Certified: how tight its bound is, that offsets do not spoil it, and what it does if bytes are not exact."""

import faiss
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from index.scanners import certified
from index.scanners.certified import ALIGNED, Certified, bytes_multiply_exactly
from index.scanners.flat import Flat
from index.scanners.scanner import Shape
from tests.index.scanners.partitions import exact_scores, partitions, query_rows, unit_rows


@given(partition=partitions())
def test_every_estimate_is_within_the_bound(partition):
    """Of all rows, not only of the best."""
    vectors, shape, queries = partition
    for scanner in (Certified.build(vectors, shape), Flat(vectors, shape)):
        estimates, rows = scanner.scan(queries, len(vectors))
        exact = np.take_along_axis(exact_scores(queries, vectors), rows, axis=1)
        assert (np.abs(estimates - exact) <= scanner.bound(queries)[:, None]).all()


@given(seed=st.integers(0, 2**32), width=st.sampled_from([64, 300]))
def test_the_bound_is_tight_enough_to_be_of_use(seed, width):
    shape = Shape((width, width))
    generator = np.random.default_rng(seed)
    vectors, queries = unit_rows(generator, 500, shape), query_rows(generator, 5, shape)
    assert (Certified.build(vectors, shape).bound(queries) < 0.04).all()
    assert (Flat(vectors, shape).bound(queries) < 1e-4).all()


@pytest.mark.parametrize(("width", "taken"), [(0.01, 1), (0.1, 1), (1.0, 1), (3.0, 1), (0, 0)])
def test_offsets_do_not_spoil_the_bound(width, taken):
    with_offset, without = Shape((128, 128), offset=True), Shape((128, 128))
    generator = np.random.default_rng(0)
    vectors, queries = unit_rows(generator, 1000, with_offset), query_rows(generator, 8, with_offset)
    vectors[:, -1] = 0.4 + (width or 1) * generator.random(1000)
    queries[:, -1] = -taken
    plain = Certified.build(np.ascontiguousarray(vectors[:, :-1]), without)
    bare = plain.bound(np.ascontiguousarray(queries[:, :-1]))
    bound = Certified.build(vectors, with_offset).bound(queries)
    assert (bound < (1.1 if taken else 1.001) * bare + 0.001 * width).all()


def test_offsets_that_float32_cannot_square_leave_the_bound_a_number():
    """Not a number, it would let nothing be found but what a first scan happens to score."""
    shape = Shape((16, 16), offset=True)
    generator = np.random.default_rng(0)
    vectors, queries = unit_rows(generator, 200, shape), query_rows(generator, 8, shape)
    vectors[:, -1] = 1e30 * generator.standard_normal(200)
    queries[:, -1] = [0] * 4 + [-1] * 4
    scanner = Certified.build(vectors, shape)
    assert (scanner.bound(queries)[:4] < 0.04).all()
    assert (scanner.bound(queries)[4:] < 1e30).all()
    estimates, rows = scanner.scan(queries, 200)
    exact = np.take_along_axis(exact_scores(queries, vectors), rows, axis=1)
    assert (np.abs(estimates - exact) <= scanner.bound(queries)[:, None]).all()


def test_bytes_multiply_exactly_in_widths_that_are_scanned_or_the_vectors_are_scanned(monkeypatch):
    """FAISS has another kernel for columns that are not whole blocks."""
    widths = []

    class Quantizer(faiss.IndexScalarQuantizer):
        def __init__(self, width, *rest):
            widths.append(width)
            super().__init__(width, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(faiss, "IndexScalarQuantizer", Quantizer)
        assert bytes_multiply_exactly.__wrapped__()
    assert {width % ALIGNED for width in widths} == {0}
    shape, generator = Shape((32,)), np.random.default_rng(0)
    vectors, queries = unit_rows(generator, 100, shape), query_rows(generator, 3, shape)
    scanner = Certified.build(vectors, shape)
    monkeypatch.setattr(certified, "bytes_multiply_exactly", lambda: False)
    for one, other in zip(scanner.scan(queries, 9), Flat(vectors, shape).scan(queries, 9)):
        assert (one == other).all()
