"""Which caption belongs to which clips."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import compress
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from mee.data import FeatureSource
from mee.errors import InputError

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Pairs:
    """Captions and the clips they are true of."""

    captions: tuple[str, ...]
    videos: tuple[str, ...]  # the store's name of each caption's video
    clip_ids: tuple[tuple[str, ...], ...]  # for each caption: every clip of its video, or the one clip it names

    def __len__(self) -> int:
        return len(self.captions)

    @property
    def digest(self) -> str:
        """Twelve hexadecimal digits that stand for all captions and their clips."""
        text = json.dumps([self.captions, self.clip_ids])
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    def where(self, kept: Sequence[bool]) -> Pairs:
        """Some of the captions only."""
        return Pairs(
            tuple(compress(self.captions, kept)),
            tuple(compress(self.videos, kept)),
            tuple(compress(self.clip_ids, kept)),
        )

    def of_videos(self, videos: set[str]) -> Pairs:
        """The captions of some videos only."""
        return self.where([video in videos for video in self.videos])

    @property
    def gallery(self) -> list[str]:
        """Every clip that some caption belongs to, once, in order of first mention."""
        return list(dict.fromkeys(clip_id for clip_ids in self.clip_ids for clip_id in clip_ids))


def match_captions(table: pd.DataFrame, source: FeatureSource, *, partial: bool) -> tuple[Pairs, list[str]]:
    """Find the clips of every caption.

    Args:
        table: columns video_id and caption.
        source: where the clips are.
        partial: leave out captions whose video is not there, instead of refusing.

    Returns:
        The pairs, and the video ids that were left out.

    Raises:
        InputError: a video id is unknown or ambiguous, its video failed, or nothing is left.
    """
    by_name = _names(source)
    pairs: list[tuple[str, str, tuple[str, ...]]] = []
    left_out: dict[str, None] = {}
    for video_id, caption in zip(table["video_id"], table["caption"]):
        if found := by_name.get(video_id):
            pairs.append((caption, *found))
        else:
            left_out[video_id] = None
    if left_out and not (partial and pairs):
        shown = "; ".join(f"{video_id} ({_reason(video_id, source)})" for video_id in list(left_out)[:3])
        more = f" and {len(left_out) - 3} more" if len(left_out) > 3 else ""
        raise InputError(
            f"{len(left_out)} of {table['video_id'].nunique()} captioned videos are not usable in {source.name}: "
            f"{shown}{more}. Extract them with mee precompute, or go on without them with --partial"
        )
    captions, videos, clip_ids = zip(*pairs)
    return Pairs(captions, videos, clip_ids), list(left_out)


def _names(source: FeatureSource) -> dict[str, tuple[str, tuple[str, ...]]]:
    """What a caption may call a video -> the video and its clips.

    The video's ending may be left off where no two videos differ in it alone.
    """
    full: dict[str, tuple[str, tuple[str, ...]]] = {}
    single: dict[str, tuple[str, tuple[str, ...]]] = {}
    for clip_id, video in zip(source.clips.index.astype(str), source.clips["video"].astype(str)):
        full[video] = (video, (*full.get(video, (video, ()))[1], clip_id))
        single[clip_id] = (video, (clip_id,))
    short: dict[str, tuple[str, tuple[str, ...]]] = {}
    for stem, videos in _stems((*full, *source.failed)).items():
        if len(videos) == 1 and videos[0] in full:
            short[stem] = full[videos[0]]
    return {**short, **single, **full}


def _reason(video_id: str, source: FeatureSource) -> str:
    """Why a caption's video id leads to no clip."""
    if video_id in source.failed:
        return source.failed[video_id]
    videos = _stems((*source.clips["video"].astype(str), *source.failed)).get(video_id, [])
    if len(videos) > 1:
        return f"may be {' or '.join(videos)}"
    return source.failed[videos[0]] if videos else "not in the store"


def _stems(videos: Iterable[str]) -> dict[str, list[str]]:
    """Name without its ending -> the videos, each once, that have it."""
    stems: dict[str, list[str]] = {}
    for video in dict.fromkeys(videos):
        stems.setdefault(str(PurePosixPath(video).with_suffix("")), []).append(video)
    return stems
