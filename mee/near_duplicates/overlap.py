"""What training and test videos have in common: pairs of videos that are the same, or look nearly alike.

    same name   the video is on both sides
    same file   the files' content is equal, byte by byte (SHA-256, where it is known)
    alike       as near as the threshold asks, by frames (near_frames.py) or by a stream (near_streams.py)

All pairs are counted, but only the nearest few of each test video are kept: where everything looks alike there are
(training videos) x (test videos) of them, and memory must not grow with that.

Which videos are the training side and which the test side, and where they are.

caption table       its column split: train and test
named protocol      its training list, and its test gallery
two lists           one video a line, or a table (.csv, .parquet) with a column video_id
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal, final

import numpy as np
from numpy.typing import NDArray

from mee.data.captions import read_captions, read_videos
from mee.errors import InputError
from mee.protocols.annotations import FOLDER

if TYPE_CHECKING:
    import pandas as pd

    from mee.data.source import FeatureSource
    from mee.streams import Rows


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


SHOWN = 3  # names in a sentence


@final
@dataclass(frozen=True)
class SideIds:
    """The videos of both sides by the names that annotations call them, each once a side."""

    train: tuple[str, ...]
    test: tuple[str, ...]
    shortfalls: tuple[str, ...] = ()  # how the annotations fall short of their protocol, a sentence each


@final
@dataclass(frozen=True)
class FoundVideos:
    """Videos of one side that are there: the place's own name -> the clips of it that are meant."""

    clip_ids: Mapping[str, tuple[str, ...]]
    left_out: tuple[str, ...]  # ids that lead to none


def sides_of_annotations(path: Path, protocol: str, train_list: str | None, *, partial: bool) -> SideIds:
    """The sides that annotations name.

    Args:
        path: a caption table; of a named protocol, the directory with its files.
        protocol: its name.
        train_list: one of the protocol's training lists; None takes its usual one.
        partial: go on where the files fall short of the protocol.

    Raises:
        InputError: the files cannot be used, or name no training or no test videos.
    """
    if protocol == FOLDER:
        table = read_captions(path)
        if "split" not in table:
            raise InputError(
                f"{path} has no column 'split', so nobody can say which videos are for training; add it, or name "
                "two lists with --train and --test"
            )
        train, test = (_once(table["video_id"][table["split"] == split]) for split in ("train", "test"))
        return _both(train, test, lambda side: f"{path} names no {side} videos")
    from mee.protocols.load import load_benchmark

    benchmark = load_benchmark(protocol, path, train_list=train_list, partial=partial)
    train = _once(benchmark.table["video_id"][benchmark.table["split"] == "train"])
    return _both(
        train,
        _once(benchmark.gallery),
        lambda side: f"{path} holds no captions of {protocol}'s {side} videos, which would say what they are",
        benchmark.shortfalls,
    )


def sides_of_lists(train: Path, test: Path) -> SideIds:
    """The sides that two lists name.

    Raises:
        InputError: a list cannot be read, or is empty.
    """
    return SideIds(read_videos(train), read_videos(test))


def find_sides(
    ids: SideIds, source: FeatureSource, *, partial: bool, remedy: str
) -> tuple[FoundVideos, FoundVideos]:
    """Find the videos of both sides in a store, or among the names of a folder (`VideoNames`).

    Args:
        ids: of both sides.
        source: where they should be.
        partial: leave out those that are not there, instead of refusing.
        remedy: what to do about those that are not there, for the message: "Name the folder that holds them".

    Returns:
        Those of training and those of test.

    Raises:
        InputError: a video is not there, or nothing of a side is left.
    """
    train, test = (_find(side, source) for side in (ids.train, ids.test))
    for found, side, name in ((train, ids.train, "training"), (test, ids.test, "test")):
        if found.left_out and not (partial and found.clip_ids):
            shown = ", ".join(f"'{video}'" for video in found.left_out[:SHOWN])
            more = f" and {len(found.left_out) - SHOWN:,} more" if len(found.left_out) > SHOWN else ""
            way = f"{remedy}, or go on without them with --partial" if found.clip_ids else remedy
            raise InputError(
                f"{len(found.left_out):,} of {len(side):,} {name} videos are not usable in {source.name}: "
                f"{shown}{more}. {way}"
            )
    return train, test


@final
class VideoNames:
    """The videos of a folder as a `FeatureSource` without streams: names alone, each video one clip."""

    dims: Mapping[str, int]
    fingerprints: Mapping[str, str]
    failed: Mapping[str, str]

    def __init__(self, name: str, videos: Sequence[str]) -> None:
        """``name``: what to call it in messages; ``videos``: paths below the folder."""
        self.name, self._videos = name, list(videos)
        self.dims, self.fingerprints, self.failed = {}, {}, {}

    @property
    def clips(self) -> pd.DataFrame:
        """Index clip_id; column video: the same."""
        import pandas as pd

        return pd.DataFrame({"video": self._videos}, index=pd.Index(self._videos, name="clip_id"))

    def read(self, modality: str, clip_ids: Sequence[str]) -> list[Rows | None]:
        """Raises KeyError: there are no streams."""
        raise KeyError(f"{self.name} has no stream '{modality}'")


def _find(ids: tuple[str, ...], source: FeatureSource) -> FoundVideos:
    from mee.data.pairs import find_videos

    try:
        found, left_out = find_videos(ids, source, partial=True)
    except InputError:  # none is there: said by the caller, who knows which side this is
        return FoundVideos({}, ids)
    clips: dict[str, dict[str, None]] = {}
    for video, clip_ids in (found[name] for name in ids if name in found):
        clips.setdefault(video, {}).update(dict.fromkeys(clip_ids))
    return FoundVideos({video: tuple(some) for video, some in clips.items()}, tuple(left_out))


def _both(
    train: tuple[str, ...], test: tuple[str, ...], wrong: Callable[[str], str], shortfalls: tuple[str, ...] = ()
) -> SideIds:
    """Both sides, neither of them empty; ``wrong``: what to say of an empty one."""
    for videos, side in ((train, "training"), (test, "test")):
        if not videos:
            raise InputError(f"{wrong(side)}; name two lists with --train and --test instead")
    return SideIds(train, test, shortfalls)


def _once(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(names))
