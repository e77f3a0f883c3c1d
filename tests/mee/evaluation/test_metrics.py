"""Ranks and figures against golden double loops; intervals against plain resampling; multiple choice."""

import math
from itertools import product

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import mee.evaluation.metrics
from mee.errors import InputError
from mee.evaluation.metrics import KS, bootstrap_intervals, choice_accuracy, retrieval_metrics
from mee.ranking.rank import rank_queries
from tests.mee.whole_scores import WholeScores, positives_of

RANKS = st.lists(st.integers(2, 240).map(lambda twice: twice / 2), min_size=1, max_size=30)


@pytest.mark.parametrize("margin", [0.0, 1e-9])
def test_ranks_and_figures_match_golden(load_golden, margin):
    golden = load_golden("retrieval_metrics.json")
    several = golden["multi_caption"]  # captions of a video
    right = torch.tensor(several["caption_owner"])[:, None] == torch.arange(len(several["scores"][0]))
    ranking = rank_queries(WholeScores(torch.tensor(several["scores"]), margin), positives_of(right))
    assert ranking.t2v.rank.tolist() == several["t2v_ranks"]
    assert ranking.v2t.rank.tolist() == several["v2t_best_caption_ranks"]
    assert len(golden["cases"]) >= 10
    for name, case in golden["cases"].items():
        scores = torch.tensor([[float(score) for score in row] for row in case["scores"]], dtype=torch.float64)
        scores = WholeScores(scores.masked_fill(scores.isneginf(), -1e30), margin)  # below all others
        positives = positives_of(torch.eye(scores.queries, dtype=torch.bool))
        if scores.matrix.isnan().any():
            with pytest.raises(InputError, match="NaN"):
                rank_queries(scores, positives)
            continue
        ranking = rank_queries(scores, positives)
        for way, key in {"t2v": "t2v_rows_are_queries", "v2t": "v2t_columns_are_queries"}.items():
            theirs, ranks = case[key]["correct"]["mean"], getattr(ranking, way).rank
            assert ranks.tolist() == theirs["ranks"], name
            figures = retrieval_metrics(ranks)
            expected = {f"R@{k}": 100 * theirs[f"R{k}"] for k in (1, 5, 10)}
            expected |= {"MedR": theirs["MedR"], "MeanR": theirs["MeanR"]}
            assert {key: figures[key] for key in expected} == pytest.approx(expected), name


@given(RANKS)
def test_figures_equal_numpy(ranks):
    assert KS == (1, 5, 10, 50)
    assert retrieval_metrics(torch.tensor(ranks)) == pytest.approx(plain(np.asarray(ranks, dtype=np.float64)))
    with pytest.raises(ValueError, match="no query"):
        retrieval_metrics(torch.empty(0))


MANY = 4000
SLACK = 0.011  # of a quantile's probability: 4.5 standard errors of 2.5 % measured twice by so many resamples


def gains_of(ranks):
    return torch.where(ranks <= 10, 1 / torch.log2(1 + ranks), 0)


def drawn_ranks(queries, distinct, seed):
    generator = torch.Generator().manual_seed(seed)
    shares = torch.rand(distinct, generator=generator) ** 4
    ranks = torch.multinomial(shares, queries, replacement=True, generator=generator).double() + 1
    return ranks + torch.randint(2, (queries,), generator=generator) / 2


def plain(rank, gain=None):
    """The figures of every row of ranks, by numpy."""
    found = {f"R@{k}": 100 * (rank <= k).mean(-1) for k in KS}
    found |= {"MedR": np.median(rank, -1), "MeanR": rank.mean(-1), "MRR": 100 * (1 / rank).mean(-1)}
    found["mR"] = (found["R@1"] + found["R@5"] + found["R@10"]) / 3
    found["Geom"] = np.cbrt(found["R@1"] * found["R@5"] * found["R@10"])
    return found if gain is None else {**found, "nDCG@10": 100 * gain.mean(-1)}


def check_interval(interval, resampled, name=""):
    """Its ends are quantiles of so many resamples."""
    for end, share in zip(interval, (0.025, 0.975)):
        least, most = np.quantile(resampled, (share - SLACK, share + SLACK))
        assert least - 1e-9 <= end <= most + 1e-9, (name, share)


@pytest.mark.parametrize(
    ("queries", "distinct"), [(1, 1), (2, 50), (9, 20), (60, 30), (61, 200), (700, 5), (1000, 12), (1001, 400)]
)
def test_intervals_equal_those_of_plain_resampling(queries, distinct):
    ranks = drawn_ranks(queries, distinct, seed=queries)
    gains = gains_of(ranks).sqrt()  # not a function that could be read off the other figures
    intervals = bootstrap_intervals(ranks, gains, resamples=MANY)
    draws = np.random.default_rng(1).integers(queries, size=(MANY, queries))
    figures = plain(ranks.numpy()[draws], gains.numpy()[draws])
    assert intervals.keys() == figures.keys()
    for name, interval in intervals.items():
        check_interval(interval, figures[name], name)


@given(RANKS)
def test_intervals_hold_the_estimate(ranks):
    ranks = torch.tensor(ranks)
    gains = gains_of(ranks)
    figures, intervals = retrieval_metrics(ranks, gains), bootstrap_intervals(ranks, gains, resamples=400)
    assert intervals.keys() == figures.keys()
    for name, (low, high) in intervals.items():
        assert low - 1e-9 <= figures[name] <= high + 1e-9, name
    assert bootstrap_intervals(ranks, gains, resamples=0) == {}
    alike = ranks[:1].expand(len(ranks))  # ranks that are all alike leave no doubt
    figures = retrieval_metrics(alike, gains_of(alike))
    for name, (low, high) in bootstrap_intervals(alike, gains_of(alike), resamples=10).items():
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
    monkeypatch.setattr(mee.evaluation.metrics, "CHUNK", 7 * len(ranks.unique()))
    two = torch.tensor([1.0, 3.0])  # of which one resample has both, or one of them twice
    drawn = {bootstrap_intervals(two, two, resamples=1, seed=seed)["MedR"] for seed in range(40)}
    assert drawn == {(1, 1), (2, 2), (3, 3)}
    again = bootstrap_intervals(ranks, gains, resamples=100, seed=3)
    assert {name: pytest.approx(ends, rel=1e-12) for name, ends in again.items()} == once


# ---- multiple choice: golden answers, chance for ties, and a loop over the rule


def tied_choices(seed):
    """Few distinct values, so that most questions tie."""
    generator = torch.Generator().manual_seed(seed)
    questions, choices = torch.randint(1, 9, (2,), generator=generator).tolist()
    scores = torch.randint(3, (questions, choices), generator=generator).float()
    return scores, torch.randint(choices, (questions,), generator=generator)


def test_accuracy_matches_golden_and_a_constant_score_answers_one_in_five(load_golden):
    case = load_golden("retrieval_metrics.json")["multiple_choice"]
    choice = choice_accuracy(torch.tensor(case["scores"]), torch.tensor(case["gt_one_based"]) - 1)
    assert choice.questions == len(case["scores"])
    assert choice.accuracy == pytest.approx(100 * case["correct"]["expected_random_tie_break"])
    low, high = choice.interval
    assert low < choice.accuracy < high
    for score, questions in product((0.3, -2.0, -math.inf), (1, 7)):
        choice = choice_accuracy(torch.full((questions, 5), score), torch.arange(questions) % 5, resamples=10)
        assert (choice.accuracy, *choice.interval) == pytest.approx((20, 20, 20))


@given(st.integers(0, 2**31))
def test_accuracy_equals_a_loop_over_the_rule_in_any_order(seed):
    scores, answer = tied_choices(seed)
    rows = zip(scores.tolist(), answer.tolist())
    credits = [(row[right] == max(row)) / row.count(max(row)) for row, right in rows]
    choice = choice_accuracy(scores, answer, resamples=300)
    assert choice.accuracy == pytest.approx(100 * sum(credits) / len(credits))
    low, high = choice.interval
    assert -1e-9 <= low <= choice.accuracy + 1e-9
    assert choice.accuracy - 1e-9 <= high <= 100 + 1e-9
    assert {type(choice.questions), type(choice.accuracy), type(low), type(high)} == {int, float}
    generator = torch.Generator().manual_seed(seed)
    rows, columns = (torch.randperm(size, generator=generator) for size in scores.shape)
    moved = choice_accuracy(scores[rows][:, columns], columns.argsort()[answer[rows]], resamples=0)
    assert moved.accuracy == pytest.approx(choice.accuracy)


def test_the_interval_is_that_of_resampled_questions():
    scores, answer = torch.eye(5).repeat(40, 1), torch.arange(5).repeat(40)
    answer[:70] = (answer[:70] + 1) % 5
    right = np.arange(200) >= 70
    means = 100 * right[np.random.default_rng(1).integers(200, size=(MANY, 200))].mean(1)
    check_interval(choice_accuracy(scores, answer, resamples=MANY).interval, means)
    once, again, other = (choice_accuracy(scores, answer, resamples=50, seed=seed) for seed in (1, 1, 2))
    assert once == again
    assert once.interval != other.interval
    assert choice_accuracy(scores, answer, resamples=0).interval is None


@pytest.mark.parametrize(
    ("scores", "answer", "says"),
    [
        (torch.empty(0, 5), [], "no question"),
        (torch.tensor([[math.nan, 0.1], [0.2, math.nan]]), [1, 0], "2 scores are NaN"),
        (torch.rand(1, 2), [-1], "0 to 1"),
        (torch.rand(1, 2), [2], "0 to 1"),
    ],
)
def test_what_cannot_be_answered_is_refused(scores, answer, says):
    with pytest.raises(ValueError, match=says):
        choice_accuracy(scores, torch.tensor(answer, dtype=torch.int64))
