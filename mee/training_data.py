"""The training set in memory, and its shuffled batches.

A batch is B captions, each with one clip of its video. Stream dropout hides streams from a batch, so that every
availability pattern is met in training; it always leaves a clip one stream.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mee.batch import Clips, Rows, Streams, availability
from mee.data import FeatureSource
from mee.pairs import Pairs


@dataclass(frozen=True)
class Batch:
    """B captions and their clips."""

    captions: list[str]
    clips: Clips
    negative: Tensor  # (B, B) bool: caption i is not true of clip j, as far as any caption says


class TrainingData:
    """All streams of the captioned clips, read once; captions whose clips have no stream at all are left out."""

    def __init__(self, source: FeatureSource, pairs: Pairs, modalities: Sequence[str]) -> None:
        clip_ids = pairs.gallery
        self.dims = {modality: source.dims[modality] for modality in modalities}
        self.streams: Mapping[str, list[Rows | None]] = {
            modality: source.read(modality, clip_ids) for modality in modalities
        }
        row_of = {clip_id: row for row, clip_id in enumerate(clip_ids)}
        has_stream = [any(rows[row] is not None for rows in self.streams.values()) for row in range(len(clip_ids))]
        usable = [
            [row for row in map(row_of.__getitem__, clip_ids) if has_stream[row]] for clip_ids in pairs.clip_ids
        ]
        kept = [number for number, rows in enumerate(usable) if rows]
        self.rows = [usable[number] for number in kept]
        self.captions = [pairs.captions[number] for number in kept]
        self.video = _numbers([pairs.videos[number] for number in kept])
        self._sentence = _numbers([" ".join(caption.lower().split()) for caption in self.captions])
        owners: list[set[int]] = [set() for _ in range(int(self._sentence.max()) + 1 if kept else 0)]
        for sentence, video in zip(self._sentence.tolist(), self.video.tolist()):
            owners[sentence].add(video)
        self._owners = [torch.tensor(sorted(videos)) for videos in owners]

    def __len__(self) -> int:
        return len(self.captions)

    def all_clips(self, batch_size: int = 256) -> Iterator[Clips]:
        """Every clip once."""
        rows = sorted({row for rows in self.rows for row in rows})
        for start in range(0, len(rows), batch_size):
            yield self._clips(rows[start : start + batch_size])

    def batches(self, batch_size: int, stream_dropout: float, generator: torch.Generator) -> Iterator[Batch]:
        """One epoch: every caption once, shuffled; a lone last caption, without negatives, is left out."""
        order = torch.randperm(len(self), generator=generator)
        for chosen in torch.split(order, batch_size):
            if len(chosen) < 2:
                continue
            numbers = chosen.tolist()
            draw = torch.rand(len(numbers), generator=generator).tolist()
            rows = [self.rows[number][int(u * len(self.rows[number]))] for number, u in zip(numbers, draw)]
            clips = hide_streams(self._clips(rows), stream_dropout, generator)
            captions = [self.captions[number] for number in numbers]
            yield Batch(captions, clips, self.negatives(chosen))

    def negatives(self, chosen: Tensor) -> Tensor:
        """Which pairs of these captions and their clips are negatives.

        Args:
            chosen: (B,) int64 numbers of captions.

        Returns:
            (B, B) bool. Caption i and clip j are no negatives of each other if the video of clip j has the
            sentence of caption i among its captions: the same video always, another one if it was said of it too.
        """
        video = self.video[chosen]
        owners = [self._owners[number] for number in self._sentence[chosen].tolist()]
        return ~torch.stack([torch.isin(video, owner) for owner in owners])

    def _clips(self, rows: Sequence[int]) -> Clips:
        return {
            modality: Streams.pad([streams[row] for row in rows], self.dims[modality])
            for modality, streams in self.streams.items()
        }


def hide_streams(clips: Clips, chance: float, generator: torch.Generator) -> Clips:
    """Make each stream missing with a chance; where a clip would lose all, it loses none."""
    modalities = list(clips)
    available = availability(clips, modalities)
    kept = available & (torch.rand(available.shape, generator=generator) >= chance)
    kept = torch.where(kept.any(1, keepdim=True), kept, available)
    return {
        modality: Streams(streams.padded, streams.lengths * kept[:, m])
        for m, (modality, streams) in enumerate(clips.items())
    }


def _numbers(names: Sequence[str]) -> Tensor:
    """One number a distinct name."""
    number_of = {name: number for number, name in enumerate(dict.fromkeys(names))}
    return torch.tensor([number_of[name] for name in names], dtype=torch.int64)
