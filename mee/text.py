"""The text encoder: word pieces -> one vector a sentence.

    h0 = embedding(token) * sqrt(d) + PE(position)
    h <- h + Attention(LN(h));  h <- h + MLP(LN(h))       for each layer
    text = mean over the real tokens of LN(h)

A pre-norm transformer (Vaswani et al., arXiv 1706.03762; layer norm before each part), trained from scratch.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mee.config import TextConfig
from mee.pooling import pool
from mee.positions import sinusoidal_positions


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

    def _attend(self, h: Tensor, real: Tensor) -> Tensor:
        batch, length, width = h.shape
        parts = self.query_key_value(h).view(batch, length, 3, self.heads, width // self.heads)
        query, key, value = parts.permute(2, 0, 3, 1, 4)  # each (B, heads, L, width / heads)
        mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=real[:, None, None, :])
        attended: Tensor = self.attention_out(mixed.transpose(1, 2).reshape(batch, length, width))
        return attended

    def _dropout(self, h: Tensor) -> Tensor:
        return F.dropout(h, self.dropout, self.training)


class TextEncoder(nn.Module):
    """(B, L) token ids -> (B, width) text vectors."""

    positions: Tensor

    def __init__(self, config: TextConfig, vocabulary: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, config.width)
        nn.init.normal_(self.embedding.weight, std=config.width**-0.5)
        self.layers = nn.ModuleList(
            TransformerLayer(config.width, config.heads, config.dropout) for _ in range(config.layers)
        )
        self.norm = nn.LayerNorm(config.width)
        self.dropout = config.dropout
        positions = sinusoidal_positions(config.max_tokens, config.width)
        self.register_buffer("positions", positions, persistent=False)

    def forward(self, tokens: Tensor, lengths: Tensor) -> Tensor:
        """Encode padded sentences.

        Args:
            tokens: (B, L) int; any valid id beyond a sentence's length.
            lengths: (B,) int, at least 1 each.

        Returns:
            (B, width) text vectors; padding has no influence.
        """
        length, width = tokens.shape[1], self.embedding.embedding_dim
        real = torch.arange(length, device=tokens.device) < lengths[:, None]
        h = self.embedding(tokens) * math.sqrt(width) + self.positions[:length]
        h = F.dropout(h, self.dropout, self.training)
        for layer in self.layers:
            h = layer(h, real)
        return pool(self.norm(h), lengths, ["mean"])
