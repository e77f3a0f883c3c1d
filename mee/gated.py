"""The gated embedding unit: one expert's map into the joint space.

    z1 = W1 z0 + b1
    z2 = z1 * sigmoid(BN(W2 z1 + b2))
    z  = z2 / |z2|

Miech, Laptev, Sivic (arXiv 1804.02516), equations 1-3. The middle line is context gating.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F


class GatedEmbeddingUnit(nn.Module):
    """(N, input_dim) -> (N, output_dim), every row of unit length.

    Only rows that exist may be passed in: absent ones take no part in the batch statistics.
    """

    def __init__(self, input_dim: int, output_dim: int) -> None:
        super().__init__()
        self.linear = nn.Linear(input_dim, output_dim)
        self.gate = nn.Linear(output_dim, output_dim)
        self.norm = nn.BatchNorm1d(output_dim)

    def forward(self, z: Tensor) -> Tensor:
        z = self.linear(z)
        return F.normalize(z * self._normed(self.gate(z)).sigmoid(), dim=-1)

    def _normed(self, gate: Tensor) -> Tensor:
        """Batch norm; a lone row has no variance, so it is normed by the running statistics instead."""
        if self.training and gate.shape[0] < 2:
            norm = self.norm
            return F.batch_norm(gate, norm.running_mean, norm.running_var, norm.weight, norm.bias, eps=norm.eps)
        normed: Tensor = self.norm(gate)
        return normed
