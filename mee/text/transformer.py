"""Text encoders that are trained from scratch: word pieces -> one vector a sentence.

Transformer, pre-norm (Vaswani et al., arXiv 1706.03762; layer norm before each part):

    h0 = embedding(token) * sqrt(d) + PE(position)
    h <- h + Attention(LN(h));  h <- h + MLP(LN(h))       for each layer
    text = mean over the real tokens of LN(h)             or another pooling

Recurrent, a baseline: a bidirectional GRU with soft attention over its states:

    z_t = sigmoid(Wz x_t + Uz s_{t-1} + bz)       how much of the state is kept
    r_t = sigmoid(Wr x_t + Ur s_{t-1} + br)       how much of it is read
    n_t = tanh(W x_t + b + r_t * (U s_{t-1} + c))
    s_t = (1 - z_t) * n_t + z_t * s_{t-1}

    h_t = [s_t forwards, s_t backwards]
    e_t = u' tanh(V h_t + d);  a = softmax of e over the real tokens;  text = sum over t of a_t h_t

GRU: Cho et al. (arXiv 1406.1078, equations 5-8), with torch's place for r_t. Soft attention: Bahdanau, Cho, Bengio
(arXiv 1409.0473, section 3), with a learnt u as the query, not the state of a decoder.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

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


class RecurrentEncoder(WordPieceEncoder):
    """Our own GRU over word pieces learnt from the captions; its attention is its pooling."""

    def __init__(self, config: TextConfig, tokenizer: CaptionTokenizer) -> None:
        super().__init__(config, tokenizer)
        self.states = nn.GRU(
            config.width,
            config.width // 2,  # each direction gives half of h_t
            config.layers,
            batch_first=True,
            bidirectional=True,
            dropout=config.dropout if config.layers > 1 else 0.0,  # torch warns of one after the last layer
        )
        self.key = nn.Linear(config.width, config.width)  # V, d
        self.query = nn.Linear(config.width, 1, bias=False)  # u

    def forward(self, rows: Tensor, lengths: Tensor) -> Tensor:
        h, weights = self._run(rows, lengths)
        return torch.einsum("bl,bld->bd", weights, h)

    @torch.no_grad()
    def attention(self, sentence: str) -> Attention:
        streams = self.pad([sentence]).to(self.embedding.weight.device)
        _, weights = self._run(streams.padded, streams.lengths)
        return Attention(self.tokenizer.pieces(sentence), weights[None, None].cpu())

    def _run(self, rows: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """(B, L, width) states and (B, L) weights; both zero at padding."""
        x = F.dropout(self.embedding(rows), self.dropout, self.training)
        packed = pack_padded_sequence(x, lengths.cpu(), batch_first=True, enforce_sorted=False)
        h, _ = pad_packed_sequence(self.states(packed)[0], batch_first=True, total_length=rows.shape[1])
        real = torch.arange(rows.shape[1], device=rows.device) < lengths[:, None]
        energy = self.query(self.key(h).tanh())[..., 0].masked_fill(~real, -torch.inf)
        return h, energy.softmax(1)
