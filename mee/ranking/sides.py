"""One direction of a ranking: the right answers of each query as thresholds, and ranks made of counts.

    nDCG@10(q) = sum of 1 / log2(1 + rank) over right answers with rank <= 10, by the same with all in front

the rank of the k-th best right answer being expected under ties with wrong ones, and behind the k - 1 better right
ones (Järvelin and Kekäläinen, 2002, with relevance 0 or 1).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from mee.ranking.positives import Positives

GAIN_DEPTH = 10


@dataclass(frozen=True)
class Ranks:
    """Of N queries of one direction."""

    query: Tensor  # (N,) int64: whose each rank is
    rank: Tensor  # (N,) float64, expected; the first is 1
    gain: Tensor  # (N,) float64: nDCG@10 of each
    candidates: int  # how many answers compete


@dataclass(frozen=True)
class Side:
    """N queries, of which those with right answers are asked, and the scores of these answers."""

    thresholds: Tensor  # (N, K) float32, falling in each row; +inf where a query has fewer than K right answers
    right: Tensor  # (N,) int64: how many right answers each has
    candidates: int

    @classmethod
    def of(cls, positives: Positives, scores: Tensor) -> Side:
        """Sort the (P,) scores of the right pairs by query."""
        right = torch.bincount(positives.query, minlength=positives.queries)
        order = scores.argsort(descending=True, stable=True)
        order = order[positives.query[order].argsort(stable=True)]
        query = positives.query[order]
        first = right.cumsum(0) - right
        place = torch.arange(len(query), device=query.device) - first[query]
        thresholds = scores.new_full((positives.queries, int(right.max())), torch.inf)
        thresholds[query, place] = scores[order]
        return cls(thresholds, right, positives.candidates)

    @property
    def asked(self) -> Tensor:
        """The queries that have a right answer, ascending."""
        return self.right.nonzero().squeeze(1)

    def best(self, above: Tensor, level: Tensor) -> Ranks:
        """Ranks of the best right answer, and the gain of all; (N, K) counts."""
        place = torch.arange(above.shape[1], device=above.device)
        rank = 1 + above + level / 2 + place
        there = place < self.right[:, None]
        ideal = torch.where(there & (place < GAIN_DEPTH), 1 / torch.log2(2.0 + place.double()), 0).sum(1)
        gain = torch.where(there, _gain(rank), 0).sum(1)
        asked = self.asked
        return Ranks(asked, rank[asked, 0].double(), gain[asked] / ideal[asked], self.candidates)

    def closest(self, above: Tensor, level: Tensor, competitors: int) -> Ranks:
        """Ranks of the best right answer alone; (N, 1) counts."""
        asked = self.asked
        rank = (1 + above + level / 2)[asked, 0].double()
        return Ranks(asked, rank, _gain(rank), competitors)

    def each(self, above: Tensor, level: Tensor) -> Ranks:
        """Ranks of every right answer in turn, the others being wrong; (N, K) counts."""
        query, place = (torch.arange(above.shape[1], device=above.device) < self.right[:, None]).nonzero(
            as_tuple=True
        )
        own, this = self.thresholds[query], self.thresholds[query, place, None]
        there = torch.arange(above.shape[1], device=above.device) < self.right[query, None]
        above = above[query, place] + ((own > this) & there).sum(1)
        level = level[query, place] + ((own == this) & there).sum(1) - 1  # not itself
        rank = (1 + above + level / 2).double()
        return Ranks(query, rank, _gain(rank), self.candidates)


def _gain(rank: Tensor) -> Tensor:
    return torch.where(rank <= GAIN_DEPTH, 1 / torch.log2(1 + rank.double()), 0)
