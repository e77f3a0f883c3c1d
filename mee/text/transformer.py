"""The text encoder: word pieces -> one vector a sentence.

    h0 = embedding(token) * sqrt(d) + PE(position)
    h <- h + Attention(LN(h));  h <- h + MLP(LN(h))       for each layer
    text = mean over the real tokens of LN(h)             or another pooling

A pre-norm transformer (Vaswani et al., arXiv 1706.03762; layer norm before each part), trained from scratch.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mee.layers import Padding, Pool, TransformerLayer, sinusoidal_positions
from mee.text.base import Attention
from mee.text.config import TextConfig
from mee.text.tokenizer import CaptionTokenizer, WordPieceEncoder


class TransformerEncoder(WordPieceEncoder):
    """Our own transformer over word pieces learnt from the captions."""

    positions: Tensor

    def __init__(self, config: TextConfig, tokenizer: CaptionTokenizer) -> None:
        pool = Pool(config.pools, config.width)
        super().__init__(config, tokenizer)
        self.dim = pool.dim
        nn.init.normal_(self.embedding.weight, std=config.width**-0.5)
        size = (config.width, config.heads, config.dropout)
        self.layers = nn.ModuleList(TransformerLayer(*size) for _ in range(config.layers))
        self.norm = nn.LayerNorm(config.width)
        self.pool = pool
        positions = sinusoidal_positions(config.longest, config.width)
        self.register_buffer("positions", positions, persistent=False)

    def forward(self, rows: Tensor, lengths: Tensor) -> Tensor:
        h, padding = self._embed(rows, lengths)
        for layer in self.layers:
            h = layer(h, padding)
        return cast(Tensor, self.pool(padding.pad(self.norm(h)), lengths))

    @torch.no_grad()
    def attention(self, sentence: str) -> Attention:
        streams = self.pad([sentence]).to(self.embedding.weight.device)
        h, padding = self._embed(streams.padded, streams.lengths)
        maps = []
        for layer in cast(Iterable[TransformerLayer], self.layers):
            maps.append(layer.attention(h, padding)[0])
            h = layer(h, padding)
        return Attention(self.tokenizer.pieces(sentence), torch.stack(maps).cpu())

    def _embed(self, tokens: Tensor, lengths: Tensor) -> tuple[Tensor, Padding]:
        """(N, width) start of the residual stream, of the real tokens, and where they are."""
        padding = Padding.of(lengths, tokens.shape[1])
        h = self.embedding(padding.rows(tokens)) * math.sqrt(self.embedding.embedding_dim)
        return F.dropout(h + self.positions[padding.positions], self.dropout, self.training), padding
