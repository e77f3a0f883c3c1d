"""The training set in memory, its negatives, and its shuffled batches.

A batch is B captions, each with one clip of its video. What never changes in training is computed before it:
streams are pooled where pooling has no parameters, captions are tokenized (mee.text.base), and utterances become
vectors. Stream dropout hides streams from a batch, so that every availability pattern occurs in training; a clip
always keeps one. Experts without a text side learn nothing, and count as missing.

An epoch shows every caption of every video once, or `captions_per_video` of each, drawn at random. Image captions
join as clips that only have their appearance: min(images, image_rate * videos) fresh random images an epoch, one
caption each, shuffled in (Miech, Laptev, Sivic, arXiv 1804.02516, section 4).

Caption i and clip j are no negatives of each other if the video of clip j has the sentence of caption i among its
captions: the same video always, another one if it has the same sentence.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor

from mee.config import NO_TEXT, ExpertConfig
from mee.data import FeatureSource, Pairs, match_captions
from mee.distributed import processes, share
from mee.encode import in_vectors, stream_blocks
from mee.errors import InputError
from mee.model import MEE
from mee.streams import Clips, Ragged, Sentences
from mee.training.config import TrainConfig

if TYPE_CHECKING:
    import pandas as pd


def draw_captions(video: Tensor, image: Tensor, config: TrainConfig, generator: torch.Generator) -> Tensor:
    """Draw one epoch: (n,) int64 numbers of captions, shuffled; n is the same in every epoch.

    video: (N,) int64, which video or image each caption belongs to; image: (N,) bool, True at those of images.
    """
    numbers = torch.randperm(len(video), generator=generator)
    of_image = image[numbers]
    moving, still = numbers[~of_image], numbers[of_image]
    if config.captions_per_video:
        moving = moving[_place(video[moving]) < config.captions_per_video]
    if not len(still):
        return moving
    still = still[_place(video[still]) < 1]  # one random caption of each image
    some = torch.randperm(len(still), generator=generator)  # images with more captions came earlier
    still = still[some[: int(config.image_rate * len(video[~image].unique()) + 0.5)]]
    both = torch.cat([moving, still])
    return both[torch.randperm(len(both), generator=generator)]


def _place(owner: Tensor) -> Tensor:
    """(n,) -> (n,): how many of the same owner come before each."""
    order = owner.argsort(stable=True)
    _, counts = owner[order].unique_consecutive(return_counts=True)
    first = (counts.cumsum(0) - counts).repeat_interleave(counts)
    return torch.empty_like(owner).scatter_(0, order, torch.arange(len(owner)) - first)


class Negatives:
    """Which pairs of a batch's captions and clips are negatives."""

    def __init__(self, captions: Sequence[str], video: Tensor) -> None:
        """Index N captions, whose case and white space make no difference; video: (N,) int64, of each."""
        plain = [" ".join(caption.lower().split()) for caption in captions]
        number_of = {sentence: number for number, sentence in enumerate(dict.fromkeys(plain))}
        self._sentence = torch.tensor([number_of[sentence] for sentence in plain], dtype=torch.int64)
        self._video, self._videos = video, int(video.max()) + 1 if len(video) else 1
        self._pairs = (self._sentence * self._videos + video).unique()  # sorted (sentence, video) pairs

    def __call__(self, chosen: Tensor) -> Tensor:
        """(B,) int64 numbers of captions -> (B, B) bool, True where caption i is not true of the clip of j."""
        pairs = self._sentence[chosen][:, None] * self._videos + self._video[chosen]
        place = torch.searchsorted(self._pairs, pairs).clamp(max=len(self._pairs) - 1)
        return cast(Tensor, self._pairs[place] != pairs)


IMAGE_MODALITY = "appearance"


@dataclass(frozen=True)
class Batch:
    """B captions and their clips; with several processes, this one's share of them."""

    numbers: Tensor  # (B,) int64: which captions of the training set, of all processes
    sentences: Sentences  # this process's share
    clips: Clips  # the same
    negative: Tensor  # (B, B) bool: caption i is not true of clip j, as far as any caption says


class TrainingData:
    """Captions and their clips; captions whose clips have no stream at all are left out."""

    def __init__(
        self,
        source: FeatureSource,
        pairs: Pairs,
        experts: Sequence[ExpertConfig],
        images: tuple[FeatureSource, Pairs] | None = None,
        folder: Path | None = None,
    ) -> None:
        """Load all streams of the captioned clips, pooled where pooling has nothing to learn.

        `images`: image captions, and where their appearance is; `folder`: for temporary files (`Ragged.gather`).
        """
        self.modalities, self.folder = tuple(expert.name for expert in experts), folder
        parts = [(source, pairs), *([images] if images else [])]
        self.said: dict[str, dict[str, int]] = {each.name: {} for each in experts if each.words}
        self.streams = {
            each.name: Ragged.gather(_stream_blocks(parts, each, self.said.get(each.name)), folder)
            for each in experts
        }
        there = torch.stack([ragged.present for ragged in self.streams.values()], dim=1)
        self.available = there & torch.tensor([expert.text != NO_TEXT for expert in experts])  # (clips, M)
        has_stream = self.available.any(1).tolist()
        self.captions: list[str] = []
        rows: list[list[int]] = []  # of each caption, its clips
        videos: list[tuple[int, str]] = []
        before = 0
        for number, (_, some) in enumerate(parts):
            row_of = {clip_id: before + row for row, clip_id in enumerate(some.gallery)}
            before += len(row_of)
            for caption, video, clip_ids in zip(some.captions, some.videos, some.clip_ids):
                if usable := [row_of[clip_id] for clip_id in clip_ids if has_stream[row_of[clip_id]]]:
                    self.captions.append(caption)
                    rows.append(usable)
                    videos.append((number, video))
        self.image = torch.tensor([number > 0 for number, _ in videos], dtype=torch.bool)  # a caption of an image
        number_of = {video: number for number, video in enumerate(dict.fromkeys(videos))}
        self.video = torch.tensor([number_of[video] for video in videos], dtype=torch.int64)
        if (count := len(self.video[~self.image].unique())) < 2:
            raise InputError(
                "training needs captions of at least two videos, the others are the negatives: of the "
                f"{len(pairs)} captions here, those of {count} have a clip with {' or '.join(self.modalities)}"
            )
        self.negatives = Negatives(self.captions, self.video)
        self._clip_count = torch.tensor([len(own) for own in rows])
        self._first_clip = self._clip_count.cumsum(0) - self._clip_count
        self._clip = torch.tensor([row for own in rows for row in own], dtype=torch.int64)
        self.text: dict[str, Ragged] = {}
        self._sentence = torch.empty(0, dtype=torch.int64)

    def __len__(self) -> int:
        return len(self.captions)

    def prepare(self, model: MEE) -> None:
        """Compute once what training never changes: the streams' standardisation, and the captions' tokens."""
        clips = self._clip.unique()
        for expert in model.config.experts:
            if not expert.words:
                model.expert(expert.name).fit(self.streams[expert.name].blocks(clips))
            elif expert.name in self.said:
                streams, said = self.streams[expert.name], list(self.said.pop(expert.name))
                self.streams[expert.name] = in_vectors(model, expert, streams, said, self.folder)
        once = list(dict.fromkeys(self.captions))
        row_of = {caption: row for row, caption in enumerate(once)}
        self.text = model.tokenize(once, self.folder)
        self._sentence = torch.tensor([row_of[caption] for caption in self.captions], dtype=torch.int64)

    def matches(self) -> tuple[Tensor, Tensor]:
        """Every pair of a caption and a clip of its own: two (n,) int64, captions ascending."""
        return torch.arange(len(self)).repeat_interleave(self._clip_count), self._clip

    def batches(self, config: TrainConfig, generator: torch.Generator) -> Iterator[Batch]:
        """One epoch, shuffled; the last batch is skipped if it is a lone caption, without negatives, or has fewer
        captions than there are processes."""
        for chosen in self._epoch(config, generator):
            yield self._batch(chosen, config.stream_dropout, generator)

    def steps(self, config: TrainConfig) -> int:
        """How many batches an epoch has."""
        return len(self._epoch(config, torch.Generator()))

    def _epoch(self, config: TrainConfig, generator: torch.Generator) -> list[Tensor]:
        order = draw_captions(self.video, self.image, config, generator)
        return [chosen for chosen in order.split(config.batch_size) if len(chosen) >= max(2, processes())]

    def clips(self, rows: Tensor) -> Clips:
        """Streams of some clips, (B,) row numbers."""
        return {modality: streams.take(rows) for modality, streams in self.streams.items()}

    def sentences(self, numbers: Tensor) -> Sentences:
        """Tokens of some captions, (B,) numbers."""
        return {tower: ragged.take(self._sentence[numbers]) for tower, ragged in self.text.items()}

    def _batch(self, chosen: Tensor, stream_dropout: float, generator: torch.Generator) -> Batch:
        draw = torch.rand(len(chosen), generator=generator)
        rows = self._clip[self._first_clip[chosen] + (draw * self._clip_count[chosen]).long()]
        kept = keep_streams(self.available[rows], stream_dropout, generator)
        mine = share(len(chosen))
        clips = self.clips(rows[mine])
        hidden = {m: streams.where(kept[mine, n]) for n, (m, streams) in enumerate(clips.items())}
        return Batch(chosen, self.sentences(chosen[mine]), hidden, self.negatives(chosen))


def keep_streams(available: Tensor, chance: float, generator: torch.Generator) -> Tensor:
    """Hide each stream of (B, M) bool with a chance in [0, 1); where a clip would lose all, it loses none."""
    kept = available & (torch.rand(available.shape, generator=generator) >= chance)
    return torch.where(kept.any(1, keepdim=True), kept, available)


def _stream_blocks(
    parts: Sequence[tuple[FeatureSource, Pairs]], expert: ExpertConfig, said: dict[str, int] | None
) -> Iterator[Ragged]:
    """Of the captioned clips of videos and then of images, which only have their appearance."""
    (videos, pairs), *images = parts
    for block in stream_blocks(videos, expert, pairs.gallery, said):
        yield block
    for source, some in images:
        if expert.name == IMAGE_MODALITY:
            yield from stream_blocks(source, expert, some.gallery)
        else:
            yield Ragged(block.values[:0], torch.zeros(1 + len(some.gallery), dtype=torch.int64), block.pooled)


def image_pairs(table: pd.DataFrame, source: FeatureSource, *, partial: bool) -> Pairs:
    """Training captions of images: those of split train, where the table names splits.

    `video_id` is the image; with partial, captions whose image is not in the source are left out.

    Raises:
        InputError: captions do not match the source, or none is for training.
    """
    if "split" in table:
        table = table[table["split"] == "train"]
    if not len(table):
        raise InputError("no caption of the images has split 'train'")
    return match_captions(table, source, partial=partial)[0]
