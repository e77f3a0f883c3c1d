"""What an evaluation asks: captions in their order, their right clips, and every clip that competes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from mee.data import FeatureSource, Pairs, find_videos
from mee.encode import Gallery
from mee.errors import InputError
from mee.ranking import Positives

if TYPE_CHECKING:
    from mee.protocols import Benchmark


@dataclass(frozen=True)
class Asked:
    """Captions that have a right clip in the gallery, those of the same clips side by side."""

    numbers: Tensor  # (Q,) int64: of the pairs
    positives: Positives  # of these captions, in this order, and the gallery's clips, those without a stream last

    @classmethod
    def of(cls, pairs: Pairs, gallery: Gallery) -> Asked:
        """Find the right clips."""
        names = gallery.clip_ids + gallery.without_stream
        row_of = {clip_id: row for row, clip_id in enumerate(names)}
        rows = [
            tuple(sorted({row_of[name] for name in clip_ids if name in row_of})) for clip_ids in pairs.clip_ids
        ]
        numbers = sorted((number for number in range(len(rows)) if rows[number]), key=rows.__getitem__)
        if not numbers:
            raise InputError("none of the captions to rank belongs to a clip of the gallery")
        found = [(place, row) for place, number in enumerate(numbers) for row in rows[number]]
        query, candidate = torch.tensor(found, dtype=torch.int64).unbind(1)
        return cls(torch.tensor(numbers), Positives(query, candidate, len(numbers), len(names)))


@dataclass(frozen=True)
class GalleryVideos:
    """The clips that compete, and the videos of the protocol that are not to be had."""

    clip_ids: Sequence[str]
    left_out: tuple[str, ...]


def gallery_of(benchmark: Benchmark, source: FeatureSource, *, partial: bool) -> GalleryVideos:
    """The clips of a named protocol's gallery, captioned or not.

    Raises:
        InputError: a video is not in the source, and partial does not say to go on; or it is cut into clips, where
            the protocol ranks whole videos.
    """
    found, left_out = find_videos(benchmark.gallery, source, partial=partial)
    cut = [
        clips[0]
        for asked, (video, clips) in found.items()
        if len(clips) > 1 or (clips[0].startswith(f"{video}#t=") and clips[0] != asked)  # of which others failed
    ]
    if cut:
        raise InputError(
            f"{benchmark.protocol.name} ranks whole videos, and {source.name} has {len(cut)} of its {len(found)} "
            f"test videos cut into clips ({cut[0]}, for one); extract them whole, into a new store: "
            "mee precompute VIDEOS STORE --clip-seconds 100000"
        )
    return GalleryVideos([clip_id for _, clips in found.values() for clip_id in clips], tuple(left_out))
