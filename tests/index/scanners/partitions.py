"""Partitions for the tests of scanners: random ones, those that hypothesis thinks of, and queries for them."""

import numpy as np
from hypothesis import strategies as st

from index.scanners.scanner import Shape


def unit_rows(generator, count, shape, weights=None):
    """(N, W) experts of unit norm, times weights, and offsets of about 0.4."""
    parts = []
    for size, weight in zip(shape.sizes, weights or (1.0,) * len(shape.sizes)):
        part = generator.standard_normal((count, size))
        parts.append(weight * part / np.maximum(np.linalg.norm(part, axis=1, keepdims=True), 1e-6))
    if shape.offset:
        parts.append(0.4 + 0.1 * generator.standard_normal((count, 1)))
    return np.concatenate(parts, axis=1).astype(np.float32)


def query_rows(generator, count, shape):
    """(Q, W) weighted queries; the offset is taken off by some of them."""
    rows = unit_rows(generator, count, shape, tuple(generator.dirichlet(np.ones(len(shape.sizes)))))
    if shape.offset:
        rows[:, -1] = -(generator.random(count) < 0.7).astype(np.float32)
    return rows


def clustered(generator, count, shape, places=40, spread=0.3):
    """(N, W) rows around some centres, as embeddings are, so that there is something to find."""
    centres = unit_rows(generator, places, shape)
    rows = centres[generator.integers(places, size=count)] + spread * unit_rows(generator, count, shape)
    start = 0
    for size in shape.sizes:
        rows[:, start : start + size] /= np.linalg.norm(rows[:, start : start + size], axis=1, keepdims=True)
        start += size
    return rows.astype(np.float32)


def exact_scores(queries, vectors):
    """(Q, N) in float64."""
    return queries.astype(np.float64) @ vectors.T.astype(np.float64)


def near(generator, vectors, count, shape):
    """(Q, W) queries for which there is something to find: rows, and as much of something else."""
    rows = vectors[generator.integers(len(vectors), size=count)] + unit_rows(generator, count, shape)
    if shape.offset:
        rows[:, -1] = -len(shape.sizes) * (generator.random(count) < 0.7).astype(np.float32)
    return (rows / len(shape.sizes)).astype(np.float32)


@st.composite
def partitions(draw):
    """(vectors, shape, queries): few or many rows, odd widths, alike, equal, zero, tiny or wild columns."""
    sizes = tuple(draw(st.lists(st.integers(1, 40), min_size=1, max_size=4)))
    shape = Shape(sizes, draw(st.booleans()))
    generator = np.random.default_rng(draw(st.integers(0, 2**32)))
    count = draw(st.one_of(st.sampled_from([1, 2, 15, 16, 17]), st.integers(1, 300)))
    vectors = unit_rows(generator, count, shape)
    spoiled = draw(st.sampled_from(["not", "equal", "zero", "twins", "tiny", "offsets", "off-centre"]))
    if spoiled == "equal":
        vectors[:] = vectors[0]
    elif spoiled == "zero":
        vectors[:, : sizes[0]] = 0
    elif spoiled == "twins":
        vectors = vectors[generator.integers(max(1, count // 4), size=count)]
    elif spoiled == "tiny":
        vectors[:, : sizes[0]] *= np.float32(1e-30)
    elif spoiled == "offsets" and shape.offset:
        vectors[:, -1] *= 1000 * generator.standard_normal(count).astype(np.float32)
    elif spoiled == "off-centre":
        vectors[:, : sizes[0]] = np.float32(1 / np.sqrt(sizes[0])) * np.float32(0.999)
    queries = query_rows(generator, draw(st.integers(1, 25)), shape)
    if draw(st.booleans()):
        queries[0] = 0
    return np.ascontiguousarray(vectors), shape, queries


@st.composite
def masks(draw, count):
    """A mask over so many rows: all, none, few, half or nearly all of them."""
    share = draw(st.sampled_from([0.0, 0.02, 0.5, 0.95, 1.0]))
    return np.random.default_rng(draw(st.integers(0, 2**32))).random(count) < share
