"""The first answers to each query: by score, equal ones in the candidates' order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mee.ranking.scores import Scores


@dataclass(frozen=True)
class Top:
    """The first k answers to N queries, on the CPU."""

    query: Tensor  # (N,) int64
    candidate: Tensor  # (N, k) int64
    score: Tensor  # (N, k) float32

    @classmethod
    def joined(cls, parts: Sequence[Top]) -> Top:
        """Parts one after another."""
        return cls(
            *(torch.cat([getattr(part, name) for part in parts]) for name in ("query", "candidate", "score"))
        )

    def of(self, queries: Tensor) -> Top:
        """Some of them, whose numbers are given in rising order as they are here."""
        rows = torch.searchsorted(self.query, queries)
        return Top(self.query[rows], self.candidate[rows], self.score[rows])


def top_of_block(scores: Scores, block: Tensor, rows: slice, count: int) -> Top:
    """The first answers to the queries of a block.

    Args:
        scores: whose block it is.
        block: (q, G), as `scores.block` made it.
        rows: which queries these are.
        count: k; all candidates where there are fewer.
    """
    count = min(count, block.shape[1])
    least = block.topk(count, dim=1).values[:, -1:]  # what is within twice the margin may belong in front
    row, candidate = (block >= least - 2 * scores.margin).nonzero(as_tuple=True)
    exact = scores.pairs(row + rows.start, candidate)
    order = exact.argsort(descending=True, stable=True)
    order = order[row[order].argsort(stable=True)]
    found = torch.bincount(row, minlength=len(block))
    first = (found.cumsum(0) - found)[:, None] + torch.arange(count, device=block.device)
    kept = order[first]
    query = torch.arange(rows.start, rows.stop)
    return Top(query, candidate[kept].cpu(), exact[kept].cpu())
