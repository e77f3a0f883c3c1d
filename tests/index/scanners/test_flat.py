"""Flat: both ways of leaving rows out, and a bound that a plain loop gives too."""

import numpy as np
import pytest

from index.scanners import flat
from index.scanners.flat import Flat
from index.scanners.scanner import Allowed, Shape
from tests.index.scanners.units import exact_scores, query_rows, unit_rows


@pytest.mark.parametrize("queries", [1, 19, 20, 33])
@pytest.mark.parametrize("block", [1, 4 * 10 * 7, 2**20])
def test_few_and_many_queries_find_the_same_allowed_rows(queries, block, monkeypatch):
    monkeypatch.setattr(flat, "BLOCK", block)  # bytes copied at a time: a row, seven rows, all
    shape = Shape((6, 3), constant=True)
    generator = np.random.default_rng(0)
    vectors, asked = unit_rows(generator, 120, shape), query_rows(generator, queries, shape)
    mask = generator.random(120) < 0.4
    _, rows = Flat(vectors, shape).scan(asked, 9, Allowed(mask))
    exact = np.where(mask, exact_scores(asked, vectors), -np.inf)
    assert (rows == np.argsort(-exact, axis=1)[:, :9]).all()


def test_the_bound_is_the_formula_by_a_plain_loop():
    shape = Shape((3, 2), constant=True)
    vectors = np.array([[1, 0, 0, 0, 1, -7], [0, 1, 0, 1, 0, 2]], dtype=np.float32)
    query = np.array([[0.5, 0, 0.5, 0.25, 0, -1]], dtype=np.float32)
    operations = 6 + 6
    gamma = operations * 2**-24 / (1 - operations * 2**-24)
    expected = gamma * (0.5**0.5 * 1.001 + 0.25 * 1.001 + 1 * 7)
    assert Flat(vectors, shape).bound(query)[0] == pytest.approx(expected, rel=1e-12)


def test_a_constant_that_nobody_takes_off_costs_nothing():
    shape = Shape((4,), constant=True)
    vectors = unit_rows(np.random.default_rng(0), 5, shape)
    vectors[:, -1] = 1e6
    query = np.array([[1, 0, 0, 0, 0]], dtype=np.float32)
    assert Flat(vectors, shape).bound(query)[0] < 1e-6


def test_it_saves_nothing(tmp_path):
    shape = Shape((4,))
    Flat(unit_rows(np.random.default_rng(0), 5, shape), shape).save(tmp_path / "x")
    assert list(tmp_path.iterdir()) == []
