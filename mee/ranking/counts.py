"""How many wrong answers stand above and level with a threshold, counted block by block.

    above[i, k] = #{wrong j: S_ij > t_ik}      level[i, k] = #{wrong j: S_ij = t_ik}

for rows (each query has thresholds) or for columns (each candidate has). Whatever a block cannot tell apart from
the threshold, within its margin, is asked of `Scores.pairs`. Counts are whole numbers, so they may be added up in
any order: over blocks, and over processes.
"""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor

from mee.ranking.scores import Scores


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
        """Count in the rows of a block.

        Args:
            block: (q, G) scores, -inf where an answer is right.
            rows: which queries these are.
        """
        for k in range(self.thresholds.shape[1]):
            threshold = self.thresholds[rows, k, None]
            above, near = self._compare(block, threshold)
            self.above[rows, k] += torch.count_nonzero(above, dim=1)
            row, column = near.nonzero(as_tuple=True)
            self._settle(row + rows.start, k, row + rows.start, column)

    def by_column(self, block: Tensor, rows: slice) -> None:
        """Count in the columns of a block: thresholds belong to candidates. Arguments as for `by_row`."""
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
