"""Ranks and what is made of them.

    rank(q) = 1 + #{j not in P(q): S_qj > s+} + 1/2 #{j not in P(q): S_qj = s+},    s+ = max of S_qj over P(q)

the expected rank under ties, P(q) being the right answers: a constant matrix then never earns a perfect R@1.

    R@K = 100 * mean[rank <= K]     Geom = (R@1 * R@5 * R@10)^(1/3)     MRR = 100 * mean[1 / rank]

MedR and MeanR are the median and the mean rank. `mee.ranking` makes ranks of scores that no memory holds.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

KS = (1, 5, 10, 50)


def expected_ranks(scores: Tensor, positive: Tensor) -> Tensor:
    """Ranks of a score matrix that is at hand whole.

    Args:
        scores: (Q, G), no NaN.
        positive: (Q, G) bool, at least one True in each row.

    Returns:
        (Q,) float64 expected ranks.

    Raises:
        ValueError: a score is NaN, or a query has no right answer.
    """
    if not positive.any(1).all():
        raise ValueError(f"{int((~positive.any(1)).sum())} queries have no right answer among the candidates")
    if scores.isnan().any():
        raise ValueError(f"{int(scores.isnan().sum())} scores are NaN, and NaN has no rank")
    best = scores.masked_fill(~positive, -torch.inf).amax(1, keepdim=True)
    above = ((scores > best) & ~positive).sum(1)
    level = ((scores == best) & ~positive).sum(1)
    return 1 + above + level.double() / 2


def retrieval_metrics(ranks: Tensor, gains: Tensor | None = None) -> dict[str, float]:
    """R@1, R@5, R@10, R@50, MedR, MeanR, Geom and MRR of (Q,) ranks, nDCG@10 of (Q,) gains; shares in percent."""
    if len(ranks) == 0:
        raise ValueError("no query was ranked")
    ranks = ranks.double()
    found = {f"R@{k}": 100 * (ranks <= k).double().mean().item() for k in KS}
    return {
        **found,
        "MedR": float(np.median(ranks.cpu().numpy())),
        "MeanR": ranks.mean().item(),
        "Geom": float(np.cbrt(found["R@1"] * found["R@5"] * found["R@10"])),
        "MRR": 100 * (1 / ranks).mean().item(),
        **({} if gains is None else {"nDCG@10": 100 * gains.double().mean().item()}),
    }
