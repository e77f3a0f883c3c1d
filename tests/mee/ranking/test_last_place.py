"""Clips that nothing can find share the last place."""

import torch

from mee.ranking.normalise import LastPlaced
from mee.ranking.rank import rank
from tests.mee.whole_scores import WholeScores, positives_of


def test_some_clips_are_held_below_all_others():
    matrix = torch.rand(4, 5, generator=torch.Generator().manual_seed(0))
    inner = WholeScores(matrix)
    inner.margin = 0.25
    lost = torch.tensor([False, True, False, False, True])
    scores = LastPlaced(inner, lost, -7.0)
    expected = torch.where(lost, -7.0, matrix)
    assert (scores.queries, scores.candidates, scores.margin, scores.device) == (4, 5, 0.25, matrix.device)
    assert scores.block(slice(1, 3)).equal(expected[1:3])
    query, candidate = torch.tensor([3, 0, 2]), torch.tensor([1, 0, 4])
    assert scores.pairs(query, candidate).equal(expected[query, candidate])


def test_they_tie_with_each_other_in_both_directions():
    matrix = torch.tensor([[0.1, 0.9, 0.8], [0.2, 0.5, 0.6], [0.3, 0.7, 0.9]])
    scores = LastPlaced(WholeScores(matrix), torch.tensor([False, True, True]), -2.0)
    ranking = rank(scores, positives_of(torch.eye(3).bool()))
    assert ranking.t2v.rank.tolist() == [1, 2.5, 2.5]
    assert ranking.v2t.rank.tolist() == [3, 2, 2]
