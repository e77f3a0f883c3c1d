"""The video side of one expert: stream -> its part of the joint space.

    x = GEU(dropout(standardise(pool(stream))))

A pooling that learns gets its stream's rows standardised instead, before it.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mee.config import ExpertConfig
from mee.layers import GatedEmbeddingUnit, Pool, Standardise
from mee.streams import Ragged, Streams

BLOCK = 256  # streams pooled together


class VideoExpert(nn.Module):
    """Pooling, standardisation and gated unit of one modality."""

    def __init__(self, config: ExpertConfig, dropout: float) -> None:
        super().__init__()
        self.embed_dim, self.dropout, self.fits = config.embed_dim, dropout, config.standardise
        self.pool = Pool(config.pooling, config.input_dim)
        self.standardise = Standardise(config.input_dim if self.pool.learns else config.pooled_dim)
        self.unit = GatedEmbeddingUnit(config.pooled_dim, config.embed_dim)

    def forward(self, streams: Streams) -> Tensor:
        """B streams -> (B, embed_dim); a missing stream never meets the unit and stays zero."""
        present = streams.available
        pooled = self.pooled(streams)
        embedded: Tensor = self.unit(F.dropout(pooled, self.dropout, self.training))
        return embedded.new_zeros(len(present), self.embed_dim).index_put((present,), embedded)

    def pooled(self, streams: Streams) -> Tensor:
        """(B present streams, pooled_dim): what the gated unit gets."""
        present = streams.available
        rows, lengths = streams.padded[present], streams.lengths[present]
        if self.pool.learns:
            pooled: Tensor = self.pool(self.standardise(rows), lengths)
        else:
            pooled = self.standardise(rows[:, 0] if streams.pooled else self.pool(rows, lengths))
        return pooled

    @torch.no_grad()
    def read(self, streams: Ragged) -> Ragged:
        """The part that never changes in training, done once: one pooled row a stream, where pooling has nothing
        to learn."""
        if self.pool.learns:
            return streams
        parts = []
        for first in range(0, len(streams), BLOCK):
            place = streams.offsets[first : first + BLOCK + 1]
            rows = streams.values[place[0] : place[-1]].float()  # without padding: one stream may be very long
            parts.append(self.pool.unpadded(rows, place.diff()))
        present = streams.present
        pooled = torch.cat([torch.empty(0, self.pool.dim), *parts])[present]
        return Ragged(pooled, torch.cat([torch.zeros(1, dtype=torch.int64), present.cumsum(0)]), pooled=True)

    def fit(self, streams: Ragged) -> None:
        """Set mean and deviation from the training clips' streams, as `read` left them."""
        if self.fits:
            self.standardise.fit(streams.values.float())
