"""Standardisation of pooled streams, and batch norm whose batch is that of all processes together.

    x' = (x - mean) / deviation                                    by column, from the training clips with the
    stream y  = (x - mean) / sqrt(variance + eps) * weight + bias         by batch in training, running statistics
    otherwise

The first is saved in the checkpoint. The second is Ioffe and Szegedy (arXiv 1502.03167), algorithm 1, over the
rows of every process (mee.distributed). Only rows that exist are passed in, so missing ones do not enter the
statistics.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mee.distributed import joint_sum, processes


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


class JointBatchNorm(nn.BatchNorm1d):
    """(N, C) -> (N, C), N of any size: a single row has no variance, so the running statistics normalise it."""

    def forward(self, input: Tensor) -> Tensor:
        if not self.training:
            return super().forward(input)
        if processes() > 1:
            return self._joint(input)
        if len(input) < 2:
            return self._running(input)
        return super().forward(input)

    def _running(self, rows: Tensor) -> Tensor:
        return F.batch_norm(rows, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps)

    def _joint(self, rows: Tensor) -> Tensor:
        """Two rounds, mean first: one round with a sum of squares would lose digits."""
        wide = rows if rows.dtype == torch.float64 else rows.float()
        first = joint_sum(torch.cat([wide.sum(0), wide.new_tensor([len(wide)])]))
        count = first[-1].detach()
        if count < 2:  # the same in every process: none waits for a second round
            return self._running(rows)
        mean = first[:-1] / count
        variance = joint_sum((wide - mean).square().sum(0)) / count
        self._follow(mean.detach(), variance.detach() * count / (count - 1))
        normed = (wide - mean) * torch.rsqrt(variance + self.eps)
        return (normed * self.weight + self.bias).to(rows.dtype)

    @torch.no_grad()
    def _follow(self, mean: Tensor, variance: Tensor) -> None:
        """Move the running statistics, as torch's own batch norm does."""
        for running, now in ((self.running_mean, mean), (self.running_var, variance)):
            assert running is not None
            assert self.momentum is not None
            running.lerp_(now.to(running), self.momentum)
        if self.num_batches_tracked is not None:
            self.num_batches_tracked += 1
