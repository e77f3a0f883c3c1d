"""Multiple choice: golden answers, chance for ties, and a loop over the rule."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mee.evaluation.metrics import choice_accuracy

SEEDS = st.integers(0, 2**31)


def tied_case(seed):
    """Few distinct values, so that most questions tie."""
    generator = torch.Generator().manual_seed(seed)
    questions, choices = torch.randint(1, 9, (2,), generator=generator).tolist()
    scores = torch.randint(3, (questions, choices), generator=generator).float()
    return scores, torch.randint(choices, (questions,), generator=generator)


def test_accuracy_matches_golden(load_golden):
    case = load_golden("retrieval_metrics.json")["multiple_choice"]
    choice = choice_accuracy(torch.tensor(case["scores"]), torch.tensor(case["gt_one_based"]) - 1)
    assert choice.questions == len(case["scores"])
    assert choice.accuracy == pytest.approx(100 * case["correct"]["expected_random_tie_break"])
    low, high = choice.interval
    assert low < choice.accuracy < high


@given(SEEDS)
def test_accuracy_equals_a_loop_over_the_rule(seed):
    scores, answer = tied_case(seed)
    credits = [
        (row[right] == max(row)) / row.count(max(row)) for row, right in zip(scores.tolist(), answer.tolist())
    ]
    choice = choice_accuracy(scores, answer, resamples=300)
    assert choice.accuracy == pytest.approx(100 * sum(credits) / len(credits))
    low, high = choice.interval
    assert -1e-9 <= low <= choice.accuracy + 1e-9
    assert choice.accuracy - 1e-9 <= high <= 100 + 1e-9
    assert {type(choice.questions), type(choice.accuracy), type(low), type(high)} == {int, float}


@pytest.mark.parametrize("score", [0.3, -2.0, -math.inf])
@pytest.mark.parametrize("questions", [1, 7])
def test_a_constant_score_answers_one_in_five(score, questions):
    answer = torch.arange(questions) % 5
    choice = choice_accuracy(torch.full((questions, 5), score), answer, resamples=10)
    assert choice.accuracy == pytest.approx(20)
    assert choice.interval == pytest.approx((20, 20))


@given(SEEDS)
def test_permuting_sentences_and_questions_changes_nothing(seed):
    scores, answer = tied_case(seed)
    generator = torch.Generator().manual_seed(seed)
    rows, columns = (torch.randperm(size, generator=generator) for size in scores.shape)
    moved = choice_accuracy(scores[rows][:, columns], columns.argsort()[answer[rows]], resamples=0)
    assert moved.accuracy == pytest.approx(choice_accuracy(scores, answer, resamples=0).accuracy)


def test_the_interval_is_that_of_resampled_questions():
    scores, answer = torch.eye(5).repeat(40, 1), torch.arange(5).repeat(40)
    answer[:70] = (answer[:70] + 1) % 5
    low, high = choice_accuracy(scores, answer, resamples=4000).interval
    right = np.arange(200) >= 70
    means = 100 * right[np.random.default_rng(1).integers(200, size=(4000, 200))].mean(1)
    for end, share in ((low, 0.025), (high, 0.975)):
        least, most = np.quantile(means, (share - 0.011, share + 0.011))
        assert least <= end <= most


def test_the_seed_decides_the_interval_and_no_resamples_make_none():
    scores, answer = torch.rand(60, 5, generator=torch.Generator().manual_seed(0)), torch.zeros(60).long()
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
