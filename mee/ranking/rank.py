"""Expected ranks, both ways, from scores in blocks.

    rank(q) = 1 + #{j not in P(q): S_qj > s+} + 1/2 #{j not in P(q): S_qj = s+},    s+ = max of S_qj over P(q)

P(q): the right answers of q. Text to video, every caption is a query. Video to text, every candidate that has
captions is a query, under one of three conventions:

closest   its rank is that of its closest own caption among all captions that are not its own
video     captions of one video compete as one, by their maximum: the rank of the own video among all videos
each      every own caption in turn is the only right one, and its other own captions are wrong

    nDCG@10(q) = sum of 1 / log2(1 + rank) over right answers with rank <= 10, by the same with all in front

(Järvelin and Kekäläinen, 2002, with relevance 0 or 1); the k-th best right answer is behind k - 1 others.

One pass over the blocks serves both directions. The thresholds s+ are known before it from `Scores.pairs`. Wrong
answers above and tied with each are counted, in rows for queries and in columns for candidates: a block decides
what is further from a threshold than its margin, and `Scores.pairs` the rest.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal, final

import numpy as np
import torch
from torch import Tensor

from mee.errors import InputError
from mee.ranking.scores import Positives, Scores, query_parts
from mee.ranking.top import Top, top_of_block

GAIN_DEPTH = 10
Convention = Literal["closest", "video", "each"]
CONVENTIONS: dict[Convention, str] = {
    "closest": "closest own caption among all captions",
    "video": "best caption of each video, videos ranked",
    "each": "every own caption in turn the only right one",
}


@dataclass(frozen=True)
class Ranks:
    """Ranks of N queries of one direction."""

    query: Tensor  # (N,) int64: the number of each query
    rank: Tensor  # (N,) float64, expected; the first is 1
    gain: Tensor  # (N,) float64: nDCG@10 of each
    candidates: int  # how many answers compete


@dataclass(frozen=True)
class Ranking:
    """Both directions."""

    t2v: Ranks
    v2t: Ranks
    top: Top | None  # first answers of every query that has a right one


@torch.no_grad()
def rank_queries(scores: Scores, positives: Positives, *, v2t: Convention = "closest", top: int = 0) -> Ranking:
    """Rank every query that has a right answer.

    Args:
        scores: of Q queries and G candidates.
        positives: at least one; queries without any are wrong answers of the other direction all the same.
        v2t: the convention of the other direction. "video" needs captions of the same video side by side.
        top: how many answers to keep of each query.

    Raises:
        InputError: a score is NaN.
        ValueError: there is nothing to rank.
    """
    if not len(positives):
        raise ValueError("no query has a right answer among the candidates")
    positives = positives.to(scores.device).by_query()
    right = scores.pairs(positives.query, positives.candidate)
    _refuse_nan(right)
    queries, candidates = Targets.of(positives, right), Targets.of(positives.flipped, right)
    bounds = group_bounds(positives) if v2t == "video" else None
    rows = Counts(queries.thresholds, scores)
    columns: Counts | GroupCounts
    if bounds is not None:
        columns = GroupCounts(candidates.thresholds[:, 0], scores, bounds)
    else:
        columns = Counts(candidates.thresholds if v2t == "each" else candidates.thresholds[:, :1], scores)
    tops = []
    for part in _parts(scores, bounds):
        block = scores.block(part)
        if block.amax().isnan():  # much cheaper than isnan
            _refuse_nan(block)
        if top:
            tops.append(top_of_block(scores, block, part, top))
        ends = torch.searchsorted(positives.query, positives.query.new_tensor([part.start, part.stop]))
        own = slice(*ends.tolist())
        block[positives.query[own] - part.start, positives.candidate[own]] = -torch.inf
        rows.by_row(block, part)
        columns.by_column(block, part)
    forth = queries.best(rows.above, rows.tied)
    if v2t == "each":
        back = candidates.each(columns.above, columns.tied)
    else:
        back = candidates.closest(columns.above, columns.tied, columns.competitors)
    return Ranking(forth, back, Top.joined(tops).of(forth.query.cpu()) if top else None)


def _refuse_nan(scores: Tensor) -> None:
    if count := int(scores.isnan().sum()):
        raise InputError(f"{count:,} scores are NaN, and NaN has no rank; the model or its streams are spoilt")


def _parts(scores: Scores, bounds: Tensor | None) -> Iterator[slice]:
    """The queries, a block's worth at a time; with bounds, no group of them is divided."""
    parts = query_parts(scores.queries, scores.candidates)
    if bounds is None:
        return parts
    cuts = bounds[torch.searchsorted(bounds, torch.tensor([0, *(part.stop for part in parts)]))].unique()
    return (slice(start, stop) for start, stop in pairwise(cuts.tolist()))


@dataclass(frozen=True)
class Targets:
    """The right answers of N queries, and their scores: the thresholds that wrong answers are counted against."""

    thresholds: Tensor  # (N, K) float32, falling in each row; +inf where a query has fewer than K right answers
    right: Tensor  # (N,) int64: how many right answers each has
    candidates: int

    @classmethod
    def of(cls, positives: Positives, scores: Tensor) -> Targets:
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
    def ranked(self) -> Tensor:
        """The queries that have a right answer, ascending."""
        return self.right.nonzero().squeeze(1)

    def best(self, above: Tensor, tied: Tensor) -> Ranks:
        """Ranks of the best right answer, and the gain of all; (N, K) counts."""
        place = torch.arange(above.shape[1], device=above.device)
        rank = 1 + above + tied / 2 + place
        present = place < self.right[:, None]
        ideal = torch.where(present & (place < GAIN_DEPTH), 1 / torch.log2(2.0 + place.double()), 0).sum(1)
        gain = torch.where(present, _gain(rank), 0).sum(1)
        ranked = self.ranked
        return Ranks(ranked, rank[ranked, 0].double(), gain[ranked] / ideal[ranked], self.candidates)

    def closest(self, above: Tensor, tied: Tensor, competitors: int) -> Ranks:
        """Ranks of the best right answer alone; (N, 1) counts."""
        ranked = self.ranked
        rank = (1 + above + tied / 2)[ranked, 0].double()
        return Ranks(ranked, rank, _gain(rank), competitors)

    def each(self, above: Tensor, tied: Tensor) -> Ranks:
        """Ranks of every right answer in turn, the others being wrong; (N, K) counts."""
        places = torch.arange(above.shape[1], device=above.device)
        query, place = (places < self.right[:, None]).nonzero(as_tuple=True)
        own, this = self.thresholds[query], self.thresholds[query, place, None]
        present = places < self.right[query, None]
        above = above[query, place] + ((own > this) & present).sum(1)
        tied = tied[query, place] + ((own == this) & present).sum(1) - 1  # not itself
        rank = (1 + above + tied / 2).double()
        return Ranks(query, rank, _gain(rank), self.candidates)


def _gain(rank: Tensor) -> Tensor:
    return torch.where(rank <= GAIN_DEPTH, 1 / torch.log2(1 + rank.double()), 0)


@final
class Counts:
    """Wrong answers above and tied with (N, K) thresholds; none with +inf."""

    def __init__(self, thresholds: Tensor, scores: Scores) -> None:
        self.thresholds, self.scores = thresholds, scores
        self.above = torch.zeros(thresholds.shape, dtype=torch.int64, device=thresholds.device)
        self.tied = torch.zeros_like(self.above)
        self.competitors = scores.queries  # of a candidate

    def by_row(self, block: Tensor, rows: slice) -> None:
        """Count in the rows of a block of queries: (q, G) scores, -inf where an answer is right."""
        for k in range(self.thresholds.shape[1]):
            above, (row, column) = _compare(block, self.thresholds[rows, k, None], self.scores.margin, 1)
            self.above[rows, k] += above
            self._decide(row + rows.start, k, row + rows.start, column)

    def by_column(self, block: Tensor, rows: slice) -> None:
        """Count in the columns of such a block: the thresholds are candidates'."""
        for k in range(self.thresholds.shape[1]):
            above, (row, column) = _compare(block, self.thresholds[:, k], self.scores.margin, 0)
            self.above[:, k] += above
            self._decide(column, k, row + rows.start, column)

    def _decide(self, owner: Tensor, k: int, queries: Tensor, candidates: Tensor) -> None:
        """Decide pairs one by one, and add them to the counts of the thresholds' owners."""
        exact = self.scores.pairs(queries, candidates)
        threshold = self.thresholds[owner, k]
        self.above[:, k].index_add_(0, owner, (exact > threshold).long())
        self.tied[:, k].index_add_(0, owner, (exact == threshold).long())


@final
class GroupCounts:
    """Groups of queries, by their maximum, above and tied with the (G,) thresholds of all candidates."""

    def __init__(self, thresholds: Tensor, scores: Scores, bounds: Tensor) -> None:
        self.thresholds, self.scores, self.bounds = thresholds, scores, bounds
        self.above = torch.zeros(len(thresholds), 1, dtype=torch.int64, device=thresholds.device)
        self.tied = torch.zeros_like(self.above)
        self.competitors = len(bounds) - 1

    def by_column(self, block: Tensor, rows: slice) -> None:
        """Count the groups of a block that divides none."""
        starts = self.bounds[(self.bounds >= rows.start) & (self.bounds <= rows.stop)].to(block.device)
        lengths = starts.diff()
        best = torch.segment_reduce(block, "max", lengths=lengths, axis=0)  # (groups, G)
        above, (group, column) = _compare(best, self.thresholds, self.scores.margin, 0)
        self.above[:, 0] += above
        if len(group):
            exact = self._best_of(starts[group], lengths[group], column)
            self.above[:, 0].index_add_(0, column, (exact > self.thresholds[column]).long())
            self.tied[:, 0].index_add_(0, column, (exact == self.thresholds[column]).long())

    def _best_of(self, starts: Tensor, lengths: Tensor, columns: Tensor) -> Tensor:
        owner = torch.repeat_interleave(torch.arange(len(starts), device=starts.device), lengths)
        place = torch.arange(len(owner), device=starts.device) - (lengths.cumsum(0) - lengths)[owner]
        exact = self.scores.pairs(starts[owner] + place, columns[owner])
        return torch.segment_reduce(exact, "max", lengths=lengths)


def _compare(block: Tensor, threshold: Tensor, margin: float, dim: int) -> tuple[Tensor, tuple[Tensor, Tensor]]:
    """How many scores are certainly above, counted along `dim`; rows and columns of those too near to tell."""
    high, low = threshold + margin, threshold - margin
    if block.device.type != "cpu":
        above = block > high
        row, column = ((block >= low) ^ above).nonzero(as_tuple=True)
        return torch.count_nonzero(above, dim=dim), (row, column)
    values = block.numpy()  # which compares, counts and finds several times faster than torch
    is_above = values > high.numpy()
    near = np.flatnonzero((values >= low.numpy()) ^ is_above)
    if dim:
        counts = np.bitwise_count(np.packbits(is_above, axis=1)).sum(1, dtype=np.int64)
    else:  # in bytes, at most 255 rows at a time
        starts = np.arange(0, len(is_above), 255)
        counts = np.add.reduceat(is_above.view(np.uint8), starts, axis=0, dtype=np.uint8).sum(0, dtype=np.int64)
    row, column = (torch.from_numpy(each) for each in np.divmod(near, values.shape[1]))
    return torch.from_numpy(counts), (row, column)


def group_bounds(positives: Positives) -> Tensor:
    """(N + 1,) int64, on the CPU: where each group of queries with the same right answers begins, and the end."""
    right: list[list[int]] = [[] for _ in range(positives.queries)]
    for query, candidate in zip(positives.query.tolist(), positives.candidate.tolist()):
        right[query].append(candidate)
    if not all(right):
        raise ValueError("a query without a right answer belongs to no video")
    keys = [tuple(sorted(candidates)) for candidates in right]
    bounds = [query for query in range(len(keys)) if query == 0 or keys[query] != keys[query - 1]]
    if len({keys[query] for query in bounds}) != len(bounds):
        raise ValueError("queries with the same right answers must be side by side")
    return torch.tensor([*bounds, len(keys)])
