"""Videos by their best moment: the best clip of each, and its next best.

In a list of clips whose order is right, each video's first clip is its best, and the videos' first clips come in
the videos' order. So the videos seen in an exact list are certain, whatever comes after it; where they are too
few, what follows is searched, wider each time and without the videos that are known.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from index.hit import Hit

WIDENED = 4  # times as many clips each time


@dataclass(frozen=True)
class VideoHits:
    """A video that was found, and why."""

    rank: int  # the first is 1
    video: str
    hits: tuple[Hit, ...]  # its best moments, at least one; their ranks count within the video

    @property
    def score(self) -> float:
        """That of its best moment."""
        return self.hits[0].score

    def to_dict(self) -> dict[str, Any]:
        """As plain containers, for JSON."""
        moments = [hit.to_dict() for hit in self.hits]
        return {"rank": self.rank, "video": self.video, "score": self.score, "moments": moments}


class Search(Protocol):
    """One query, searched as wide as one likes."""

    def __call__(self, count: int, *, inside: Collection[str] | None, outside: Collection[str]) -> list[Hit]:
        """The best `count` clips of the videos `inside` (None: all) that are not `outside`, the best first."""
        ...


def first_count(top: int) -> int:
    """How many clips are searched for first, where so many videos are wanted."""
    return 2 * top + 14


def best_videos(first: Sequence[Hit], search: Search, *, top: int, moments: int) -> list[VideoHits]:
    """The videos with the best moments.

    Args:
        first: the best `first_count(top)` clips; fewer where no more can be found.
        search: finds more.
        top: how many videos, at least 1.
        moments: how many of each, at least 1.

    Returns:
        The videos, the best first; fewer where no more can be found. They are as right as `search` is.
    """
    found: dict[str, list[Hit]] = {}
    hits, count = first, first_count(top)
    while True:
        for hit in hits:
            found.setdefault(hit.video, []).append(hit)
        if len(found) >= top or len(hits) < count:
            break
        count *= WIDENED
        hits = search(count, inside=None, outside=frozenset(found))
    best = sorted(found.values(), key=lambda some: _order(some[0]))[:top]
    some = {hits[0].video: hits for hits in best}
    if moments > 1:
        _fill(some, search, moments)
    return [VideoHits(rank, video, _ranked(some[video][:moments])) for rank, video in enumerate(some, start=1)]


def _ranked(hits: Sequence[Hit]) -> tuple[Hit, ...]:
    return tuple(replace(hit, rank=rank) for rank, hit in enumerate(hits, start=1))


def _fill(found: dict[str, list[Hit]], search: Search, moments: int) -> None:
    """Find what a list that ended too early has left out of its videos."""
    short = {video for video, hits in found.items() if len(hits) < moments}
    count = first_count(moments * len(short))
    while short:
        hits = search(count, inside=short, outside=())
        fresh: dict[str, list[Hit]] = {video: [] for video in short}
        for hit in hits:
            fresh[hit.video].append(hit)
        for video, some in fresh.items():
            known = {hit.clip_id for hit in found[video]}
            more = [*found[video], *(hit for hit in some if hit.clip_id not in known)]
            found[video] = sorted(more, key=_order)
        if len(hits) < count:
            return
        short = {video for video in short if len(fresh[video]) < moments}
        count *= WIDENED


def _order(hit: Hit) -> tuple[float, str]:
    return -hit.score, hit.clip_id
