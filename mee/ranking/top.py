"""The first answers to each query: by score, equal ones in the candidates' order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mee.ranking.best import Best, first_of
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
    margin = torch.full((len(block),), scores.margin, dtype=block.dtype, device=block.device)
    best = Best(len(block), count, margin)
    best.update(block, 0)
    row, candidate, _ = best.candidates()
    exact = scores.pairs(row + rows.start, candidate)
    order = candidate.argsort(stable=True)
    for key, descending in ((exact, True), (row, False)):
        order = order[key[order].argsort(descending=descending, stable=True)]
    kept = order[first_of(row[order], len(block), count)]
    query = torch.arange(rows.start, rows.stop)
    return Top(query, candidate[kept].cpu(), exact[kept].cpu())
