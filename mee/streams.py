"""Streams of several clips in memory: padded for the model, or end to end in one block.

    Streams   padded (B, T, D), lengths (B,)                              the model's input
    Ragged    values (N, ...), offsets (R + 1,): stream r is              batches are taken from it without a loop
              values[offsets[r] : offsets[r + 1]], a missing one empty

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

    padded: Tensor  # (B, T, D) float32, or (B, L) int64 tokens; arbitrary beyond a stream's length
    lengths: Tensor  # (B,) int64; 0 where the stream is missing
    pooled: bool = False  # whether its one row is the pooled stream

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
Sentences = Mapping[str, Streams]  # text tower -> its tokens of the same B sentences, see mee.text.base


def availability(clips: Clips, modalities: Sequence[str]) -> Tensor:
    """(B, M) bool in the order of `modalities`."""
    return torch.stack([clips[modality].available for modality in modalities], dim=1)


@dataclass(frozen=True)
class Ragged:
    """R streams; immutable."""

    values: Tensor
    offsets: Tensor  # int64
    pooled: bool = False  # see Streams

    @classmethod
    def of(cls, rows: Sequence[Tensor | None], like: Tensor, *, pooled: bool = False) -> Ragged:
        """Concatenate (T_r, ...) streams, None: missing; `like` (0, ...): their dtype and shape."""
        lengths = torch.tensor([0] + [0 if stream is None else len(stream) for stream in rows])
        return cls(torch.cat([like, *(s for s in rows if s is not None)]), lengths.cumsum(0), pooled)

    @classmethod
    def join(cls, parts: Sequence[Ragged | None], lengths: Sequence[int]) -> Ragged:
        """Several collections as one; None is `length` missing streams."""
        present = [part for part in parts if part is not None]
        none = torch.zeros(1, dtype=torch.int64)
        sizes = [none.expand(n) if part is None else part.offsets.diff() for part, n in zip(parts, lengths)]
        offsets = torch.cat([none, *sizes]).cumsum(0)
        return cls(torch.cat([part.values for part in present]), offsets, present[0].pooled)

    @property
    def present(self) -> Tensor:
        """(R,) bool, False where the stream is missing."""
        return self.offsets.diff() > 0

    def only(self, chosen: Tensor) -> Ragged:
        """Some of the streams, in the given order."""
        sizes = self.offsets.diff()[chosen]
        offsets = torch.cat([torch.zeros(1, dtype=torch.int64), sizes.cumsum(0)])
        within = torch.arange(int(offsets[-1])) - offsets[:-1].repeat_interleave(sizes)
        return Ragged(self.values[self.offsets[chosen].repeat_interleave(sizes) + within], offsets, self.pooled)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def take(self, chosen: Tensor) -> Streams:
        """A padded batch of some streams, (B,) numbers; floats in float32. Padding is the block's next rows."""
        first, lengths = self.offsets[chosen], self.offsets[chosen + 1] - self.offsets[chosen]
        longest = max(1, int(lengths.max())) if len(lengths) else 1
        if not len(self.values):
            padded = self.values.new_zeros(len(chosen), longest, *self.values.shape[1:])
        else:
            rows = (first[:, None] + torch.arange(longest)).clamp(max=len(self.values) - 1)
            padded = self.values[rows.flatten()].unflatten(0, rows.shape)
        return Streams(padded.float() if padded.is_floating_point() else padded, lengths, self.pooled)

    def all(self) -> Streams:
        """Every stream."""
        return self.take(torch.arange(len(self)))
