"""Scores of a matrix that is held whole, to check those that are not."""

import torch

from mee.ranking.scores import Positives, Scores


class WholeScores(Scores):
    """A matrix; blocks are off by as much as the margin allows, up or down."""

    def __init__(self, matrix, margin=0.0, seed=0):
        self.matrix, self.margin = matrix, margin
        self.queries, self.candidates = matrix.shape
        self.device = matrix.device
        noise = torch.rand(matrix.shape, generator=torch.Generator().manual_seed(seed)) * 2 - 1
        self.blurred = self.matrix + 0.9 * margin * noise

    def block(self, rows):
        return self.blurred[rows].clone()

    def pairs(self, queries, candidates):
        return self.matrix[queries, candidates]


def whole_matrix(scores):
    """All pairs, (Q, G)."""
    query, candidate = torch.cartesian_prod(torch.arange(scores.queries), torch.arange(scores.candidates)).T
    return scores.pairs(query, candidate).view(scores.queries, scores.candidates)


def positives_of(right):
    """Of a (Q, G) bool matrix."""
    query, candidate = right.nonzero(as_tuple=True)
    return Positives(query, candidate, *right.shape)


def expected_ranks(scores, positive):
    """(Q,) float64 expected ranks of a (Q, G) matrix; `positive`: (Q, G) bool, at least one True in each row."""
    best = scores.masked_fill(~positive, -torch.inf).amax(1, keepdim=True)
    above = ((scores > best) & ~positive).sum(1)
    return 1 + above + ((scores == best) & ~positive).sum(1).double() / 2
