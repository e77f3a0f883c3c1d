"""Norms of the parts of vectors, by plain loops."""

from itertools import pairwise

import numpy as np
import pytest

from index.scanners.bounds import longest_parts, part_norms, part_starts
from index.scanners.scanner import Shape


@pytest.mark.parametrize("constant", [False, True])
def test_norms_are_those_of_each_part(constant):
    shape = Shape((2, 1, 5), constant)
    vectors = np.random.default_rng(0).standard_normal((7, shape.width)).astype(np.float32)
    ends = [0, 2, 3, 8, 9][: 4 + constant]
    assert part_starts(shape) == tuple(ends[:-1])
    by_loop = [[np.linalg.norm(row[a:b]) for a, b in pairwise(ends)] for row in vectors.astype(np.float64)]
    np.testing.assert_allclose(part_norms(vectors, shape), by_loop, rtol=1e-12)
    longest = longest_parts(vectors, shape)
    assert (longest >= np.max(by_loop, axis=0)).all()
    np.testing.assert_allclose(longest, np.max(by_loop, axis=0), rtol=1e-5)
