"""Curve and histogram of ranks: they agree with the figures, and with counting."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mee.evaluation.bootstrap import bootstrap_intervals
from mee.evaluation.measure import direction_of
from mee.evaluation.metrics import retrieval_metrics
from mee.ranking.counts import Ranks


@st.composite
def rank_lists(draw):
    """Expected ranks, whole or half, and the number of candidates."""
    candidates = draw(st.integers(1, 40) | st.integers(1, 3000))
    twice = draw(st.lists(st.integers(2, 2 * candidates), min_size=1, max_size=30))
    return [each / 2 for each in twice], candidates


def ranks_of(ranks, candidates):
    rank = torch.tensor(ranks, dtype=torch.float64)
    return Ranks(torch.arange(len(rank)), rank, 1 / rank.sqrt(), candidates)


def summed_up(ranks, candidates, **options):
    return direction_of(ranks_of(ranks, candidates), **{"resamples": 0, "seed": 0, **options})


def span_of(name):
    low, _, high = name.partition("-")
    return int(low), int(high or low)


@given(rank_lists())
def test_figures_are_those_of_the_ranks(case):
    ranks = ranks_of(*case)
    direction = direction_of(ranks, resamples=7, seed=3)
    assert (direction.queries, direction.candidates) == (len(ranks.rank), ranks.candidates)
    assert direction.metrics == retrieval_metrics(ranks.rank, ranks.gain)
    assert direction.metrics["MedR"] == np.median(case[0])
    assert direction.intervals == bootstrap_intervals(ranks.rank, ranks.gain, resamples=7, seed=3)


@given(rank_lists())
def test_the_recall_curve_rises_to_100_and_agrees_with_the_figures(case):
    ranks, candidates = case
    direction = summed_up(*case)
    depths, recall = zip(*direction.recall)
    assert list(depths) == sorted(set(depths))
    assert depths[0] == 1
    assert direction.recall[-1] == (candidates, 100)
    assert list(recall) == sorted(recall)
    for depth, value in direction.recall:
        assert value == 100 * np.mean(np.asarray(ranks) <= depth)
    known = dict(direction.recall)
    for depth in (1, 5, 10, 50):
        assert known.get(depth, 100) == direction.metrics[f"R@{depth}"]
        assert (depth in known) == (depth <= candidates)
    assert {type(depth) for depth in depths} == {int}
    assert {type(value) for value in recall} == {float}


def test_the_recall_curve_is_as_exact_as_the_figures():
    """A third in float32 would differ from R@1 in the eighth digit."""
    direction = summed_up([1, 2, 3], 10)
    assert direction.recall[:3] == ((1, 100 * (1 / 3)), (2, 100 * (2 / 3)), (3, 100))


@pytest.mark.parametrize(
    ("candidates", "depths"),
    [
        (1, [1]),
        (2, [1, 2]),
        (9, [1, 2, 3, 5, 7, 9]),
        (10, [1, 2, 3, 5, 7, 10]),
        (11, [1, 2, 3, 5, 7, 10, 11]),
        (1000, [1, 2, 3, 5, 7, 10, 20, 30, 50, 70, 100, 200, 300, 500, 700, 1000]),
    ],
)
def test_the_recall_curve_is_read_at_round_numbers(candidates, depths):
    assert [depth for depth, _ in summed_up([1], candidates).recall] == depths


@given(rank_lists())
def test_the_histogram_counts_every_query_once_and_covers_all_ranks(case):
    ranks, candidates = case
    histogram = summed_up(*case).histogram
    spans = [span_of(name) for name, _ in histogram]
    assert spans[0][0] == 1
    assert spans[-1][1] == candidates
    assert [low for low, _ in spans[1:]] == [high + 1 for _, high in spans[:-1]]
    assert sum(count for _, count in histogram) == len(ranks)
    for (low, high), (_, count) in zip(spans, histogram):
        assert count == sum(low <= np.ceil(rank) <= high for rank in ranks)
    assert {type(count) for _, count in histogram} == {int}


@pytest.mark.parametrize(
    ("candidates", "names"),
    [
        (1, ["1"]),
        (2, ["1", "2"]),
        (3, ["1", "2", "3"]),
        (4, ["1", "2", "3-4"]),
        (5, ["1", "2", "3-4", "5"]),
        (8, ["1", "2", "3-4", "5-8"]),
        (1000, ["1", "2", "3-4", "5-8", "9-16", "17-32", "33-64", "65-128", "129-256", "257-512", "513-1000"]),
    ],
)
def test_bins_double_and_the_last_one_ends_with_the_candidates(candidates, names):
    assert [name for name, _ in summed_up([1], candidates).histogram] == names


def test_a_rank_between_two_counts_as_the_later_one():
    assert dict(summed_up([1, 1.5, 2, 2.5, 4.5], 6).histogram) == {"1": 1, "2": 2, "3-4": 1, "5-6": 1}


@given(st.integers(1, 40))
def test_powers_of_two_close_their_bin(power):
    histogram = dict(summed_up([2**power, 2**power + 1], 2 ** (power + 2)).histogram)
    last = 2 ** (power - 1) + 1
    assert histogram[str(last) if power == 1 else f"{last}-{2**power}"] == 1
    assert histogram[f"{2**power + 1}-{2 ** (power + 1)}"] == 1


def test_figures_and_curve_match_golden(load_golden):
    for name, case in load_golden("retrieval_metrics.json")["cases"].items():
        for way in ("t2v_rows_are_queries", "v2t_columns_are_queries"):
            if case[way]["correct"] is None:  # NaN has no rank
                continue
            golden = case[way]["correct"]["mean"]
            direction = summed_up(golden["ranks"], case["n"])
            for depth, theirs in ((1, "R1"), (5, "R5"), (10, "R10")):
                assert direction.metrics[f"R@{depth}"] == pytest.approx(100 * golden[theirs]), name
                assert dict(direction.recall).get(depth, 100) == pytest.approx(100 * golden[theirs]), name
            assert direction.metrics["MedR"] == golden["MedR"]
            assert direction.metrics["MeanR"] == pytest.approx(golden["MeanR"])


def test_no_ranks_make_no_direction():
    with pytest.raises(ValueError, match="no query was ranked"):
        summed_up([], 3)
