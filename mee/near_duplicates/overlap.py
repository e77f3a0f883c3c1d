"""What training and test videos have in common: pairs of videos that are the same, or look nearly alike.

    same name   the video is on both sides
    same file   the files' content is equal, byte by byte (SHA-256, where it is known)
    alike       as near as the threshold asks, by frames (near_frames.py) or by a stream (near_streams.py)

All pairs are counted, but only the nearest few of each test video are kept: where everything looks alike there are
(training videos) x (test videos) of them, and memory must not grow with that.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, final

import numpy as np
from numpy.typing import NDArray

Why = Literal["same name", "same file", "alike"]
Measure = Literal["bits", "similarity"]
WHY: tuple[Why, ...] = ("same name", "same file", "alike")  # the first that is true is told
KEEP = 10  # training videos a test video


@final
@dataclass(frozen=True)
class Side:
    """The videos of one side."""

    videos: tuple[str, ...]  # names, each once
    digests: tuple[str, ...]  # SHA-256 of each one's file, hexadecimal; empty where it is not known

    def __post_init__(self) -> None:
        if len(self.videos) != len(self.digests) or len(set(self.videos)) != len(self.videos):
            raise ValueError("a side names each video once, with one digest")

    def __len__(self) -> int:
        return len(self.videos)


@final
@dataclass(frozen=True)
class NearPair:
    """A training video and a test video that is the same, or nearly."""

    train: str
    test: str
    why: Why
    value: float | None  # bits apart, or similarity; None where one of them has nothing to compare
    train_s: float | None = None  # the moment of each at which they are most alike, seconds
    test_s: float | None = None


@final
@dataclass(frozen=True, kw_only=True)
class Overlap:
    """What was found."""

    measure: Measure
    threshold: float
    pairs: tuple[NearPair, ...]  # by test video, nearest first; of each at most so many as were to be kept
    found: int  # pairs, kept or not
    leaked: tuple[str, ...]  # test videos that are in a pair
    train: int  # videos
    test: int
    blank: tuple[str, ...] = ()  # videos of either side that have nothing to compare but their name and file

    @property
    def compared(self) -> int:
        """How many pairs of videos were looked at."""
        return self.train * self.test


@final
@dataclass
class NearestTrain:
    """Takes the values of blocks of pairs, and keeps the nearest training videos of each test video."""

    train: Side
    test: Side
    measure: Measure
    keep: int = KEEP
    found: int = 0
    _kept: dict[int, list[tuple[int, float, int]]] = field(default_factory=dict)  # test -> (why, distance, train)
    _by_name: dict[str, int] = field(init=False)
    _by_digest: dict[str, NDArray[np.int64]] = field(init=False)

    def __post_init__(self) -> None:
        if self.keep < 1:
            raise ValueError(f"at least one pair a video must be kept, got {self.keep}")
        self._by_name = {name: place for place, name in enumerate(self.train.videos)}
        places: dict[str, list[int]] = {}
        for place, digest in enumerate(self.train.digests):
            if digest:
                places.setdefault(digest, []).append(place)
        self._by_digest = {digest: np.array(some) for digest, some in places.items()}

    def has_same(self, test: int) -> bool:
        """Whether a test video is on the training side too, by name or by content."""
        return self.test.videos[test] in self._by_name or self.test.digests[test] in self._by_digest

    def add(self, test: int, first: int, values: NDArray[np.float64], near: NDArray[np.bool_]) -> None:
        """Take the pairs of one test video and V training videos that follow each other.

        Args:
            test: place of the test video.
            first: place of the first training video.
            values: (V,) bits apart or similarities; NaN where there is nothing to compare.
            near: (V,) whether they are as near as the threshold asks.
        """
        why = np.where(near, WHY.index("alike"), len(WHY))
        same = self._by_digest.get(self.test.digests[test], np.zeros(0, np.int64)) - first
        why[same[(same >= 0) & (same < len(why))]] = WHY.index("same file")
        own = self._by_name.get(self.test.videos[test], -1) - first
        if 0 <= own < len(why):
            why[own] = WHY.index("same name")
        places = np.flatnonzero(why < len(WHY))
        if not len(places):
            return
        self.found += len(places)
        distance = values if self.measure == "bits" else -values
        places = places[np.lexsort((places, distance[places], why[places]))][: self.keep]  # NaN is sorted last
        some = [(int(why[place]), float(distance[place]), first + int(place)) for place in places]
        self._kept[test] = sorted([*self._kept.get(test, []), *some], key=_nearness)[: self.keep]

    def result(self, threshold: float, blank: Sequence[str]) -> Overlap:
        """All that was added; moments are still to be told."""
        pairs = []
        for test in sorted(self._kept):
            for why, distance, train in self._kept[test]:
                value = None if np.isnan(distance) else distance if self.measure == "bits" else -distance
                pairs.append(NearPair(self.train.videos[train], self.test.videos[test], WHY[why], value))
        return Overlap(
            measure=self.measure,
            threshold=threshold,
            pairs=tuple(pairs),
            found=self.found,
            leaked=tuple(self.test.videos[test] for test in sorted(self._kept)),
            train=len(self.train),
            test=len(self.test),
            blank=tuple(blank),
        )


def at_moments(overlap: Overlap, moments: Sequence[tuple[float, float] | None]) -> Overlap:
    """With the seconds (train, test) at which the videos of each pair are most alike; None: not known."""
    told = [
        pair if moment is None else replace(pair, train_s=moment[0], test_s=moment[1])
        for pair, moment in zip(overlap.pairs, moments, strict=True)
    ]
    return replace(overlap, pairs=tuple(told))


def _nearness(kept: tuple[int, float, int]) -> tuple[int, float, int]:
    """What pairs are sorted by; what cannot be compared comes after what can."""
    why, distance, train = kept
    return why, float("inf") if np.isnan(distance) else distance, train
