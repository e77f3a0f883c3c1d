"""What every kind of scanner keeps to, whatever unit it is made for."""

import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from index.scanners.kinds import KINDS, build, files, open_scanner
from index.scanners.scanner import Allowed, Shape
from tests.index.scanners.units import clustered, exact_scores, masks, near, query_rows, unit_rows, units

PROVING = ("flat", "certified")
kinds = pytest.mark.parametrize("kind", KINDS)


def check_answer(scanner, queries, count, mask, answer):
    """Shape, order, no row twice, none that may not be found, nothing left out by kinds that prove."""
    estimates, rows = answer
    there = int(mask.sum())
    assert estimates.shape == rows.shape
    assert rows.shape == (len(queries), min(count, there))
    assert estimates.dtype == np.float32
    assert rows.dtype == np.int64
    assert not np.isnan(estimates).any()
    assert (np.diff(estimates, axis=1) <= 0)[np.isfinite(estimates[:, 1:])].all()
    assert ((rows < 0) == np.isneginf(estimates)).all()
    for line in rows:
        found = line[line >= 0]
        assert len(set(found.tolist())) == len(found)
        assert mask[found].all()
    if scanner.kind in PROVING:
        assert (rows >= 0).all()
        exact, bound = exact_scores(queries, scanner.vectors), scanner.bound(queries)
        assert (np.abs(np.take_along_axis(exact, rows, 1) - estimates) <= bound[:, None]).all()
        if 0 < count < there:
            left = np.where(mask, exact, -np.inf)
            np.put_along_axis(left, rows, -np.inf, axis=1)
            assert (left.max(axis=1) <= estimates[:, -1] + bound).all()
    else:
        assert (rows >= 0).all()  # they turn to an exact scan where they find too few


@kinds
@given(unit=units(), count=st.integers(1, 350), data=st.data())
def test_a_scan_keeps_to_the_contract(kind, unit, count, data):
    vectors, shape, queries = unit
    scanner = build(kind, vectors, shape)
    assert scanner.kind == kind
    assert scanner.shape == shape
    assert scanner.vectors is vectors
    everything = np.ones(len(vectors), dtype=bool)
    check_answer(scanner, queries, count, everything, scanner.scan(queries, count))
    mask = data.draw(masks(len(vectors)))
    check_answer(scanner, queries, count, mask, scanner.scan(queries, count, Allowed(mask)))
    bound = scanner.bound(queries)
    assert bound.shape == (len(queries),)
    assert bound.dtype == np.float64
    assert np.isfinite(bound).all() == (kind in PROVING)
    assert not np.isnan(bound).any()


@kinds
@given(unit=units())
def test_what_is_saved_scans_the_same(kind, unit):
    vectors, shape, queries = unit
    scanner = build(kind, vectors, shape)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"{kind}-1011"
        scanner.save(path)
        assert sorted(Path(folder).iterdir()) == sorted(files(kind, path))
        opened = open_scanner(kind, path, vectors, shape)
        for before, after in zip(scanner.scan(queries, 7), opened.scan(queries, 7)):
            assert (before == after).all()
        assert (scanner.bound(queries) == opened.bound(queries)).all()
        opened.save(Path(folder) / "again")
        again = open_scanner(kind, Path(folder) / "again", vectors, shape)
        assert (again.scan(queries, 7)[1] == opened.scan(queries, 7)[1]).all()


@kinds
def test_it_scans_a_memory_map_that_was_replaced_after_opening(kind, tmp_path):
    shape = Shape((96, 48))
    generator = np.random.default_rng(0)
    np.save(tmp_path / "vectors.npy", clustered(generator, 3000, shape, spread=1.0))
    vectors = np.load(tmp_path / "vectors.npy", mmap_mode="c")
    build(kind, vectors, shape).save(tmp_path / "codes")
    opened = open_scanner(kind, tmp_path / "codes", vectors, shape)
    for path in files(kind, tmp_path / "codes"):
        path.unlink()
    queries = near(generator, vectors, 20, shape)
    found = opened.scan(queries, 100)[1]
    best = np.argsort(-exact_scores(queries, vectors), axis=1)[:, :10]
    assert np.mean([len(set(a) & set(b)) / 10 for a, b in zip(found.tolist(), best.tolist())]) > 0.9


@kinds
def test_a_query_that_is_alone_gets_the_answer_that_it_gets_among_others(kind):
    shape = Shape((24, 24))
    generator = np.random.default_rng(1)
    vectors, queries = clustered(generator, 2000, shape), query_rows(generator, 30, shape)
    scanner = build(kind, vectors, shape)
    together = scanner.scan(queries, 15)[1]
    alone = np.concatenate([scanner.scan(queries[row : row + 1], 15)[1] for row in range(len(queries))])
    assert np.mean(together == alone) > 0.99  # flat adds in another order; others are the same


@kinds
@pytest.mark.parametrize("share", [0.0, 0.01, 0.3, 0.9, 0.999, 1.0])
def test_filtered_scans_find_the_best_that_are_allowed(kind, share):
    shape = Shape((96, 96), constant=True)
    generator = np.random.default_rng(2)
    vectors = clustered(generator, 3000, shape, spread=1.0)
    vectors[:, -1] = 0.4 + 0.05 * generator.standard_normal(len(vectors))
    queries = near(generator, vectors, 20, shape)
    mask = generator.random(len(vectors)) < share
    found = build(kind, vectors, shape).scan(queries, 60, Allowed(mask))[1]
    exact = np.where(mask, exact_scores(queries, vectors), -np.inf)
    best = np.argsort(-exact, axis=1)[:, : min(10, int(mask.sum()))]
    parts = [len(set(a) & set(b)) / max(1, len(b)) for a, b in zip(found.tolist(), best.tolist())]
    assert not best.size or np.mean(parts) > (0.999 if kind in PROVING else 0.95)


@kinds
def test_no_query_is_no_answer(kind):
    shape = Shape((8,))
    scanner = build(kind, unit_rows(np.random.default_rng(0), 50, shape), shape)
    nobody = np.empty((0, 8), dtype=np.float32)
    estimates, rows = scanner.scan(nobody, 5)
    assert estimates.shape == rows.shape == (0, 5)
    assert scanner.bound(nobody).shape == (0,)


@kinds
@pytest.mark.parametrize("what", [np.nan, np.inf])
@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
def test_a_query_that_is_no_number_finds_nothing(kind, what):
    shape = Shape((8,))
    scanner = build(kind, unit_rows(np.random.default_rng(0), 50, shape), shape)
    estimates, rows = scanner.scan(np.full((1, 8), what, dtype=np.float32), 5)
    assert (rows == -1).all()
    assert np.isneginf(estimates).all()
