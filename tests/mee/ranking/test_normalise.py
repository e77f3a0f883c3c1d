"""Normalisation against plain loops over whole matrices, blurred blocks included."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mee.ranking.normalise import DualSoftmaxScores, LastPlaced, ShiftedScores, nnn, qb_norm
from mee.ranking.rank import rank_queries
from tests.mee.whole_scores import WholeScores, positives_of, whole_matrix

SEEDS = st.integers(0, 2**31)
MARGINS = st.sampled_from([0.0, 1e-5])


def matrices(seed):
    generator = torch.Generator().manual_seed(seed)
    bank, queries, clips = torch.randint(1, 8, (3,), generator=generator).tolist()
    return (torch.randint(-9, 9, (count, clips), generator=generator) / 10 for count in (bank, queries))


@given(seed=SEEDS, margin=MARGINS)
def test_qb_norm_is_the_dynamic_inverted_softmax(seed, margin):
    bank, matrix = matrices(seed)
    beta = 5.0
    scores = ShiftedScores(WholeScores(matrix, margin), qb_norm(WholeScores(bank, margin), beta))
    first = {row.tolist().index(max(row.tolist())) for row in bank}  # of equals, the one that comes first
    for row, given_row in zip(matrix.tolist(), whole_matrix(scores).tolist()):
        expected = list(row)
        if row.index(max(row)) in first:
            for j in range(len(row)):
                inverted = math.exp(beta * row[j]) / sum(math.exp(beta * each[j]) for each in bank.tolist())
                expected[j] = math.log(inverted) / beta
        assert given_row == pytest.approx(expected, abs=2e-5)


@given(seed=SEEDS, neighbours=st.integers(1, 9), alpha=st.floats(0, 2))
def test_nnn_takes_the_mean_of_the_nearest_of_the_bank(seed, neighbours, alpha):
    bank, matrix = matrices(seed)
    scores = ShiftedScores(WholeScores(matrix), nnn(WholeScores(bank), neighbours, alpha))
    for j in range(matrix.shape[1]):
        nearest = sorted(bank[:, j].tolist(), reverse=True)[:neighbours]
        expected = matrix[:, j] - alpha * sum(nearest) / len(nearest)
        torch.testing.assert_close(whole_matrix(scores)[:, j], expected, atol=1e-6, rtol=0)


@given(seed=SEEDS, margin=MARGINS)
def test_dsl_is_the_softmax_over_all_test_queries(seed, margin):
    _, matrix = matrices(seed)
    scores = DualSoftmaxScores(WholeScores(matrix, margin), 10.0)
    expected = matrix.double() * (10 * matrix.double()).softmax(0)
    torch.testing.assert_close(whole_matrix(scores).double(), expected, atol=10 * margin + 1e-6, rtol=1e-5)


@given(seed=SEEDS)
def test_blocks_stay_within_the_margin(seed):
    bank, matrix = matrices(seed)
    for make in (
        lambda scores: ShiftedScores(scores, qb_norm(WholeScores(bank, 1e-5), 5.0)),
        lambda scores: ShiftedScores(scores, nnn(WholeScores(bank, 1e-5), 3, 0.75)),
        lambda scores: DualSoftmaxScores(scores, 10.0),
    ):
        scores = make(WholeScores(matrix, 1e-5, seed))
        off = (scores.block(slice(0, scores.queries)) - whole_matrix(scores)).abs().max()
        assert off <= scores.margin


def test_clips_that_nothing_can_find_tie_in_both_directions():
    matrix = torch.tensor([[0.1, 0.9, 0.8], [0.2, 0.5, 0.6], [0.3, 0.7, 0.9]])
    scores = LastPlaced(WholeScores(matrix), torch.tensor([False, True, True]), -2.0)
    ranking = rank_queries(scores, positives_of(torch.eye(3).bool()))
    assert ranking.t2v.rank.tolist() == [1, 2.5, 2.5]
    assert ranking.v2t.rank.tolist() == [3, 2, 2]
