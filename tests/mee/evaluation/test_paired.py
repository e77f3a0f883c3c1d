"""Paired differences and their standard errors: by hand, against a bootstrap over clips, and as laws."""

from math import isnan, sqrt

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mee.evaluation.metrics import KS, MEAN, query_values, retrieval_metrics
from mee.evaluation.paired import clustered_errors, paired_difference
from mee.evaluation.result import Direction


def test_a_case_by_hand():
    """D = 1; the sums of d - D are (1 - 1) + (3 - 1) = 2, 0 - 1 = -1 and 0 - 1 = -1; 3 / 2 * 6 = 9; 3 / 4."""
    assert paired_difference([0, 1, 5, 2], [1, 4, 5, 2], ["x", "x", "y", "z"]) == (1.0, 0.75)
    difference, error = paired_difference([1, 2], [2, 4], [0, 0])
    assert difference == 1.5
    assert isnan(error)


VALUES = st.lists(st.tuples(*[st.floats(-100, 100)] * 2, st.integers(0, 5)), min_size=2, max_size=30)


@given(VALUES, st.randoms())
def test_laws(rows, random):
    a, b, cluster = (np.array(column) for column in zip(*rows))
    difference, error = paired_difference(a, b, cluster)
    assert difference == pytest.approx(np.mean(b - a))
    random.shuffle(rows)
    assert paired_difference(*zip(*rows)) == pytest.approx((difference, error), abs=1e-9, nan_ok=True)
    assert paired_difference(b, a, cluster) == pytest.approx((-difference, error), abs=1e-9, nan_ok=True)
    alone = np.arange(len(rows))
    plain = np.std(b - a, ddof=1) / sqrt(len(rows))
    assert paired_difference(a, b, alone) == pytest.approx((difference, plain), abs=1e-9)
    again = (np.repeat(values, 20) for values in (a, b, alone))  # twenty equal captions say what one says
    assert paired_difference(*again) == pytest.approx((difference, plain), abs=1e-9)


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


@pytest.mark.parametrize(
    ("a", "b", "cluster", "said"),
    [
        ([1, 2], [1], [0], r"one length, not 0, got \(2,\), \(1,\), \(1,\)"),
        ([1], [1, 2], [0, 1], "one length"),
        ([1, 2], [1, 2], [0], "one length"),
        ([[1]], [[1]], [[0]], "vectors"),
        ([], [], [], "not 0"),
        ([1, np.nan], [1, 2], [0, 1], "finite"),
        ([1, 2], [1, np.inf], [0, 1], "finite"),
    ],
)
def test_what_cannot_be_paired_is_refused(a, b, cluster, said):
    with pytest.raises(ValueError, match=said):
        paired_difference(a, b, cluster)


# ---- two results


def direction(seed, sizes):
    ranks = [rng.integers(1, 51, size).tolist() for rng in [np.random.default_rng(seed)] for size in sizes]
    parts = {"queries": sum(sizes), "candidates": 50, "metrics": {}, "ranks": ranks}
    return Direction.model_validate(parts, strict=False)


@pytest.mark.parametrize("seeds", [1, 3])
def test_every_mean_over_queries_has_the_error_of_its_difference_and_seeds_are_averaged_query_by_query(seeds):
    sizes = (30, 10, 40, 20)
    sides = [direction(seed, sizes) for seed in range(2)], [direction(2 + seed, sizes) for seed in range(seeds)]
    ranks = [[np.concatenate(part.ranks) for part in side] for side in sides]
    values = {f"R@{k}": lambda rank, k=k: 100.0 * (rank <= k) for k in KS}
    values |= {"MeanR": lambda rank: rank, "MRR": lambda rank: 100 / rank}
    values[MEAN] = lambda rank: np.mean([100.0 * (rank <= k) for k in (1, 5, 10)], axis=0)
    found = clustered_errors(*sides)
    assert found.keys() == values.keys() == query_values(ranks[0][0]).keys()
    for name, of in values.items():
        a, b = (np.mean([of(rank) for rank in side], axis=0) for side in ranks)
        assert found[name] == pytest.approx(paired_difference(a, b, np.repeat(range(4), sizes))[1])
        metrics = retrieval_metrics(torch.from_numpy(ranks[0][0]))
        assert query_values(ranks[0][0])[name].mean() == pytest.approx(metrics[name])


@pytest.mark.parametrize("sizes", [(), (4,), (1, 3), (2, 2, 1)])
def test_ranks_of_other_clips_or_of_one_have_no_errors(sizes):
    assert clustered_errors([direction(0, (2, 2)), direction(1, sizes)], [direction(2, (2, 2))]) == {}
    assert clustered_errors([direction(0, (4,))], [direction(1, (4,))]) == {}
