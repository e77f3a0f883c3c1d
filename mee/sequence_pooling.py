"""Pooling by a small transformer, which sees the order of a stream's rows.

    h0 = W x_t + PE(t);   h <- pre-norm transformer layers;   mean over the real rows of LN(h)

Vaswani et al. (arXiv 1706.03762), as in mee.text; missing streams give zeros.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mee.positions import sinusoidal_positions
from mee.transformer_layer import TransformerLayer

HEADS = 4


class SequencePooling(nn.Module):
    """(B, T, dim) streams -> (B, width); padding has no influence."""

    def __init__(self, dim: int, width: int, layers: int, dropout: float = 0.1) -> None:
        super().__init__()
        self.enter = nn.Linear(dim, width)
        self.layers = nn.ModuleList(TransformerLayer(width, HEADS, dropout) for _ in range(layers))
        self.norm = nn.LayerNorm(width)

    def forward(self, streams: Tensor, lengths: Tensor) -> Tensor:
        """(B, T, dim), anything beyond a stream's length, and (B,) lengths -> (B, width)."""
        length = streams.shape[1]
        real = torch.arange(length, device=lengths.device) < lengths[:, None]
        clean = streams.masked_fill(~real[..., None], 0)
        h = self.enter(clean)
        h = h + sinusoidal_positions(length, h.shape[-1]).to(h)
        attended = real | (lengths == 0)[:, None]  # a missing stream attends to its zeros: all masked would be NaN
        for layer in self.layers:
            h = layer(h, attended)
        h = self.norm(h).masked_fill(~real[..., None], 0)
        pooled: Tensor = h.sum(1) / lengths.clamp(min=1)[:, None]
        return pooled
