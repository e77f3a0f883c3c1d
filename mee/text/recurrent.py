"""The recurrent text encoder, a baseline: a bidirectional GRU with soft attention over its states.

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

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from mee.text.base import Attention
from mee.text.config import TextConfig
from mee.text.tokenizer import CaptionTokenizer, WordPieceEncoder


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
