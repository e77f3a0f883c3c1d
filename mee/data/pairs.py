"""Which caption belongs to which clips."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import compress
from typing import TYPE_CHECKING

from mee.data.names import NEAR, Names
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
    video_ids: Iterable[str],
    source: ClipNames,
    *,
    partial: bool,
    what: str = "captioned videos",
    remedy: str = "Extract them with mee precompute",
) -> tuple[dict[str, tuple[str, tuple[str, ...]]], list[str]]:
    """Find videos, or clips, by their ids, however they are spelled (names.py); those not found may be left out.

    Args:
        video_ids: as captions name them.
        source: where they should be.
        partial: leave out those that are not in the source, if any is.
        what, remedy: what to call them, and what to do about missing ones, for the message.

    Returns:
        Video id -> the source's name of the video, and its clips; and the ids that were left out.

    Raises:
        InputError: a video id is unknown or ambiguous, its video failed, or no video remains.
    """
    names, wanted = _names(source), list(dict.fromkeys(video_ids))
    meant = {video_id: found for video_id in wanted if (found := names.find(video_id))}
    unsure = _other_folders(names, meant)
    found = {video_id: each for video_id, each in meant.items() if video_id not in unsure}
    left_out = [video_id for video_id in wanted if video_id not in found]
    if left_out and not (partial and found):

        def reason(video_id: str) -> str:
            known = names.meant(video_id).names
            failed = source.failed.get(known[0]) if len(known) == 1 else None
            return unsure.get(video_id) or failed or names.reason(video_id).removeprefix("is ")

        reasons = (f"{video_id} ({reason(video_id)})" for video_id in left_out)
        raise InputError(
            f"{len(left_out):,} of {len(wanted):,} {what} are not usable in {source.name}: "
            f"{some(reasons, len(left_out), '; ')}. {remedy}"
            + (", or go on without them with --partial" if found else "")
        )
    return found, left_out


def _names(source: ClipNames) -> Names[tuple[str, tuple[str, ...]] | None]:
    """The names of videos and clips; None of those that failed."""
    clips: dict[str, list[str]] = {}
    single: dict[str, tuple[str, tuple[str, ...]]] = {}
    for clip_id, video in zip(source.clips.index.astype(str), source.clips["video"].astype(str)):
        clips.setdefault(video, []).append(clip_id)
        single[clip_id] = (video, (clip_id,))
    full = {video: (video, tuple(clip_ids)) for video, clip_ids in clips.items()}
    gone = dict.fromkeys(set(source.failed) - full.keys())
    return Names({**single, **full, **gone}, "the store")


def _other_folders(names: Names[tuple[str, tuple[str, ...]] | None], found: Iterable[str]) -> dict[str, str]:
    """Why some of the ids found cannot be it: train/0.mp4 and test/0.mp4 are two videos, and 0.mp4 is one."""
    by_name: dict[str, dict[str, str]] = {}
    for video_id in found:
        meant = names.meant(video_id)
        if meant.folders:
            by_name.setdefault(meant.names[0], {})[video_id] = f"/{meant.folders}"
    unsure = {}
    for known, folders in by_name.items():
        longest = max(folders.values(), key=len)
        if not all(map(longest.endswith, folders.values())):
            unsure |= {each: f"{known} may be any of {' or '.join(list(folders)[:NEAR])}" for each in folders}
    return unsure
