"""The gated embedding unit: one expert's map into the joint space.

    z1 = W1 z0 + b1
    z2 = z1 * sigmoid(BN(W2 z1 + b2))
    z  = z2 / |z2|

Miech, Laptev, Sivic (arXiv 1804.02516), equations 1-3. The middle line is context gating.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mee.layers.normalise import JointBatchNorm


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
