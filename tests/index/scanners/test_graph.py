"""Graph: constants, parts that cannot be reached, effort."""

import numpy as np

from index.scanners.graph import Graph
from index.scanners.scanner import Allowed, Shape
from tests.index.scanners.units import clustered, exact_scores, near, unit_rows


def test_estimates_are_close_and_count_the_constant():
    shape = Shape((64, 64), constant=True)
    generator = np.random.default_rng(0)
    vectors = clustered(generator, 2000, shape, spread=1.0)
    vectors[:, -1] = 0.3 * generator.random(2000)
    queries = near(generator, vectors, 10, shape)
    estimates, rows = Graph.build(vectors, shape).scan(queries, 30)
    exact = np.take_along_axis(exact_scores(queries, vectors), rows, axis=1)
    assert np.abs(estimates - exact).max() < 0.01


def test_constants_do_not_break_the_graph():
    shape = Shape((64, 64), constant=True)
    generator = np.random.default_rng(0)
    vectors = clustered(generator, 3000, shape, spread=1.0)
    vectors[:, -1] = 5 + 0.05 * generator.random(3000)  # large, and about the same
    queries = near(generator, vectors, 20, shape)
    queries[:, -1] = -1
    found = Graph.build(vectors, shape).scan(queries, 40, effort=64)[1]
    best = np.argsort(-exact_scores(queries, vectors), axis=1)[:, :10]
    assert np.mean([len(set(a) & set(b)) / 10 for a, b in zip(found.tolist(), best.tolist())]) > 0.9


def test_building_leaves_the_vectors_alone():
    shape = Shape((15,), constant=True)  # whose width is what FAISS wants: nothing is copied for padding
    vectors = unit_rows(np.random.default_rng(0), 50, shape)
    before = vectors.copy()
    Graph.build(vectors, shape)
    assert (vectors == before).all()


def test_more_effort_finds_more():
    shape = Shape((32,))
    generator = np.random.default_rng(0)
    vectors = unit_rows(generator, 6000, shape)
    queries = unit_rows(generator, 50, shape)
    graph = Graph.build(vectors, shape)
    best = np.argsort(-exact_scores(queries, vectors), axis=1)[:, :5]

    def recall(effort):
        found = graph.scan(queries, 15, effort=effort)[1]  # more, as estimates have errors
        return np.mean([len(set(a) & set(b)) / 5 for a, b in zip(found.tolist(), best.tolist())])

    assert recall(15) < recall(100) <= recall(1000)
    assert recall(1000) > 0.99


def test_too_few_rows_are_never_the_answer():
    """The search keeps few rows in sight, and none of them is allowed; FAISS then finds nothing."""
    shape = Shape((16,))
    generator = np.random.default_rng(0)
    vectors = np.repeat(unit_rows(generator, 2, shape), [1990, 10], axis=0)
    mask = np.arange(2000) >= 1800
    rows = Graph.build(vectors, shape).scan(vectors[:1], 40, Allowed(mask), effort=1)[1]
    assert mask[rows].all()
    assert len(set(rows[0].tolist())) == 40
