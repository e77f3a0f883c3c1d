"""Pre-norm transformer layers, their positions, and a pooling made of them.

    h <- h + Attention(LN(h));  h <- h + MLP(LN(h))          Attention = softmax(Q K^T / sqrt(d_k)) V for each head
    PE(p, 2i) = sin(p / 10000^(2i/d));  PE(p, 2i+1) = cos(p / 10000^(2i/d))
    pooled stream: h0 = W x_t + PE(t);  h <- layers;  mean over the real rows of LN(h); zeros where it is missing

Vaswani et al. (arXiv 1706.03762), equation 1 and section 3.5; layer norm before each part. The inner product of
two positions depends on their distance only, and every |PE(p)|^2 is d/2. Only attention sees padding: all else is
computed for the real rows alone, which of sentences are less than half.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Self, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F


@dataclass(frozen=True)
class Padding:
    """Where the N rows of B streams, end to end, are in a padded batch."""

    real: Tensor  # (B, L) bool
    places: Tensor | None  # (N,) in the flattened batch; None: all are real
    positions: Tensor  # (N,) in their streams

    @classmethod
    def of(cls, lengths: Tensor, longest: int) -> Self:
        """From (B,) lengths, 0: missing, and L."""
        position = torch.arange(longest, device=lengths.device).expand(len(lengths), -1)
        real = position < lengths[:, None]
        if real.all():
            return cls(real, None, position.flatten())
        return cls(real, real.flatten().nonzero().squeeze(1), position[real])

    def rows(self, padded: Tensor) -> Tensor:
        """(B, L, ...) -> (N, ...)."""
        rows = padded.flatten(0, 1)
        return rows if self.places is None else rows.index_select(0, self.places)

    def pad(self, rows: Tensor) -> Tensor:
        """(N, D) -> (B, L, D), zeros at padding."""
        if self.places is None:
            return rows.view(*self.real.shape, rows.shape[1])
        flat = rows.new_zeros(self.real.numel(), rows.shape[1])
        return cast(Tensor, flat.index_copy(0, self.places, rows).unflatten(0, self.real.shape))


class TransformerLayer(nn.Module):
    """Multi-head self-attention and a two-layer MLP, each behind a layer norm and a residual."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.attention_norm, self.mlp_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.query_key_value = nn.Linear(width, 3 * width)
        self.attention_out = nn.Linear(width, width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, h: Tensor, padding: Padding) -> Tensor:
        """(N, width) rows of B sequences -> the same."""
        h = h + self._dropout(self._attend(self.attention_norm(h), padding))
        return h + self._dropout(self.mlp(self.mlp_norm(h)))

    def attention(self, h: Tensor, padding: Padding) -> Tensor:
        """(B, heads, L, L) shares of attention, of sequences of one length."""
        query, key, _ = self._parts(self.attention_norm(h), padding)
        return (query @ key.transpose(2, 3) / math.sqrt(query.shape[-1])).softmax(-1)

    def _parts(self, h: Tensor, padding: Padding) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values, each (B, heads, L, width / heads)."""
        padded = padding.pad(self.query_key_value(h))
        batch, length, width = padded.shape  # `unflatten` would export one length for all sentences
        parts = padded.view(batch, length, 3, self.heads, width // (3 * self.heads))
        query, key, value = parts.permute(2, 0, 3, 1, 4)
        return query, key, value

    def _attend(self, h: Tensor, padding: Padding) -> Tensor:
        query, key, value = self._parts(h, padding)
        seen = padding.real | ~padding.real.any(1, keepdim=True)  # of no row: all masked would be NaN
        mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=seen[:, None, None, :])
        return cast(Tensor, self.attention_out(padding.rows(mixed.transpose(1, 2).flatten(2))))

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
        padding = Padding.of(lengths, streams.shape[1])
        h = self.enter(padding.rows(streams))
        h = h + sinusoidal_positions(streams.shape[1], h.shape[-1]).to(h)[padding.positions]
        for layer in self.layers:
            h = layer(h, padding)
        return padding.pad(self.norm(h)).sum(1) / lengths.clamp(min=1)[:, None]
