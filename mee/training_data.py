"""The training set in memory, and its shuffled batches.

A batch is B captions, each with one clip of its video. What never changes in training is done once, before it:
streams are pooled where pooling has nothing to learn, and the text encoder reads the captions (mee.text_encoder).
Image captions join as clips that only have their appearance. Stream dropout hides streams from a batch, so that
every availability pattern is met in training; it always leaves a clip one stream.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mee.batch import Clips, Sentences
from mee.data import FeatureSource, load_ragged
from mee.errors import InputError
from mee.joint import processes, share
from mee.model import MEE
from mee.negatives import Negatives
from mee.pairs import Pairs
from mee.ragged import Ragged
from mee.sampling import draw_captions, drawn
from mee.train_config import TrainConfig

IMAGE_MODALITY = "appearance"
BLOCK = 65536  # rows looked at together


@dataclass(frozen=True)
class Batch:
    """B captions and their clips; with several processes, this one's share of them."""

    numbers: Tensor  # (B,) int64: which captions of the training set, of all processes
    sentences: Sentences  # this process's share
    clips: Clips  # the same
    negative: Tensor  # (B, B) bool: caption i is not true of clip j, as far as any caption says


class TrainingData:
    """Captions and the clips they are true of; captions whose clips have no stream at all are left out."""

    def __init__(
        self,
        source: FeatureSource,
        pairs: Pairs,
        modalities: Sequence[str],
        images: tuple[FeatureSource, Pairs] | None = None,
    ) -> None:
        """Read all streams of the captioned clips.

        Args:
            source: where the streams are.
            pairs: the training captions.
            modalities: of the model.
            images: image captions, and where their appearance is; drawn anew each epoch.

        Raises:
            InputError: a stream has a number that is not finite, or the captions that are left tell of fewer than
                two videos.
        """
        self.modalities = tuple(modalities)
        parts = [(source, pairs, self.modalities)]
        if images:
            parts.append((*images, (IMAGE_MODALITY,)))
        loaded = [load_ragged(where, of, some.gallery) for where, some, of in parts]
        for (_, some, _), streams in zip(parts, loaded):
            check_finite(streams, some.gallery)
        counts = [len(some.gallery) for _, some, _ in parts]
        self.streams = {m: Ragged.join([part.get(m) for part in loaded], counts) for m in self.modalities}
        has_stream = torch.stack([ragged.present for ragged in self.streams.values()]).any(0).tolist()
        self.captions: list[str] = []
        self.rows: list[list[int]] = []  # of each caption, the clips it is true of
        videos: list[tuple[int, str]] = []
        before = 0
        for number, (_, some, _) in enumerate(parts):
            row_of = {clip_id: before + row for row, clip_id in enumerate(some.gallery)}
            before += len(row_of)
            for caption, video, clip_ids in zip(some.captions, some.videos, some.clip_ids):
                if usable := [row_of[clip_id] for clip_id in clip_ids if has_stream[row_of[clip_id]]]:
                    self.captions.append(caption)
                    self.rows.append(usable)
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
        self._clip_count = torch.tensor([len(rows) for rows in self.rows])
        self._first_clip = self._clip_count.cumsum(0) - self._clip_count
        self._clip = torch.tensor([row for rows in self.rows for row in rows], dtype=torch.int64)
        self.text: dict[str, Ragged] = {}
        self._sentence = torch.empty(0, dtype=torch.int64)

    def __len__(self) -> int:
        return len(self.captions)

    def prepare(self, model: MEE) -> None:
        """Do once what training never changes: pool streams, fit their standardisation, read captions.

        Raises:
            InputError: a caption is empty.
        """
        for modality in self.modalities:
            expert = model.expert(modality)
            self.streams[modality] = expert.read(self.streams[modality])
            expert.fit(self.streams[modality].only(self._clip.unique()))
        once = list(dict.fromkeys(self.captions))
        row_of = {caption: row for row, caption in enumerate(once)}
        self.text = model.read_text(once)
        self._sentence = torch.tensor([row_of[caption] for caption in self.captions], dtype=torch.int64)

    def matches(self) -> tuple[Tensor, Tensor]:
        """Every pair of a caption and a clip that it is true of: two (n,) int64, captions ascending."""
        return torch.arange(len(self)).repeat_interleave(self._clip_count), self._clip

    def batches(self, config: TrainConfig, generator: torch.Generator) -> Iterator[Batch]:
        """One epoch, shuffled; what is left at the end is left out if it is a lone caption, without negatives, or
        too little to go round all processes."""
        order = draw_captions(self.video, self.image, config, generator)
        for chosen in torch.split(order, config.batch_size):
            if len(chosen) >= fewest():
                yield self._batch(chosen, config.stream_dropout, generator)

    def steps(self, config: TrainConfig) -> int:
        """How many batches an epoch has."""
        whole, rest = divmod(drawn(self.video, self.image, config), config.batch_size)
        return whole + (rest >= fewest())

    def clips(self, rows: Tensor) -> Clips:
        """Streams of some clips, (B,) row numbers."""
        return {modality: streams.take(rows) for modality, streams in self.streams.items()}

    def sentences(self, numbers: Tensor) -> Sentences:
        """What the text encoder reads of some captions."""
        return {tower: ragged.take(self._sentence[numbers]) for tower, ragged in self.text.items()}

    def _batch(self, chosen: Tensor, stream_dropout: float, generator: torch.Generator) -> Batch:
        draw = torch.rand(len(chosen), generator=generator)
        rows = self._clip[self._first_clip[chosen] + (draw * self._clip_count[chosen]).long()]
        available = torch.stack([streams.present[rows] for streams in self.streams.values()], dim=1)
        kept = keep_streams(available, stream_dropout, generator)
        mine = share(len(chosen))
        clips = self.clips(rows[mine])
        hidden = {m: streams.where(kept[mine, n]) for n, (m, streams) in enumerate(clips.items())}
        return Batch(chosen, self.sentences(chosen[mine]), hidden, self.negatives(chosen))


def fewest() -> int:
    """Captions that a batch must have at least."""
    return max(2, processes())


def keep_streams(available: Tensor, chance: float, generator: torch.Generator) -> Tensor:
    """Hide each stream with a chance; where a clip would lose all, it loses none.

    Args:
        available: (B, M) bool.
        chance: in [0, 1).
        generator: of the draw.

    Returns:
        (B, M) bool, never more than `available`.
    """
    kept = available & (torch.rand(available.shape, generator=generator) >= chance)
    return torch.where(kept.any(1, keepdim=True), kept, available)


def check_finite(streams: Mapping[str, Ragged], clip_ids: Sequence[str]) -> None:
    """Refuse NaN and infinity, which training would spread to every weight.

    Args:
        streams: by modality, in the order of `clip_ids`.
        clip_ids: names of the clips.

    Raises:
        InputError: says which stream of which clip.
    """
    for modality, ragged in streams.items():
        for first, block in enumerate(ragged.values.split(BLOCK)):
            if not block.isfinite().all():
                row = first * BLOCK + int((~block.isfinite()).flatten(1).any(1).nonzero()[0])
                clip = int(torch.searchsorted(ragged.offsets, row, right=True)) - 1
                raise InputError(
                    f"the '{modality}' stream of {clip_ids[clip]} has NaN or infinity in it; extract it again"
                )
