"""How many wrong answers stand above and level with a right one, counted block by block, and ranks made of counts.

    above[i, k] = #{wrong j: S_ij > t_ik}      level[i, k] = #{wrong j: S_ij = t_ik}

for rows (each query has thresholds t, the scores of its right answers) or for columns (each candidate has). What a
block cannot tell apart from the threshold, within its margin, is decided by `Scores.pairs`.

Captions of one video may compete as one, by their maximum; they stand side by side:

    above[v] = #{other videos u: max over captions c of u of S_cv > t_v}, level[v] likewise

Ranks are expected under ties with wrong answers, and stand behind the better right ones:

    nDCG@10(q) = sum of 1 / log2(1 + rank) over right answers with rank <= 10, by the same with all in front

(Järvelin and Kekäläinen, 2002, with relevance 0 or 1).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from mee.ranking.scores import Positives, Scores

GAIN_DEPTH = 10


@final
class Counts:
    """Counts against (N, K) thresholds, padded with +inf: nothing is above or level with those."""

    def __init__(self, thresholds: Tensor, scores: Scores) -> None:
        self.thresholds, self.scores = thresholds, scores
        self.above = torch.zeros(thresholds.shape, dtype=torch.int64, device=thresholds.device)
        self.level = torch.zeros_like(self.above)

    @property
    def competitors(self) -> int:
        """How many stand against a candidate: all queries."""
        return self.scores.queries

    def by_row(self, block: Tensor, rows: slice) -> None:
        """Count in the rows of a block of queries: (q, G) scores, -inf where an answer is right."""
        for k in range(self.thresholds.shape[1]):
            threshold = self.thresholds[rows, k, None]
            above, near = self._compare(block, threshold)
            self.above[rows, k] += torch.count_nonzero(above, dim=1)
            row, column = near.nonzero(as_tuple=True)
            self._settle(row + rows.start, k, row + rows.start, column)

    def by_column(self, block: Tensor, rows: slice) -> None:
        """Count in the columns of such a block: thresholds belong to candidates."""
        for k in range(self.thresholds.shape[1]):
            above, near = self._compare(block, self.thresholds[:, k])
            self.above[:, k] += torch.count_nonzero(above, dim=0)
            row, column = near.nonzero(as_tuple=True)
            self._settle(column, k, row + rows.start, column)

    def _compare(self, block: Tensor, threshold: Tensor) -> tuple[Tensor, Tensor]:
        """What is above for certain, and what is too near to tell."""
        margin = self.scores.margin
        above = block > threshold + margin
        return above, (block >= threshold - margin) ^ above

    def _settle(self, owner: Tensor, k: int, queries: Tensor, candidates: Tensor) -> None:
        """Decide pairs one by one, and add them to the counts of the thresholds' owners."""
        exact = self.scores.pairs(queries, candidates)
        threshold = self.thresholds[owner, k]
        self.above[:, k].index_add_(0, owner, (exact > threshold).long())
        self.level[:, k].index_add_(0, owner, (exact == threshold).long())


def group_bounds(positives: Positives) -> Tensor:
    """(N + 1,) int64, on the CPU: where each of N groups of queries begins, and the end."""
    right: list[list[int]] = [[] for _ in range(positives.queries)]
    for query, candidate in zip(positives.query.tolist(), positives.candidate.tolist()):
        right[query].append(candidate)
    if not all(right):
        raise ValueError("a query without a right answer belongs to no video")
    keys = [tuple(sorted(candidates)) for candidates in right]
    bounds = [query for query in range(len(keys)) if query == 0 or keys[query] != keys[query - 1]]
    if len({keys[query] for query in bounds}) != len(bounds):
        raise ValueError("queries with the same right answers must stand side by side")
    return torch.tensor([*bounds, len(keys)])


@final
class GroupCounts:
    """Counts against the (G,) thresholds of all candidates; +inf where a candidate is not asked."""

    def __init__(self, thresholds: Tensor, scores: Scores, bounds: Tensor) -> None:
        self.thresholds, self.scores, self.bounds = thresholds, scores, bounds
        self.above = torch.zeros(len(thresholds), 1, dtype=torch.int64, device=thresholds.device)
        self.level = torch.zeros_like(self.above)

    @property
    def competitors(self) -> int:
        """How many stand against a candidate: all groups."""
        return len(self.bounds) - 1

    def by_column(self, block: Tensor, rows: slice) -> None:
        """Count the groups of such a block, of which none is divided."""
        starts = self.bounds[(self.bounds >= rows.start) & (self.bounds <= rows.stop)].to(block.device)
        lengths = starts.diff()
        best = torch.segment_reduce(block, "max", lengths=lengths, axis=0)  # (groups, G)
        above = best > self.thresholds + self.scores.margin
        near = (best >= self.thresholds - self.scores.margin) ^ above
        self.above += torch.count_nonzero(above, dim=0)[:, None]
        group, column = near.nonzero(as_tuple=True)
        if len(group):
            exact = self._best_of(starts[group], lengths[group], column)
            self.above[:, 0].index_add_(0, column, (exact > self.thresholds[column]).long())
            self.level[:, 0].index_add_(0, column, (exact == self.thresholds[column]).long())

    def _best_of(self, starts: Tensor, lengths: Tensor, columns: Tensor) -> Tensor:
        """The best pair of each group with its column."""
        owner = torch.repeat_interleave(torch.arange(len(starts), device=starts.device), lengths)
        place = torch.arange(len(owner), device=starts.device) - (lengths.cumsum(0) - lengths)[owner]
        exact = self.scores.pairs(starts[owner] + place, columns[owner])
        return torch.segment_reduce(exact, "max", lengths=lengths)


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
