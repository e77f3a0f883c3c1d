"""Pre-norm transformer layers, their positions, and a pooling made of them.

    h <- h + Attention(LN(h));  h <- h + MLP(LN(h))          Attention = softmax(Q K^T / sqrt(d_k)) V for each head
    PE(p, 2i) = sin(p / 10000^(2i/d));  PE(p, 2i+1) = cos(p / 10000^(2i/d))
    pooled stream: h0 = W x_t + PE(t);  h <- layers;  mean over the real rows of LN(h); zeros where it is missing

Vaswani et al. (arXiv 1706.03762), equation 1 and section 3.5; layer norm before each part. The inner product of
two positions depends on their distance only, and every |PE(p)|^2 is d/2.
"""

from __future__ import annotations

import math
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class TransformerLayer(nn.Module):
    """Multi-head self-attention and a two-layer MLP, each behind a layer norm and a residual."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.attention_norm, self.mlp_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.query_key_value = nn.Linear(width, 3 * width)
        self.attention_out = nn.Linear(width, width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, h: Tensor, real: Tensor) -> Tensor:
        """(B, L, width) -> the same; `real` (B, L) is True at tokens, False at padding."""
        h = h + self._dropout(self._attend(self.attention_norm(h), real))
        return h + self._dropout(self.mlp(self.mlp_norm(h)))

    def attention(self, h: Tensor) -> Tensor:
        """(B, heads, L, L) shares of attention, of input without padding."""
        query, key, _ = self._parts(self.attention_norm(h))
        return (query @ key.transpose(2, 3) / math.sqrt(query.shape[-1])).softmax(-1)

    def _parts(self, h: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values, each (B, heads, L, width / heads)."""
        batch, length, width = h.shape
        parts = self.query_key_value(h).view(batch, length, 3, self.heads, width // self.heads)
        query, key, value = parts.permute(2, 0, 3, 1, 4)
        return query, key, value

    def _attend(self, h: Tensor, real: Tensor) -> Tensor:
        query, key, value = self._parts(h)
        mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=real[:, None, None, :])
        return cast(Tensor, self.attention_out(mixed.transpose(1, 2).flatten(2)))

    def _dropout(self, h: Tensor) -> Tensor:
        return F.dropout(h, self.dropout, self.training)


def sinusoidal_positions(length: int, dim: int) -> Tensor:
    """(length, dim) float32; dim must be even."""
    if dim % 2:
        raise ValueError(f"dim must be even, got {dim}")
    frequency = 10000.0 ** (-torch.arange(0, dim, 2, dtype=torch.float64) / dim)
    angle = torch.arange(length, dtype=torch.float64)[:, None] * frequency
    return torch.stack([angle.sin(), angle.cos()], dim=-1).flatten(1).float()


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
        return cast(Tensor, h.sum(1) / lengths.clamp(min=1)[:, None])
