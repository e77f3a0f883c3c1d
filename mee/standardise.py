"""Bringing a pooled stream to mean 0 and deviation 1, column by column.

    x' = (x - mean) / deviation

The numbers come from the training clips that have the stream, and travel with the checkpoint.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Standardise(nn.Module):
    """(N, D) -> (N, D); the identity until `fit` has been called."""

    mean: Tensor
    deviation: Tensor

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(dim))
        self.register_buffer("deviation", torch.ones(dim))

    def forward(self, x: Tensor) -> Tensor:
        return (x - self.mean) / self.deviation

    def fit(self, x: Tensor) -> None:
        """Take mean and deviation from (N, D) rows; a column that never changes keeps deviation 1.

        No row at all leaves the identity.
        """
        if len(x) == 0:
            return
        deviation = x.std(0, unbiased=False)
        constant = deviation <= 1e-6 * x.abs().amax(0).clamp(min=1e-6)
        self.mean.copy_(x.mean(0))
        self.deviation.copy_(torch.where(constant, torch.ones_like(deviation), deviation))
