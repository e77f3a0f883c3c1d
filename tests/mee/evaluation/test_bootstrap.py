"""Intervals are those of plain resampling, hold the estimate, and are the same for the same seed."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import mee.evaluation.bootstrap
from mee.evaluation.bootstrap import bootstrap_intervals, mean_interval
from mee.evaluation.metrics import KS, retrieval_metrics

RANKS = st.lists(st.integers(2, 240).map(lambda twice: twice / 2), min_size=1, max_size=30)
MANY = 4000
SLACK = 0.011  # of a quantile's probability: 4.5 standard errors of 2.5 % measured twice by so many resamples


def gains_of(ranks):
    return torch.where(ranks <= 10, 1 / torch.log2(1 + ranks), 0)


def drawn_ranks(queries, distinct, seed):
    generator = torch.Generator().manual_seed(seed)
    shares = torch.rand(distinct, generator=generator) ** 4
    ranks = torch.multinomial(shares, queries, replacement=True, generator=generator).double() + 1
    return ranks + torch.randint(2, (queries,), generator=generator) / 2


def plain(ranks, gains, seed):
    """Figures of so many resamples, each computed by numpy from the ranks that were drawn."""
    draws = np.random.default_rng(seed).integers(len(ranks), size=(MANY, len(ranks)))
    rank, gain = ranks.numpy()[draws], gains.numpy()[draws]
    found = {f"R@{k}": 100 * (rank <= k).mean(1) for k in KS}
    return {
        **found,
        "MedR": np.median(rank, 1),
        "MeanR": rank.mean(1),
        "Geom": np.cbrt(found["R@1"] * found["R@5"] * found["R@10"]),
        "MRR": 100 * (1 / rank).mean(1),
        "nDCG@10": 100 * gain.mean(1),
    }


@pytest.mark.parametrize(
    ("queries", "distinct"), [(1, 1), (2, 50), (9, 20), (60, 30), (61, 200), (700, 5), (1000, 12), (1001, 400)]
)
def test_intervals_equal_those_of_plain_resampling(queries, distinct):
    ranks = drawn_ranks(queries, distinct, seed=queries)
    gains = gains_of(ranks).sqrt()  # not a function that could be read off the other figures
    intervals = bootstrap_intervals(ranks, gains, resamples=MANY)
    figures = plain(ranks, gains, seed=1)
    assert intervals.keys() == figures.keys()
    for name, (low, high) in intervals.items():
        for end, share in ((low, 0.025), (high, 0.975)):
            least, most = np.quantile(figures[name], (share - SLACK, share + SLACK))
            assert least - 1e-9 <= end <= most + 1e-9, (name, share)


def test_the_interval_of_a_share_is_that_of_the_binomial_law():
    ranks = torch.cat([torch.ones(4000), torch.full((6000,), 20.0)])
    low, high = bootstrap_intervals(ranks, gains_of(ranks), resamples=20_000)["R@1"]
    half = 1.96 * 100 * (0.4 * 0.6 / 10_000) ** 0.5
    assert (low, high) == pytest.approx((40 - half, 40 + half), abs=0.06)


@given(RANKS)
def test_intervals_hold_the_estimate(ranks):
    ranks = torch.tensor(ranks)
    gains = gains_of(ranks)
    figures = retrieval_metrics(ranks, gains)
    intervals = bootstrap_intervals(ranks, gains, resamples=400)
    assert intervals.keys() == figures.keys()
    for name, (low, high) in intervals.items():
        assert low - 1e-9 <= figures[name] <= high + 1e-9, name


@given(st.integers(2, 240).map(lambda twice: twice / 2), st.integers(1, 100))
def test_ranks_that_are_all_alike_leave_no_doubt(rank, queries):
    ranks = torch.full((queries,), rank)
    figures = retrieval_metrics(ranks, gains_of(ranks))
    for name, (low, high) in bootstrap_intervals(ranks, gains_of(ranks), resamples=10).items():
        assert low == high == pytest.approx(figures[name])


@pytest.mark.parametrize("distinct", [3, 300])
def test_intervals_depend_on_the_seed_and_on_nothing_else(distinct, monkeypatch):
    ranks = drawn_ranks(500, distinct, seed=0)
    gains = gains_of(ranks)
    once = bootstrap_intervals(ranks, gains, resamples=100, seed=3)
    torch.manual_seed(99)
    np.random.seed(99)  # noqa: NPY002
    order = torch.randperm(500)
    assert bootstrap_intervals(ranks[order], gains[order], resamples=100, seed=3) == once
    other = bootstrap_intervals(ranks, gains, resamples=100, seed=4)
    assert all(other[name] != once[name] for name in ("MeanR", "MRR", "nDCG@10"))
    monkeypatch.setattr(mee.evaluation.bootstrap, "CHUNK", 7 * len(ranks.unique()))
    again = bootstrap_intervals(ranks, gains, resamples=100, seed=3)
    assert {name: pytest.approx(ends, rel=1e-12) for name, ends in again.items()} == once


def test_the_median_of_an_even_number_is_the_mean_of_the_middle_two():
    """Of the ranks 1 and 3 one resample has both, or one of them twice."""
    ranks = torch.tensor([1.0, 3.0])
    drawn = {bootstrap_intervals(ranks, ranks, resamples=1, seed=seed)["MedR"] for seed in range(40)}
    assert drawn == {(1, 1), (2, 2), (3, 3)}


def test_without_resamples_there_are_no_intervals():
    assert bootstrap_intervals(torch.ones(3), torch.ones(3), resamples=0) == {}


def test_intervals_are_plain_numbers():
    intervals = bootstrap_intervals(torch.tensor([1.0, 2.0]), torch.tensor([1.0, 0.5]), resamples=5)
    assert {type(end) for ends in intervals.values() for end in ends} == {float}


def test_the_interval_of_a_mean_equals_that_of_plain_resampling():
    values = np.random.default_rng(0).normal(size=90)
    low, high = mean_interval(values, resamples=MANY, seed=5)
    means = values[np.random.default_rng(1).integers(90, size=(MANY, 90))].mean(1)
    for end, share in ((low, 0.025), (high, 0.975)):
        least, most = np.quantile(means, (share - SLACK, share + SLACK))
        assert least <= end <= most
