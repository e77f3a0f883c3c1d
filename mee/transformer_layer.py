"""One layer of a pre-norm transformer.

    h <- h + Attention(LN(h));  h <- h + MLP(LN(h))        Attention = softmax(Q K^T / sqrt(d_k)) V for each head

Vaswani et al. (arXiv 1706.03762), equation 1; layer norm before each part.
"""

from __future__ import annotations

import math

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
        attended: Tensor = self.attention_out(mixed.transpose(1, 2).flatten(2))
        return attended

    def _dropout(self, h: Tensor) -> Tensor:
        return F.dropout(h, self.dropout, self.training)
