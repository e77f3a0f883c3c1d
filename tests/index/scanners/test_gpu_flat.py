"""Flat on a GPU. Without one, FAISS's index for CPUs stands in, so that what goes in and out is tested."""

import faiss
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from index.scanners import flat as flat_module
from index.scanners.flat import Flat, GpuFlat
from index.scanners.scanner import Allowed, Shape


@pytest.fixture(scope="module", autouse=True)
def stand_in():
    """FAISS's brute force on the CPU, where FAISS has none for GPUs."""
    if flat_module.gpu_usable():
        yield
        return

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(faiss, "GpuIndexFlatIP", lambda _, width: faiss.IndexFlatIP(width), raising=False)
        patch.setattr(flat_module, "_resources", lambda: None)
        yield


def scanners(count, seed):
    rng = np.random.default_rng(seed)
    vectors = rng.standard_normal((count, 9), dtype=np.float32)
    vectors /= 2 * np.linalg.norm(vectors, axis=1, keepdims=True)
    shape = Shape((5, 4))
    queries = rng.standard_normal((3, 9), dtype=np.float32)
    return Flat(vectors, shape), GpuFlat(vectors, shape), queries


@given(st.integers(0, 2**31), st.integers(1, 60), st.integers(1, 80), st.one_of(st.none(), st.floats(0, 1)))
def test_it_finds_what_flat_finds(seed, count, wanted, kept):
    flat, gpu, queries = scanners(count, seed)
    allowed = None if kept is None else Allowed(np.random.default_rng(seed).random(count) < kept)
    expected, found = flat.scan(queries, wanted, allowed), gpu.scan(queries, wanted, allowed)
    np.testing.assert_allclose(found[0], expected[0], atol=1e-6)
    assert [set(rows) for rows in found[1].tolist()] == [set(rows) for rows in expected[1].tolist()]
    np.testing.assert_array_equal(gpu.bound(queries), flat.bound(queries))


def test_more_than_a_gpu_finds_at_a_time_is_found_all_the_same():
    flat, gpu, queries = scanners(3000, 1)
    for wanted in (2048, 2049, 3000):
        np.testing.assert_array_equal(
            np.sort(gpu.scan(queries, wanted)[1]), np.sort(flat.scan(queries, wanted)[1])
        )
