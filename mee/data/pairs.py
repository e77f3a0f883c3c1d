"""Which caption belongs to which clips."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import compress
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from mee.errors import InputError, some

if TYPE_CHECKING:
    import pandas as pd

    from mee.data.source import ClipNames, FeatureSource


@dataclass(frozen=True)
class Pairs:
    """Captions and the clips they are true of."""

    captions: tuple[str, ...]
    videos: tuple[str, ...]  # the store's name of each caption's video
    clip_ids: tuple[tuple[str, ...], ...]  # for each caption: every clip of its video, or the one clip it names
    ids: tuple[str, ...] = ()  # each caption's id in results; empty: its number, from 1

    def __post_init__(self) -> None:
        if not self.ids:
            object.__setattr__(self, "ids", tuple(str(number + 1) for number in range(len(self.captions))))

    def __len__(self) -> int:
        return len(self.captions)

    @property
    def digest(self) -> str:
        """Twelve hexadecimal digits of a hash over all captions and their clips."""
        text = json.dumps([self.captions, self.clip_ids])
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    def where(self, kept: Sequence[bool]) -> Pairs:
        """The captions with a true mark only."""
        captions, videos, ids = (tuple(compress(texts, kept)) for texts in (self.captions, self.videos, self.ids))
        return Pairs(captions, videos, tuple(compress(self.clip_ids, kept)), ids)

    def of_videos(self, videos: set[str]) -> Pairs:
        """The captions of some videos only."""
        return self.where([video in videos for video in self.videos])

    @property
    def gallery(self) -> list[str]:
        """Every clip that some caption belongs to, once, in order of first mention."""
        return list(dict.fromkeys(clip_id for clip_ids in self.clip_ids for clip_id in clip_ids))


def match_captions(table: pd.DataFrame, source: FeatureSource, *, partial: bool) -> tuple[Pairs, list[str]]:
    """Captions and their clips; and with partial, the video ids that are not in the source and are left out.

    Raises:
        InputError: a video id is unknown or ambiguous, its video failed, or no caption remains.
    """
    video_ids = table["video_id"].tolist()
    found, left_out = find_videos(video_ids, source, partial=partial)
    videos, clip_ids = zip(*(found[video_id] for video_id in video_ids if video_id in found))
    ids = table["query_id"].tolist() if "query_id" in table else range(1, len(table) + 1)
    kept = [video_id in found for video_id in video_ids]
    captions = tuple(compress(table["caption"].tolist(), kept))
    return Pairs(captions, videos, clip_ids, tuple(map(str, compress(ids, kept)))), left_out


def find_videos(
    video_ids: Iterable[str], source: ClipNames, *, partial: bool
) -> tuple[dict[str, tuple[str, tuple[str, ...]]], list[str]]:
    """Find videos by their ids, as captions name them; with partial, leave out those that are not in the source.

    Returns:
        Video id -> the source's name of the video, and its clips; and the ids that were left out.

    Raises:
        InputError: a video id is unknown or ambiguous, its video failed, or no video remains.
    """
    by_name, wanted = _names(source), list(dict.fromkeys(video_ids))
    found = {video_id: by_name[video_id] for video_id in wanted if video_id in by_name}
    left_out = [video_id for video_id in wanted if video_id not in found]
    if left_out and not (partial and found):
        tails = _tails((*source.clips["video"].astype(str), *source.failed))
        reasons = (f"{video_id} ({_reason(video_id, tails, source)})" for video_id in left_out)
        raise InputError(
            f"{len(left_out)} of {len(wanted)} captioned videos are not usable in {source.name}: "
            f"{some(reasons, len(left_out), '; ')}. Extract them with mee precompute, or go on without them with "
            "--partial"
        )
    return found, left_out


def _names(source: ClipNames) -> dict[str, tuple[str, tuple[str, ...]]]:
    """Every name that a caption may use for a video -> the video and its clips.

    A name is its path in the store, or the end of it from some folder on, with or without the file suffix. An
    ambiguous end names no video, but a whole path always names its own.
    """
    clips: dict[str, list[str]] = {}
    single: dict[str, tuple[str, tuple[str, ...]]] = {}
    for clip_id, video in zip(source.clips.index.astype(str), source.clips["video"].astype(str)):
        clips.setdefault(video, []).append(clip_id)
        single[clip_id] = (video, (clip_id,))
    full = {video: (video, tuple(clip_ids)) for video, clip_ids in clips.items()}
    tails = _tails((*full, *source.failed))
    short = {tail: full[videos[0]] for tail, videos in tails.items() if len(videos) == 1 and videos[0] in full}
    return {**short, **single, **full}


def _reason(video_id: str, tails: dict[str, list[str]], source: ClipNames) -> str:
    if video_id in source.failed:
        return source.failed[video_id]
    videos = tails.get(video_id, [])
    if len(videos) > 1:
        return f"may be {' or '.join(videos[:3])}"
    return source.failed[videos[0]] if videos else "not in the store"


def _tails(videos: Iterable[str]) -> dict[str, list[str]]:
    """End of a path, from some folder on, with or without the file suffix -> the videos that it may name.

    A whole path without its suffix takes precedence over the ends of longer ones.
    """
    tails: dict[str, list[str]] = {}
    whole: dict[str, list[str]] = {}
    for video in dict.fromkeys(videos):
        path = PurePosixPath(video)
        whole.setdefault(str(path.with_suffix("")), []).append(video)
        for start in range(len(path.parts)):
            tail = PurePosixPath(*path.parts[start:])
            for name in {str(tail), str(tail.with_suffix(""))}:
                tails.setdefault(name, []).append(video)
    return {**tails, **whole}
