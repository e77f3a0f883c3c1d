"""Paired differences and their standard errors: by hand, against a bootstrap over clips, and as laws."""

from math import isnan, sqrt

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mee.evaluation.metrics import clustered_errors, paired_difference, query_values, retrieval_metrics
from mee.evaluation.result import Direction


def test_a_case_by_hand():
    """D = 1; the sums of d - D are (1 - 1) + (3 - 1) = 2, 0 - 1 = -1 and 0 - 1 = -1; 3 / 2 * 6 = 9; 3 / 4."""
    assert paired_difference([0, 1, 5, 2], [1, 4, 5, 2], ["x", "x", "y", "z"]) == (1.0, 0.75)
    assert isnan(paired_difference([1, 2], [2, 4], [0, 0])[1])


VALUES = st.lists(st.tuples(*[st.floats(-100, 100)] * 2, st.integers(0, 5)), min_size=2, max_size=30)


@given(VALUES, st.randoms())
def test_laws(rows, random):
    a, b, cluster = (np.array(column) for column in zip(*rows))
    difference, error = paired_difference(a, b, cluster)
    assert difference == pytest.approx(np.mean(b - a))
    same = {"abs": 1e-9, "nan_ok": True}
    assert paired_difference(b, a, cluster) == pytest.approx((-difference, error), **same)
    random.shuffle(rows)
    assert paired_difference(*zip(*rows)) == pytest.approx((difference, error), **same)
    plain = pytest.approx((difference, np.std(b - a, ddof=1) / sqrt(len(rows))), abs=1e-9)
    alone = (a, b, np.arange(len(rows)))
    assert paired_difference(*alone) == plain == paired_difference(*(np.repeat(each, 20) for each in alone))


def test_a_bootstrap_over_clips_has_the_same_standard_error():
    rng = np.random.default_rng(0)
    clips, draws = 200, 4000
    cluster = np.repeat(np.arange(clips), rng.integers(1, 20, clips))
    skill = rng.normal(size=clips)[cluster]  # what the captions of a clip share
    a, b = ((skill + rng.normal(size=len(cluster)) > bound) * 100.0 for bound in (0.3, 0.0))
    error = paired_difference(a, b, cluster)[1]
    sums, sizes = np.bincount(cluster, b - a), np.bincount(cluster)
    drawn = rng.multinomial(clips, np.full(clips, 1 / clips), draws)
    resampled = drawn @ sums / (drawn @ sizes)
    assert error == pytest.approx(resampled.std(), rel=5 / sqrt(2 * draws))
    single = paired_difference(a - a, b, np.arange(len(b)))[1]
    assert paired_difference(a - a, b, cluster)[1] > 1.5 * single  # a standard error over captions is too small


NAN, INF = float("nan"), float("inf")
LENGTHS = [([1, 2], [1], [0]), ([1], [1, 2], [0, 1]), ([1, 2], [1, 2], [0]), ([[1]], [[1]], [[0]]), ([], [], [])]


@pytest.mark.parametrize("given", [*LENGTHS, ([1, NAN], [1, 2], [0, 1]), ([1, 2], [1, INF], [0, 1])])
def test_what_cannot_be_paired_is_refused(given):
    with pytest.raises(ValueError, match="vectors of one length, not 0" if given in LENGTHS else "must be finite"):
        paired_difference(*given)


def direction(seed, sizes):
    rng = np.random.default_rng(seed)
    ranks = [rng.integers(1, 51, size).tolist() for size in sizes]
    return Direction.model_validate({"queries": 1, "candidates": 50, "metrics": {}, "ranks": ranks}, strict=False)


@pytest.mark.parametrize("seeds", [1, 3])
def test_every_mean_over_queries_has_the_error_of_its_difference_and_seeds_are_averaged_query_by_query(seeds):
    sizes = (30, 10, 40, 20)
    sides = [direction(seed, sizes) for seed in range(2)], [direction(2 + seed, sizes) for seed in range(seeds)]
    values = [[query_values(np.concatenate(part.ranks)) for part in side] for side in sides]
    metrics = retrieval_metrics(torch.from_numpy(np.concatenate(sides[0][0].ranks)))
    found = clustered_errors(*sides)
    assert metrics.keys() - found.keys() == {"MedR", "Geom"}
    for name, error in found.items():
        assert values[0][0][name].mean() == pytest.approx(metrics[name])
        a, b = (np.mean([seed[name] for seed in side], axis=0) for side in values)
        assert error == pytest.approx(paired_difference(a, b, np.repeat(range(4), sizes))[1])


@pytest.mark.parametrize("sizes", [(), (4,), (1, 3), (2, 2, 1)])
def test_ranks_of_other_clips_or_of_one_have_no_errors(sizes):
    assert clustered_errors([direction(0, (2, 2)), direction(1, sizes)], [direction(2, (2, 2))]) == {}
    assert clustered_errors([direction(0, (4,))], [direction(1, (4,))]) == {}
