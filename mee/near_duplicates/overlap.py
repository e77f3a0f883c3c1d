"""The overlap of training and test videos: pairs of videos that are the same, or look nearly alike.

    same name   the video is on both sides
    same file   the files' content is equal, byte by byte (SHA-256, where it is known)
    alike       within the threshold, by frames (frames.py) or by a stream (streams.py)

Both measures give a matrix with a value per pair of videos, from which the pairs are taken here. All pairs are
counted, but only the nearest few of each test video are kept: there may be (training videos) x (test videos).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, final

import numpy as np
from numpy.typing import NDArray

from mee.errors import InputError

Why = Literal["same name", "same file", "alike"]
WHY: tuple[Why, ...] = ("same name", "same file", "alike")  # the first that is true is reported
Measure = Literal["bits", "similarity"]
KEEP = 10  # training videos a test video
CELLS = 1 << 19  # pairs of items at a time: their distances stay in the cache
ROUNDING = 2e-6  # by which a similarity may fall short of the threshold

Items = NDArray[Any]  # (N, D), what is compared: hashes of frames, or unit vectors of clips


@final
@dataclass(frozen=True, eq=False)
class Side:
    """The videos of one side, and what of them is compared: rows `starts[v]` to `starts[v + 1]` are of video v."""

    videos: tuple[str, ...]  # names, each once
    digests: tuple[str, ...]  # SHA-256 of each one's file, hexadecimal; empty where it is not known
    starts: NDArray[np.int64]  # (V + 1,)
    items: Items  # (N, D)
    times: NDArray[np.floating]  # (N,) seconds

    @classmethod
    def of(
        cls, videos: Sequence[str], digests: Sequence[str], items: Sequence[Items], times: Sequence[NDArray[Any]]
    ) -> Side:
        """From one array of items, and one of their times, a video; they may be empty."""
        if not videos:
            raise InputError("there are no videos to compare")
        starts = np.cumsum([0, *map(len, items)])
        return cls(tuple(videos), tuple(digests), starts, np.concatenate(items), np.concatenate(times))

    def __len__(self) -> int:
        return len(self.videos)

    def rows(self, first: int, last: int) -> slice:
        """The items of some videos that follow each other."""
        return slice(int(self.starts[first]), int(self.starts[last]))

    def runs(self, items: int) -> Iterator[tuple[int, int]]:
        """Runs of videos of at most so many items, or of one longer video: first, and after the last."""
        first = 0
        while first < len(self):
            fitting = int(np.searchsorted(self.starts, self.starts[first] + items, side="right")) - 1
            last = max(fitting, first + 1)
            yield first, last
            first = last

    def seen(self, first: int, last: int) -> tuple[NDArray[np.intp], NDArray[np.int64]]:
        """Which of a run of videos have items, and where in the run's items each of those starts."""
        places = np.flatnonzero(np.diff(self.starts[first : last + 1]))
        return places, self.starts[first:last][places] - self.starts[first]


@final
@dataclass(frozen=True)
class NearPair:
    """A training video and a test video that are the same, or nearly."""

    train: str
    test: str
    why: Why
    value: float | None = None  # bits apart, or similarity; None where one of them has nothing to compare
    train_s: float | None = None  # where they are most alike, seconds
    test_s: float | None = None


@final
@dataclass(frozen=True, kw_only=True)
class Overlap:
    """What was found."""

    measure: Measure
    threshold: float
    pairs: tuple[NearPair, ...]  # by test video, nearest first; at most `keep` of each
    found: int  # pairs, kept or not
    leaked: tuple[str, ...]  # test videos that are in a pair
    train: int  # videos
    test: int
    blank: tuple[str, ...] = ()  # videos of either side that have nothing to compare but their name and file


def find_pairs(
    train: Side, test: Side, values: NDArray[np.float32], measure: Measure, threshold: float, keep: int
) -> Overlap:
    """The pairs of two sides, by (test, train) bits apart or similarities; NaN where there is nothing to compare.

    `keep` is how many pairs of a test video are kept.
    """
    sign, apart = (1, bits_apart) if measure == "bits" else (-1, lambda one, other: -(one @ other.T))
    distances = sign * values
    near = distances <= (threshold if measure == "bits" else ROUNDING - threshold)  # no NaN is
    by_name = {name: place for place, name in enumerate(train.videos)}
    by_digest: dict[str, list[int]] = {}
    for place, digest in enumerate(train.digests):
        by_digest.setdefault(digest, []).append(place)
    by_digest.pop("", None)  # unknown
    pairs, leaked, found = [], [], 0
    for row, (name, digest) in enumerate(zip(test.videos, test.digests)):
        why = np.where(near[row], WHY.index("alike"), len(WHY))
        why[by_digest.get(digest, [])] = WHY.index("same file")
        if name in by_name:
            why[by_name[name]] = WHY.index("same name")
        places = np.flatnonzero(why < len(WHY))
        if not len(places):
            continue
        found += len(places)
        leaked.append(name)
        for place in places[np.lexsort((places, distances[row, places], why[places]))][:keep]:  # NaN is last
            pair = NearPair(train.videos[place], name, WHY[why[place]])
            if not np.isnan(values[row, place]):
                train_s, test_s = _moment(train, place, test, row, apart)
                pair = replace(pair, value=float(values[row, place]), train_s=train_s, test_s=test_s)
            pairs.append(pair)
    blank = [name for side in (train, test) for name, count in zip(side.videos, np.diff(side.starts)) if not count]
    return Overlap(
        measure=measure,
        threshold=threshold,
        pairs=tuple(pairs),
        found=found,
        leaked=tuple(leaked),
        train=len(train),
        test=len(test),
        blank=tuple(dict.fromkeys(blank)),
    )


def bits_apart(one: NDArray[np.uint64], other: NDArray[np.uint64]) -> NDArray[np.uint8]:
    """(A, words) and (B, words) hashes -> (A, B) bits in which they differ."""
    apart = np.zeros((len(one), len(other)), np.uint8)
    for word in range(one.shape[1]):
        apart += np.bitwise_count(one[:, word, None] ^ other[None, :, word])
    return apart


def _moment(
    train: Side, train_video: int, test: Side, test_video: int, apart: Callable[[Items, Items], Items]
) -> tuple[float, float]:
    """The seconds of the two items that are nearest; of several, the earliest of the test video."""
    ours, theirs = train.rows(train_video, train_video + 1), test.rows(test_video, test_video + 1)
    items = train.items[ours]
    nearest = (np.inf, 0, 0)
    rows = max(1, CELLS // len(items))
    for row in range(theirs.start, theirs.stop, rows):
        block = apart(test.items[row : min(row + rows, theirs.stop)], items)
        place, item = divmod(int(block.argmin()), len(items))
        nearest = min(nearest, (float(block[place, item]), row + place, ours.start + item))
    return float(train.times[nearest[2]]), float(test.times[nearest[1]])
