"""The contract of all kinds of scanners, for any partition; what each kind adds; which kind is chosen."""

import subprocess
import sys
import tempfile
from pathlib import Path

import faiss
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from index.scanners import certified, flat
from index.scanners.certified import ALIGNED, Certified, bytes_multiply_exactly
from index.scanners.fastscan import FastScan
from index.scanners.flat import Flat
from index.scanners.kinds import KINDS, SMALL, Settings, choose, scanner_class
from index.scanners.scanner import Allowed, Shape
from mee.errors import InputError
from tests.index.scanners.partitions import clustered, exact_scores, masks, near, partitions, query_rows, unit_rows

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
        above = np.take_along_axis(exact, rows, 1) - estimates
        assert ((above if scanner.kind == "certified" else np.abs(above)) <= bound[:, None]).all()
        if 0 < count < there:
            left = np.where(mask, exact, -np.inf)
            np.put_along_axis(left, rows, -np.inf, axis=1)
            assert (left.max(axis=1) <= estimates[:, -1] + bound).all()
    else:
        assert (rows >= 0).all()  # they turn to an exact scan where they find too few


def reopened(scanner, path, vectors=None):
    """What it saved there, with its coding where it has one."""
    vectors = scanner.vectors if vectors is None else vectors
    if scanner.kind == "certified":
        return Certified.opened(path, vectors, scanner.shape, scanner.coding, scanner.pattern)
    return type(scanner).open(path, vectors, scanner.shape)


@kinds
@given(partition=partitions(), count=st.integers(1, 350), data=st.data())
def test_a_scan_keeps_to_the_contract(kind, partition, count, data):
    vectors, shape, queries = partition
    scanner = scanner_class(kind).build(vectors, shape)
    assert scanner.kind == kind
    assert scanner.shape == shape
    assert scanner.vectors is vectors
    everything = np.ones(len(vectors), dtype=bool)
    for some in (count, len(vectors)):  # the bound holds for all rows, not only for the best
        check_answer(scanner, queries, some, everything, scanner.scan(queries, some))
    mask = data.draw(masks(len(vectors)))
    check_answer(scanner, queries, count, mask, scanner.scan(queries, count, Allowed(mask)))
    bound = scanner.bound(queries)
    assert bound.shape == (len(queries),)
    assert bound.dtype == np.float64
    assert np.isfinite(bound).all() == (kind in PROVING)
    assert not np.isnan(bound).any()


@kinds
@given(partition=partitions())
def test_what_is_saved_scans_the_same(kind, partition):
    vectors, shape, queries = partition
    scanner = scanner_class(kind).build(vectors, shape)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"{kind}-1011"
        scanner.save(path)
        assert sorted(Path(folder).iterdir()) == sorted(scanner_class(kind).files(path))
        opened = reopened(scanner, path)
        for before, after in zip(scanner.scan(queries, 7), opened.scan(queries, 7)):
            assert (before == after).all()
        assert (scanner.bound(queries) == opened.bound(queries)).all()
        opened.save(Path(folder) / "again")
        again = reopened(scanner, Path(folder) / "again")
        assert (again.scan(queries, 7)[1] == opened.scan(queries, 7)[1]).all()


@kinds
def test_a_query_that_is_alone_gets_the_answer_that_it_gets_among_others(kind):
    shape = Shape((24, 24))
    generator = np.random.default_rng(1)
    vectors, queries = clustered(generator, 2000, shape), query_rows(generator, 30, shape)
    scanner = scanner_class(kind).build(vectors, shape)
    together = scanner.scan(queries, 15)[1]
    alone = np.concatenate([scanner.scan(queries[row : row + 1], 15)[1] for row in range(len(queries))])
    assert np.mean(together == alone) > 0.99  # flat adds in another order; others are the same


@kinds
def test_arrays_and_maps_make_the_same_small_codes_which_are_searched_when_their_files_are_replaced(
    kind, tmp_path
):
    shape, generator = Shape((96, 48)), np.random.default_rng(0)
    array = clustered(generator, 3000, shape, spread=1.0)
    np.save(tmp_path / "vectors.npy", array)
    vectors = np.load(tmp_path / "vectors.npy", mmap_mode="c")
    opened = []
    for name, rows in (("one", array), ("other", vectors)):
        scanner = scanner_class(kind).build(rows, shape)
        scanner.save(tmp_path / name)
        opened.append(reopened(scanner, tmp_path / name, vectors))
    if kind != "flat":
        (one, *_), (other, *_) = (scanner_class(kind).files(tmp_path / name) for name in ("one", "other"))
        assert one.read_bytes() == other.read_bytes()
        row = {"certified": 160, "fastscan": 144 // 8}[kind]  # bytes; certified has whole blocks of 32 columns
        assert one.stat().st_size < 3000 * row + 4 * 144 * 16 + 1000  # centroids of fastscan
    for path in scanner_class(kind).files(tmp_path / "other"):
        path.unlink()
    queries = near(generator, vectors, 20, shape)
    best = np.argsort(-exact_scores(queries, vectors), axis=1)[:, :10]
    found = opened[1].scan(queries, 100)[1]
    assert np.mean([len(set(a) & set(b)) / 10 for a, b in zip(found.tolist(), best.tolist())]) > 0.9


@kinds
@pytest.mark.parametrize(
    ("share", "spread"),
    [(0.0, 0.05), (0.01, 0.05), (0.3, 0.05), (0.9, 0.05), (0.999, 0.05), (1.0, 0.05), (1.0, 0.15)],
)
def test_filtered_scans_find_the_best_that_are_allowed(kind, share, spread):
    shape = Shape((96, 96), offset=True)
    generator = np.random.default_rng(2)
    vectors = clustered(generator, 3000, shape, spread=1.0)
    vectors[:, -1] = 0.4 + spread * generator.standard_normal(len(vectors))
    queries = near(generator, vectors, 20, shape)
    mask = generator.random(len(vectors)) < share
    found = scanner_class(kind).build(vectors, shape).scan(queries, 60, Allowed(mask))[1]
    exact = np.where(mask, exact_scores(queries, vectors), -np.inf)
    best = np.argsort(-exact, axis=1)[:, : min(10, int(mask.sum()))]
    parts = [len(set(a) & set(b)) / max(1, len(b)) for a, b in zip(found.tolist(), best.tolist())]
    assert not best.size or np.mean(parts) > (0.999 if kind in PROVING else 0.95)


@kinds
@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
def test_no_query_and_queries_that_are_not_finite_find_nothing(kind):
    shape = Shape((8,))
    scanner = scanner_class(kind).build(unit_rows(np.random.default_rng(0), 50, shape), shape)
    empty = np.empty((0, 8), dtype=np.float32)
    assert [array.shape for array in scanner.scan(empty, 5)] == [(0, 5), (0, 5)]
    assert scanner.bound(empty).shape == (0,)
    for value in (np.nan, np.inf):
        estimates, rows = scanner.scan(np.full((1, 8), value, dtype=np.float32), 5)
        assert (rows == -1).all()
        assert np.isneginf(estimates).all()


# ---- flat: both ways of leaving rows out, and a bound that a plain loop gives too


@pytest.mark.parametrize("queries", [1, 19, 20, 33])
@pytest.mark.parametrize("block", [1, 4 * 10 * 7, 2**20])
def test_few_and_many_queries_find_the_same_allowed_rows(queries, block, monkeypatch):
    monkeypatch.setattr(flat, "BLOCK", block)  # bytes copied at a time: a row, seven rows, all
    shape = Shape((6, 3), offset=True)
    generator = np.random.default_rng(0)
    vectors, some = unit_rows(generator, 120, shape), query_rows(generator, queries, shape)
    mask = generator.random(120) < 0.4
    _, rows = Flat(vectors, shape).scan(some, 9, Allowed(mask))
    exact = np.where(mask, exact_scores(some, vectors), -np.inf)
    assert (rows == np.argsort(-exact, axis=1)[:, :9]).all()


def test_the_bound_is_the_formula_by_a_plain_loop_and_offsets_that_are_not_subtracted_cost_nothing():
    shape = Shape((3, 2), offset=True)
    vectors = np.array([[1, 0, 0, 0, 1, -7], [0, 1, 0, 1, 0, 2]], dtype=np.float32)
    query = np.array([[0.5, 0, 0.5, 0.25, 0, -1]], dtype=np.float32)
    operations = 6 + 6
    gamma = operations * 2**-24 / (1 - operations * 2**-24)
    expected = gamma * (0.5**0.5 * 1.001 + 0.25 * 1.001 + 1 * 7)
    assert Flat(vectors, shape).bound(query)[0] == pytest.approx(expected, rel=1e-12)
    vectors[:, -1], query[:, -1] = 1e6, 0
    assert Flat(vectors, shape).bound(query)[0] < 1e-6


# ---- flat on a GPU; without one, FAISS's index for CPUs takes its place, so that input and output are tested


@pytest.fixture(scope="module")
def gpu():
    with pytest.MonkeyPatch.context() as patch:
        if not flat.gpu_usable():
            patch.setattr(faiss, "GpuIndexFlatIP", lambda _, width: faiss.IndexFlatIP(width), raising=False)
            patch.setattr(flat, "_resources", lambda: None)
        yield


@given(st.integers(0, 2**31), st.integers(1, 60), st.integers(1, 80), st.one_of(st.none(), st.floats(0, 1)))
@example(seed=1, count=3000, wanted=2048, kept=None)  # as many as FAISS finds on a GPU at a time
@example(seed=1, count=3000, wanted=2049, kept=None)
@example(seed=1, count=3000, wanted=3000, kept=None)
def test_a_gpu_finds_what_flat_finds(gpu, seed, count, wanted, kept):
    shape, generator = Shape((5, 4)), np.random.default_rng(seed)
    vectors, queries = unit_rows(generator, count, shape), query_rows(generator, 3, shape)
    allowed = None if kept is None else Allowed(generator.random(count) < kept)
    one, other = Flat(vectors, shape), flat.GpuFlat(vectors, shape)
    expected, found = one.scan(queries, wanted, allowed), other.scan(queries, wanted, allowed)
    np.testing.assert_allclose(found[0], expected[0], atol=1e-6)
    assert [set(rows) for rows in found[1].tolist()] == [set(rows) for rows in expected[1].tolist()]
    np.testing.assert_array_equal(other.bound(queries), one.bound(queries))


# ---- certified: how tight its bound is, with and without offsets; bytes that are not multiplied exactly


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


# ---- fastscan: the same codes each time, estimates of the same size as exact scores


@pytest.mark.parametrize("size", [16, 96])
def test_estimates_of_good_rows_are_not_too_small(size):
    """They are compared with those of partitions that are scanned exactly."""
    shape = Shape((size, size))
    vectors = unit_rows(np.random.default_rng(0), 4000, shape)
    estimates, rows = FastScan.build(vectors, shape).scan(vectors[:200] / 2, 1)
    assert (rows[:, 0] == np.arange(200)).mean() > 0.9
    assert np.mean(estimates[:, 0]) == pytest.approx(1, abs=0.05)


# ---- which kind a partition gets, and what settings are refused


def test_partitions_of_few_rows_stay_flat_and_settings_change_in_part():
    for settings, larger in (
        (Settings(), "certified"), (Settings(recall=0.9), "fastscan"), (Settings("flat"), "flat"),
        (Settings("certified"), "certified"), (Settings("fastscan", 1.0), "fastscan"),
    ):  # fmt: skip
        least = SMALL.get(larger, 2)
        assert choose(settings, least) == larger
        assert choose(settings, least - 1) == choose(settings, 1) == "flat"
    assert Settings("flat").changed(None, None) == Settings("flat")
    assert Settings("fastscan", 0.9).changed("auto", None) == Settings()
    assert Settings().changed(None, 0.9) == Settings("auto", 0.9)


def test_settings_that_make_no_sense_are_refused(says):
    nan, refused = float("nan"), []
    bad = ("annoy", None), ("fastscan", 0.0), ("auto", 1.01), ("auto", nan), ("flat", 0.9), ("certified", 1.0)
    for kind, recall in bad:
        with pytest.raises(InputError, match=r"recall|annoy") as caught:
            Settings(kind, recall)
        refused.append(str(caught.value))
    says("\n".join(refused))


def test_the_table_loads_without_faiss():
    code = "import sys, index.scanners.kinds; print('faiss' in sys.modules, 'torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]
