"""FastScan: the same codes each time, estimates of the same size as exact scores, constants."""

import numpy as np
import pytest

from index.scanners.fastscan import FastScan
from index.scanners.scanner import Shape
from tests.index.scanners.units import clustered, exact_scores, near, unit_rows


def test_building_twice_makes_the_same_file(tmp_path):
    shape = Shape((32, 31), constant=True)
    vectors = clustered(np.random.default_rng(0), 2500, shape)
    for name in ("one", "two"):
        FastScan.build(vectors, shape).save(tmp_path / name)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def test_codes_take_half_a_byte_for_four_columns(tmp_path):
    shape = Shape((128, 128))
    FastScan.build(unit_rows(np.random.default_rng(0), 4096, shape), shape).save(tmp_path / "codes")
    centroids = 4 * 256 * 16
    assert (tmp_path / "codes").stat().st_size < 4096 * 256 // 8 + centroids + 500


@pytest.mark.parametrize("size", [16, 96])
def test_estimates_of_good_rows_are_not_too_small(size):
    """They are compared with those of units that are scanned exactly."""
    shape = Shape((size, size))
    generator = np.random.default_rng(0)
    vectors = unit_rows(generator, 4000, shape)
    queries = vectors[:200] / 2
    estimates, rows = FastScan.build(vectors, shape).scan(queries, 1)
    assert (rows[:, 0] == np.arange(200)).mean() > 0.9
    assert np.mean(estimates[:, 0]) == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize("width", [0.05, 0.5])
def test_constants_count(width):
    shape = Shape((96, 96), constant=True)
    generator = np.random.default_rng(0)
    vectors = clustered(generator, 3000, shape, spread=1.0)
    vectors[:, -1] = width * generator.random(3000)
    queries = near(generator, vectors, 40, shape)
    found = FastScan.build(vectors, shape).scan(queries, 60)[1]
    best = np.argsort(-exact_scores(queries, vectors), axis=1)[:, :10]
    assert np.mean([len(set(a) & set(b)) / 10 for a, b in zip(found.tolist(), best.tolist())]) > 0.9
