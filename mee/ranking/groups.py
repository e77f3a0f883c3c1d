"""Captions of one video as one: they compete by their maximum.

    above[v] = #{other videos u: max over captions c of u of S_cv > t_v}, level[v] likewise

A group is the captions that have the same right answers; they stand side by side.
"""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor

from mee.ranking.positives import Positives
from mee.ranking.scores import Scores


def group_bounds(positives: Positives) -> Tensor:
    """(N + 1,) int64, on the CPU: where each of N groups of queries begins, and the end.

    Raises:
        ValueError: queries with the same right answers do not stand side by side, or one has none.
    """
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
        """Count the groups of a block, of which none is divided.

        Args:
            block: (q, G) scores, -inf where an answer is right.
            rows: which queries these are.
        """
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
