"""Paired differences and their standard errors: by hand, against a bootstrap over clips, and as laws."""

from math import isnan, sqrt

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mee.errors import InputError
from mee.evaluation.metrics import KS, retrieval_metrics
from mee.evaluation.paired import compare, paired_difference
from mee.evaluation.result import Direction


def test_a_case_by_hand():
    """D = 1; the sums of d - D are (1 - 1) + (3 - 1) = 2, 0 - 1 = -1 and 0 - 1 = -1; 3 / 2 * 6 = 9; 3 / 4."""
    assert paired_difference([0, 1, 5, 2], [1, 4, 5, 2], ["x", "x", "y", "z"]) == (1.0, 0.75)
    assert paired_difference(0, [1, 3, 0, 0], [7, 7, 9, 8]) == (1.0, 0.75)
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
    assert paired_difference(0, b, cluster)[1] > 1.5 * single  # a standard error over captions is too small


@pytest.mark.parametrize(
    ("a", "b", "cluster", "said"),
    [
        ([1, 2], [1], [0], r"one length, got \(2,\), \(1,\) and \(1,\)"),
        ([1], [1, 2], [0, 1], "one length"),
        ([1, 2], [1, 2], [0], "one length"),
        ([[1]], [[1]], [[0]], "vectors"),
        ([], [], [], "no query"),
        ([1, np.nan], [1, 2], [0, 1], "finite"),
        ([1, 2], [1, np.inf], [0, 1], "finite"),
    ],
)
def test_what_cannot_be_paired_is_refused(a, b, cluster, said):
    with pytest.raises(ValueError, match=said):
        paired_difference(a, b, cluster)


# ---- two results


def direction(ranks, clusters, **changes):
    ranks = [float(rank) for rank in ranks]
    gains = torch.tensor([1 / np.log2(1 + rank) if rank <= 10 else 0.0 for rank in ranks], dtype=torch.float64)
    metrics = retrieval_metrics(torch.tensor(ranks), gains)
    parts = {"queries": len(ranks), "candidates": 50, "metrics": metrics, "ranks": ranks, "clusters": clusters}
    return Direction.model_validate({**parts, "digest": "of the captions", **changes}, strict=False)


def drawn(seed, clusters):
    return direction(np.random.default_rng(seed).integers(1, 51, sum(clusters)), clusters)


def test_every_figure_has_its_difference_and_all_but_the_median_an_error():
    clusters = (30, 10, 40, 20)
    a, b = drawn(0, clusters), drawn(1, clusters)
    cluster, found = np.repeat(range(4), clusters), compare([a], [b])
    assert found.keys() == a.metrics.keys()
    for name, (difference, error) in found.items():
        assert difference == pytest.approx(b.metrics[name] - a.metrics[name])
        assert (error is None) == (name == "MedR")
    first, second = (np.array(side.ranks) for side in (a, b))
    for k in KS:
        hits = (100.0 * (first <= k), 100.0 * (second <= k))
        assert found[f"R@{k}"] == pytest.approx(paired_difference(*hits, cluster))
    assert found["MeanR"] == pytest.approx(paired_difference(first, second, cluster))
    assert found["MRR"] == pytest.approx(paired_difference(100 / first, 100 / second, cluster))
    alone, three = compare([], [b])["mean of R@1/5/10"], [100.0 * (second <= k) for k in (1, 5, 10)]
    assert alone == pytest.approx(paired_difference(0, np.mean(three, axis=0), cluster))
    assert compare([a], [a])["R@5"] == (0.0, 0.0)


def test_geom_has_the_error_that_a_bootstrap_over_clips_gives():
    clusters = (4,) * 300
    draws = (np.random.default_rng(seed).geometric(p, 1200) for seed, p in ((0, 0.1), (1, 0.12)))
    a, b = (direction(np.minimum(ranks, 50), clusters) for ranks in draws)
    clips = np.random.default_rng(2).multinomial(300, np.full(300, 1 / 300), 2000)
    geoms = []
    for side in (b, a):
        hits = [(np.reshape(side.ranks, (300, 4)) <= k).mean(1) for k in (1, 5, 10)]
        geoms.append(np.cbrt(np.prod([100 * clips @ hit / 300 for hit in hits], axis=0)))
    assert compare([a], [b])["Geom"][1] == pytest.approx((geoms[0] - geoms[1]).std(), rel=5 / sqrt(2 * 2000))
    none = direction([11] * 4, (2, 2))  # R@1 is 0, where Geom has no slope
    assert compare([none], [none])["Geom"] == (0.0, None)


def test_seeds_are_averaged_query_by_query():
    clusters = (2, 3, 2)
    seeds = [drawn(seed, clusters) for seed in range(5)]
    difference, error = compare(seeds[:2], seeds[2:])["MeanR"]
    first, second = (np.mean([seed.ranks for seed in some], axis=0) for some in (seeds[:2], seeds[2:]))
    assert (difference, error) == pytest.approx(paired_difference(first, second, np.repeat(range(3), clusters)))
    old, new = (np.mean([seed.metrics["MedR"] for seed in some]) for some in (seeds[:2], seeds[2:]))
    assert compare(seeds[:2], seeds[2:])["MedR"] == (pytest.approx(new - old), None)


def test_a_figure_that_is_not_the_mean_of_its_ranks_has_no_error():
    a = drawn(0, (2, 2))
    gains = a.model_copy(update={"metrics": a.metrics | {"nDCG@10": 99.0}})  # of captions with several right clips
    assert compare([a], [gains])["nDCG@10"] == (pytest.approx(99 - a.metrics["nDCG@10"]), None)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"digest": "of others"}, "other captions"),
        ({"clusters": (4,)}, "other captions"),
        ({"candidates": 49}, "another number of clips"),
        ({"ranks": (), "clusters": ()}, "no rank of each query"),
    ],
)
def test_other_captions_or_galleries_are_not_compared(changes, said):
    a = drawn(0, (2, 2))
    for sides in (([a], [a.model_copy(update=changes)]), ([a, a.model_copy(update=changes)], [a])):
        with pytest.raises(InputError, match=said):
            compare(*sides)
