"""Which caption belongs to which clips."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import compress
from typing import TYPE_CHECKING

from mee.data.names import NEAR, Meant, names_of
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
    place: str = "the store",
) -> tuple[dict[str, tuple[str, tuple[str, ...]]], list[str]]:
    """Find videos, or clips, by their ids, however they are spelled (names.py); those not found may be left out.

    Args:
        video_ids: as captions name them.
        source: where they should be.
        partial: leave out those that are not in the source, if any is.
        what, remedy, place: what to call them, what to do about missing ones, and where they should be, in words.

    Returns:
        Video id -> the source's name of the video, and its clips; and the ids that were left out.

    Raises:
        InputError: a video id is unknown or ambiguous, its video failed, or no video remains.
    """
    names = names_of(zip(source.clips.index.astype(str), source.clips["video"].astype(str)), place, source.failed)
    wanted = list(dict.fromkeys(video_ids))
    meant = {video_id: names.meant(video_id) for video_id in wanted}
    unsure = _other_folders(meant)
    single = {each: names.known[it.names[0]] for each, it in meant.items() if len(it.names) == 1}
    found = {each: it for each, it in single.items() if it[1] and each not in unsure}
    left_out = [video_id for video_id in wanted if video_id not in found]
    if left_out and not (partial and found):

        def reason(video_id: str) -> str:
            if video_id in single:
                return unsure.get(video_id) or source.failed[single[video_id][0]]
            return names.reason(video_id).removeprefix("is ")

        reasons = (f"{video_id} ({reason(video_id)})" for video_id in left_out)
        raise InputError(
            f"{len(left_out):,} of {len(wanted):,} {what} are not usable in {source.name}: "
            f"{some(reasons, len(left_out), '; ')}. {remedy}"
            + (", or go on without them with --partial" if found else "")
        )
    return found, left_out


def _other_folders(meant: Mapping[str, Meant]) -> dict[str, str]:
    """Why some ids cannot be it: train/0.mp4 and test/0.mp4 are two videos, and 0.mp4 in the store is one."""
    by_name: dict[str, dict[str, str]] = {}
    for video_id, (names, _, folders) in meant.items():
        if folders:
            by_name.setdefault(names[0], {})[video_id] = f"/{folders}"
    unsure: dict[str, str] = {}
    for known, above in by_name.items():
        if not all(map(max(above.values(), key=len).endswith, above.values())):
            unsure |= {each: f"{known} may be any of {' or '.join(list(above)[:NEAR])}" for each in above}
    return unsure
