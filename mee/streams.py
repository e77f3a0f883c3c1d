"""Streams of several clips in memory: padded for the model, or end to end in one block.

    Streams   padded (B, T, D), lengths (B,)                              the model's input
    Ragged    values (N, ...), offsets (R + 1,): stream r is              batches are taken from it without a loop
              values[offsets[r] : offsets[r + 1]], a missing one empty

Sentences travel in the same form: a sentence is a stream of token ids (L,), or of token vectors (L, D).

What is gathered block by block is in memory up to IN_MEMORY, and beyond it in a temporary file. The file is
mapped; pages that were read are dropped from the map at once, else they would count as this process's memory. It
has no name, so nothing of it stays, however the process ends.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Rows = NDArray[np.floating]  # one stream, (T, D)
IN_MEMORY = 1 << 27  # bytes of the streams that are gathered into one collection
BLOCK = 256  # streams that are copied out together


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
    mapped: mmap.mmap | None = None  # the file that holds the values

    @classmethod
    def of(cls, rows: Sequence[Tensor | None], like: Tensor, *, pooled: bool = False) -> Ragged:
        """Concatenate (T_r, ...) streams, None: missing; `like` (0, ...): their dtype and shape."""
        lengths = torch.tensor([0] + [0 if stream is None else len(stream) for stream in rows])
        return cls(torch.cat([like, *(s for s in rows if s is not None)]), lengths.cumsum(0), pooled)

    @classmethod
    def gather(cls, blocks: Iterable[Ragged], folder: Path | None = None) -> Ragged:
        """At least one block of streams, all of one dtype and shape, as one collection.

        `folder`: for the temporary file of a large one; None: the system's.

        Raises:
            OSError: the file cannot be written.
        """
        sizes, total = [torch.zeros(1, dtype=torch.int64)], 0
        held: list[Tensor] = []
        file: IO[bytes] | None = None
        with ExitStack() as stack:
            for block in blocks:
                sizes.append(block.offsets.diff())
                total += block.values.nbytes
                if len(block.values) or not held:
                    held = [*(values for values in held if len(values)), block.values]  # empty ones have any dtype
                if file is None and total > IN_MEMORY:
                    file = stack.enter_context(TemporaryFile(prefix=".tmp", dir=folder))
                if file is not None:
                    file.writelines(values.numpy().data for values in held)
                    held = [held[-1][:0]]
            offsets = torch.cat(sizes).cumsum(0)
            if file is None:
                return cls(torch.cat(held), offsets, block.pooled)
            file.flush()
            mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)  # torch warns of what cannot be written
        values = torch.frombuffer(mapped, dtype=held[0].dtype).view(-1, *held[0].shape[1:])
        return cls(values, offsets, block.pooled, mapped)

    @property
    def present(self) -> Tensor:
        """(R,) bool, False where the stream is missing."""
        return self.offsets.diff() > 0

    def only(self, chosen: Tensor) -> Ragged:
        """Some of the streams, in the given order."""
        sizes = self.offsets.diff()[chosen]
        offsets = torch.cat([torch.zeros(1, dtype=torch.int64), sizes.cumsum(0)])
        within = torch.arange(int(offsets[-1])) - offsets[:-1].repeat_interleave(sizes)
        values = self._rows(self.offsets[chosen].repeat_interleave(sizes) + within)
        return Ragged(values, offsets, self.pooled)

    def blocks(self, chosen: Tensor) -> Iterator[Ragged]:
        """Some of the streams, in the given order, a block at a time."""
        return map(self.only, chosen.split(BLOCK))

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
            padded = self._rows(rows.flatten()).unflatten(0, rows.shape)
        return Streams(padded.float() if padded.is_floating_point() else padded, lengths, self.pooled)

    def all(self) -> Streams:
        """Every stream."""
        return self.take(torch.arange(len(self)))

    def _rows(self, numbers: Tensor) -> Tensor:
        rows = self.values[numbers]
        if self.mapped is not None:
            self.mapped.madvise(mmap.MADV_DONTNEED)
        return rows
