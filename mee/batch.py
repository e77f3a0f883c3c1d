"""What the model reads: padded streams of several clips, and which of them are there.

Sentences travel in the same form: a sentence is a stream of token ids (L,), or of token vectors (L, D).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Rows = NDArray[np.floating]  # one stream, (T, D)


@dataclass(frozen=True)
class Streams:
    """One modality of B clips."""

    padded: Tensor  # (B, T, D) float32, or (B, L) int64 tokens; anything beyond a stream's length
    lengths: Tensor  # (B,) int64; 0 where the stream is missing
    pooled: bool = False  # whether its one row is what the expert's pooling makes of the stream

    @classmethod
    def pad(cls, rows: Sequence[Rows | None], dim: int) -> Streams:
        """Put streams of different lengths into one tensor; None is a missing stream."""
        lengths = [0 if stream is None else len(stream) for stream in rows]
        padded = np.zeros((len(rows), max([1, *lengths]), dim), dtype=np.float32)
        for number, stream in enumerate(rows):
            if stream is not None:
                padded[number, : len(stream)] = stream
        return cls(torch.from_numpy(padded), torch.tensor(lengths, dtype=torch.int64))

    @property
    def available(self) -> Tensor:
        """(B,) bool."""
        return self.lengths > 0

    def to(self, device: torch.device) -> Streams:
        """The same on another device."""
        return replace(self, padded=self.padded.to(device), lengths=self.lengths.to(device))

    def where(self, kept: Tensor) -> Streams:
        """The same with the streams missing where `kept` (B,) is False."""
        return replace(self, lengths=self.lengths * kept)


Clips = Mapping[str, Streams]  # modality -> its streams, for the same B clips in the same order
Sentences = Mapping[str, Streams]  # text tower -> what it reads of the same B sentences, see mee.text_encoder


def availability(clips: Clips, modalities: Sequence[str]) -> Tensor:
    """(B, M) bool in the order of `modalities`."""
    return torch.stack([clips[modality].available for modality in modalities], dim=1)
