"""Ranks and what is made of them.

    rank(q) = 1 + #{j not in P(q): S_qj > s+} + 1/2 #{j not in P(q): S_qj = s+},    s+ = max of S_qj over P(q)

the expected rank under ties, P(q) being the right answers: a constant matrix then never earns a perfect R@1.

    R@K = 100 * mean[rank <= K]     Geom = (R@1 * R@5 * R@10)^(1/3)     MRR = 100 * mean[1 / rank]

MedR and MeanR are the median and the mean rank.
"""

from __future__ import annotations

import torch
from torch import Tensor

KS = (1, 5, 10, 50)


class RankCounter:
    """Expected ranks from blocks of candidates, so that no (queries, candidates) matrix has to exist.

    Two rounds over the same blocks: `see` all of them, then `count` all of them, then read `ranks`.
    """

    def __init__(self, queries: int) -> None:
        self.best = torch.full((queries,), -torch.inf, dtype=torch.float64)
        self._above = torch.zeros(queries, dtype=torch.int64)
        self._tied = torch.zeros(queries, dtype=torch.int64)

    def see(self, scores: Tensor, positive: Tensor) -> None:
        """Note the best right answer. scores: (Q, C) block; positive: (Q, C) bool.

        Raises:
            ValueError: a score is NaN.
        """
        if scores.isnan().any():
            raise ValueError(f"{int(scores.isnan().sum())} scores are NaN, and NaN has no rank")
        right = scores.double().masked_fill(~positive, -torch.inf).amax(1)
        self.best = torch.maximum(self.best, right.cpu())

    def count(self, scores: Tensor, positive: Tensor) -> None:
        """Count the wrong answers above and level with the best right one. Shapes as for `see`."""
        best = self.best.to(scores.device)[:, None]
        wrong, scores = ~positive, scores.double()
        self._above += ((scores > best) & wrong).sum(1).cpu()
        self._tied += ((scores == best) & wrong).sum(1).cpu()

    @property
    def ranks(self) -> Tensor:
        """(Q,) float64 expected ranks, the first is 1."""
        return 1 + self._above + self._tied / 2


def expected_ranks(scores: Tensor, positive: Tensor) -> Tensor:
    """Ranks of a score matrix that is at hand whole.

    Args:
        scores: (Q, G), no NaN.
        positive: (Q, G) bool, at least one True in each row.

    Returns:
        (Q,) float64 expected ranks.
    """
    if not positive.any(1).all():
        raise ValueError(f"{int((~positive.any(1)).sum())} queries have no right answer among the candidates")
    counter = RankCounter(len(scores))
    counter.see(scores, positive)
    counter.count(scores, positive)
    return counter.ranks


def retrieval_metrics(ranks: Tensor) -> dict[str, float]:
    """R@1, R@5, R@10, R@50, MedR, MeanR, Geom and MRR of (Q,) ranks; shares in percent."""
    if len(ranks) == 0:
        raise ValueError("no query was ranked")
    ranks = ranks.double()
    found = {f"R@{k}": 100 * (ranks <= k).double().mean().item() for k in KS}
    return {
        **found,
        "MedR": ranks.quantile(0.5).item(),
        "MeanR": ranks.mean().item(),
        "Geom": (found["R@1"] * found["R@5"] * found["R@10"]) ** (1 / 3),
        "MRR": 100 * (1 / ranks).mean().item(),
    }
