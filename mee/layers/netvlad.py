"""NetVLAD pooling: how the rows of a stream lie around learnt clusters.

    a_t = softmax(BN(x_t C))                                     soft assignment to K clusters
    V_k = sum over t of a_tk x_t - (sum over t of a_tk) c_k      residuals
    v   = V_k / |V_k| for each k, laid end to end, then v / |v|

Arandjelovic et al. (arXiv 1511.07247), section 3, with the batch norm and the separate residual centres of Miech,
Laptev, Sivic (arXiv 1804.02516). Padding takes no part: neither in the assignment nor in the batch statistics.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mee.layers.normalise import JointBatchNorm


class NetVLAD(nn.Module):
    """(B, T, dim) streams -> (B, dim * clusters) of unit length, at d * clusters + k; zeros if missing."""

    def __init__(self, dim: int, clusters: int) -> None:
        super().__init__()
        scale = dim**-0.5
        self.assign = nn.Parameter(torch.randn(dim, clusters) * scale)  # C
        self.centres = nn.Parameter(torch.randn(dim, clusters) * scale)  # c
        self.norm = JointBatchNorm(clusters)

    def forward(self, streams: Tensor, lengths: Tensor) -> Tensor:
        """(B, T, dim), anything beyond a stream's length, and (B,) lengths -> (B, dim * clusters)."""
        real = torch.arange(streams.shape[1], device=lengths.device) < lengths[:, None]
        rows = streams[real]  # (N, dim): the real rows of all streams
        assigned = self.norm(rows @ self.assign).softmax(-1)
        assignment = assigned.new_zeros(*real.shape, assigned.shape[1]).index_put((real,), assigned)
        clean = streams.masked_fill(~real[..., None], 0)
        residual = torch.einsum("btd,btk->bdk", clean, assignment) - assignment.sum(1)[:, None] * self.centres
        size = residual.norm(dim=1)  # (B, clusters); both normalisations are one scaling of the residuals
        inner = size.clamp(min=1e-12)
        whole = (size / inner).norm(dim=1, keepdim=True).clamp(min=1e-12)
        scaled: Tensor = residual / (inner * whole)[:, None]
        return scaled.flatten(1)
