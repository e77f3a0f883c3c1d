"""The gated embedding unit of an expert, what it sees, and batch norm over the rows of all processes.

    Standardise          x' = (x - mean) / deviation      by column, of the training clips that have the stream
    Kernel               k_i = exp(-|D' x' - c_i|^2)      for each of C centres c_i: likeness to training clips
    Names                n = N' sqrt(p) / sum of sqrt(p)  of the values p of named columns; N: vectors of the names
    JointBatchNorm       y  = (x - mean) / sqrt(variance + eps) * weight + bias
                         of the batch in training, otherwise of the running statistics
    GatedEmbeddingUnit   z1 = W1 z0 + b1;  z2 = z1 * sigmoid(BN(W2 z1 + b2));  z = z2 / |z2|

The first three are saved in the checkpoint. D is (dim, K), the leading directions of the training clips, scaled.
Names is a convex combination of the vectors of class names, as in Norouzi et al. (arXiv 1312.5650), over all
classes; square roots keep the likeliest class from drowning the others. JointBatchNorm is Ioffe and Szegedy (arXiv
1502.03167), algorithm 1, over the rows of every process (mee.distributed). The last, one expert's map into the
joint space, is Miech, Laptev, Sivic (arXiv 1804.02516), equations 1-3; its middle part is context gating. Only
rows that exist are passed in, so missing ones do not enter the statistics.
"""

from __future__ import annotations

from collections.abc import Iterable

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

    def fit(self, blocks: Iterable[Tensor]) -> None:
        """Take mean and deviation from blocks of (N, D) rows; a column that never changes keeps deviation 1.

        No row at all leaves the identity. Blocks are united by Chan, Golub, LeVeque (Updating formulae and a
        pairwise algorithm for computing sample variances, 1979), in double precision.
        """
        count, mean, square, largest = 0, *self.mean.new_zeros(3, len(self.mean), dtype=torch.float64)
        for block in blocks:
            if not len(block):
                continue
            rows = block.to(mean)
            own = rows.mean(0)
            step, count = (own - mean) * len(rows) / (count + len(rows)), count + len(rows)
            square += (rows - own).square().sum(0) + step * (own - mean) * (count - len(rows))
            mean += step
            largest = torch.maximum(largest, rows.abs().amax(0))
        if count:
            deviation = (square / count).sqrt()
            constant = deviation <= 1e-6 * largest.clamp(min=1e-6)
            self.mean.copy_(mean)
            self.deviation.copy_(deviation.masked_fill(constant, 1))


class Kernel(nn.Module):
    """(N, dim) -> (N, centres), all in [0, 1]; the tables are set by the closed form."""

    directions: Tensor
    centres: Tensor

    def __init__(self, dim: int, components: int, centres: int) -> None:
        super().__init__()
        self.register_buffer("directions", torch.zeros(dim, components, dtype=torch.float16))
        self.register_buffer("centres", torch.zeros(centres, components, dtype=torch.float16))

    def forward(self, z: Tensor) -> Tensor:
        own, centres = z @ self.directions.to(z), self.centres.to(z)
        square = own.square().sum(1)[:, None] + centres.square().sum(1) - 2 * own @ centres.T
        return (-square.clamp(min=0)).exp()


class Names(nn.Module):
    """(N, columns) values, such as probabilities -> (N, dim) in the space of the names' vectors."""

    vectors: Tensor

    def __init__(self, columns: int, dim: int) -> None:
        super().__init__()
        self.register_buffer("vectors", torch.zeros(columns, dim, dtype=torch.float16))

    def forward(self, values: Tensor) -> Tensor:
        root = values.clamp(min=0).sqrt()
        return (root / root.sum(1, keepdim=True).clamp(min=1e-12)) @ self.vectors.to(values)


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


class GatedEmbeddingUnit(nn.Module):
    """(N, input_dim) -> (N, output_dim), every row of unit length.

    Only rows that exist may be passed in: missing ones must not enter the batch statistics.
    """

    def __init__(self, input_dim: int, output_dim: int) -> None:
        super().__init__()
        self.linear = nn.Linear(input_dim, output_dim)
        self.gate = nn.Linear(output_dim, output_dim)
        self.norm = JointBatchNorm(output_dim)

    def forward(self, z: Tensor) -> Tensor:
        z = self.linear(z)
        return F.normalize(z * self.norm(self.gate(z)).sigmoid(), dim=-1)

    @torch.no_grad()
    def open_gate(self) -> None:
        """Start every gate at one half, for any input: the unit is then its linear map with unit length.

        The scale of the norm starts at 0 and learns from there; with W2 = 0 instead, the norm would scale its
        first small step up to unit variance.
        """
        self.norm.weight.zero_()
        self.norm.bias.zero_()

    @torch.no_grad()
    def start_as_identity(self) -> None:
        """Compute z0 / |z0| until training changes it; input and output must be of one size."""
        nn.init.eye_(self.linear.weight)
        self.linear.bias.zero_()
        self.open_gate()
