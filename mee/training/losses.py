"""What training minimises, on the scores S of B captions against the clips they belong to.

    max-margin:  1/n * sum over i != j of  [m + S_ij - S_ii]+  +  [m + S_ji - S_ii]+
    InfoNCE:     -1/2B * sum over i of  log softmax_j(S_ij / T)[i] + log softmax_j(S_ji / T)[i]

Max-margin: Miech, Laptev, Sivic (arXiv 1804.02516), section 3, as the mean over the n terms of negatives; their
own code takes the mean over all 2 B^2 terms, of which the 2 B on the diagonal are the margin itself:

    m / B + (B - 1) / B * (mean over the terms off the diagonal)

`over_all` asks for that: its value and its gradients are the published ones. InfoNCE: van den Oord et al. (arXiv
1807.03748), equation 4, both directions, T learned within [0.01, 1]. Pairs (i, j) that truly match, as far as any
caption says, are no negatives of each other (mee.training.data).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from mee.training.config import TrainConfig

MIN_TEMPERATURE, MAX_TEMPERATURE = 0.01, 1.0


class MaxMarginLoss(nn.Module):
    """Bidirectional ranking loss over all negatives of a batch."""

    def __init__(self, margin: float, *, over_all: bool = False) -> None:
        super().__init__()
        self.margin, self.over_all = margin, over_all

    def figures(self) -> dict[str, float]:
        """What it has learnt: nothing."""
        return {}

    def forward(self, scores: Tensor, negative: Tensor) -> Tensor:
        """(B, B) scores, pairs on the diagonal; (B, B) bool, True where (i, j) is a negative. -> scalar."""
        right = scores.diagonal()
        t2v = (self.margin + scores - right[:, None]).relu()
        v2t = (self.margin + scores - right[None, :]).relu()
        total = (t2v + v2t).masked_fill(~negative, 0).sum()
        if self.over_all:
            return (total + 2 * len(scores) * self.margin) / (2 * len(scores) ** 2)
        return total / (2 * negative.sum()).clamp(min=1)


class InfoNCELoss(nn.Module):
    """Symmetric cross-entropy of the right partner among the negatives, with a learned temperature."""

    def __init__(self, temperature: float) -> None:
        super().__init__()
        self.log_temperature = nn.Parameter(torch.tensor(math.log(temperature)))
        self._clamp()

    @property
    def temperature(self) -> Tensor:
        """T, in [0.01, 1]."""
        return self.log_temperature.exp()

    def figures(self) -> dict[str, float]:
        """What it has learnt: the temperature."""
        self._clamp()  # a step may have left the bounds
        return {"temperature": float(self.temperature.detach())}

    @torch.no_grad()
    def _clamp(self) -> None:
        """Keep the parameter itself in bounds, so that its gradient never vanishes there."""
        self.log_temperature.clamp_(math.log(MIN_TEMPERATURE), math.log(MAX_TEMPERATURE))

    def forward(self, scores: Tensor, negative: Tensor) -> Tensor:
        """(B, B) scores, pairs on the diagonal; (B, B) bool, True where (i, j) is a negative. -> scalar."""
        self._clamp()
        pair = torch.eye(len(scores), dtype=torch.bool, device=scores.device)
        logits = (scores / self.temperature).masked_fill(~(negative | pair), -torch.inf)
        t2v, v2t = logits.log_softmax(1).diagonal(), logits.log_softmax(0).diagonal()
        return -(t2v.mean() + v2t.mean()) / 2


def make_loss(config: TrainConfig) -> MaxMarginLoss | InfoNCELoss:
    """The loss that the settings name."""
    if config.loss == "max-margin":
        return MaxMarginLoss(config.margin, over_all=config.margin_mean == "all")
    return InfoNCELoss(config.temperature)
