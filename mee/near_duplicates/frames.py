"""Near-duplicate videos by the perceptual hashes of their frames.

    d(x, y)        bits in which the hashes of two frames differ
    met(a, b)      the smallest n so that at least `share` of a's frames have a frame of b within n bits
    apart(a, b)  = min(met(a, b), met(b, a))

So a video is found in a longer one of which it is a part, and two that have half of one in common; a title picture
that two videos share makes them no pair. Every pair of frames is looked at, in blocks of CELLS distances of one
byte: of one test video, and of the training videos of a chunk. The hashes are those of features/hashing.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import final

import numpy as np
from numpy.typing import NDArray

from mee.errors import InputError
from mee.near_duplicates.overlap import KEEP, NearestTrain, NearPair, Overlap, Side, at_moments

THRESHOLD = 32  # bits of 128; benchmarks/near_duplicates.py shows why
SHARE = 0.5
CELLS = 1 << 19  # frame pairs at a time: their distances stay in the cache
CHUNK_FRAMES, CHUNK_VIDEOS = 8192, 512  # of the training side at a time; a longer video is a chunk of its own

Distances = NDArray[np.uint8]


@final
@dataclass(frozen=True, eq=False)
class FrameHashes:
    """A side's frames: those of video v are rows `starts[v]` to `starts[v + 1]`."""

    side: Side
    starts: NDArray[np.int64]  # (N + 1,)
    hashes: NDArray[np.uint64]  # (F, WORDS), at most 255 bits
    times: NDArray[np.float32]  # (F,) seconds

    @classmethod
    def of(
        cls,
        videos: tuple[str, ...],
        digests: tuple[str, ...],
        hashes: list[NDArray[np.uint64]],
        times: list[NDArray[np.float32]],
    ) -> FrameHashes:
        """From one array a video, (F, WORDS) and (F,); F may be 0.

        Raises:
            InputError: there are no videos.
        """
        if not videos:
            raise InputError("there are no videos to compare")
        starts = np.cumsum([0, *(len(some) for some in hashes)])
        return cls(Side(videos, digests), starts, np.concatenate(hashes), np.concatenate(times))

    def frames(self, video: int) -> slice:
        """The rows of one video."""
        return slice(int(self.starts[video]), int(self.starts[video + 1]))


def near_frames(
    train: FrameHashes,
    test: FrameHashes,
    *,
    threshold: int = THRESHOLD,
    share: float = SHARE,
    keep: int = KEEP,
    on_done: Callable[[int, int], None] | None = None,
) -> Overlap:
    """Find the training videos that are near each test video.

    Args:
        train: the training side.
        test: the test side.
        threshold: bits that near videos are apart, at most.
        share: of the frames of one video that the other has too, in (0, 1].
        keep: pairs a test video that are kept.
        on_done: told how many of how many frame pairs are done.

    Raises:
        InputError: the threshold or the share is out of range.
    """
    check_threshold(threshold, 64 * train.hashes.shape[1])
    if not 0 < share <= 1:
        raise InputError(f"--share must be above 0 and at most 1, got {share:g}")
    nearest = NearestTrain(train.side, test.side, "bits", keep)
    total, done = len(train.hashes) * len(test.hashes), 0
    for first, last in _chunks(train.starts):
        for video in range(len(test.side)):
            values = _apart(train, first, last, test.hashes[test.frames(video)], share)
            nearest.add(video, first, values, values <= threshold)
            done += int(train.starts[last] - train.starts[first]) * len(test.hashes[test.frames(video)])
            if on_done is not None:
                on_done(done, total)
    blank = [
        name for side in (train, test) for name, count in zip(side.side.videos, np.diff(side.starts)) if not count
    ]
    overlap = nearest.result(threshold, list(dict.fromkeys(blank)))
    places = [{name: place for place, name in enumerate(side.side.videos)} for side in (train, test)]
    return at_moments(overlap, [_moment(pair, train, test, places) for pair in overlap.pairs])


def check_threshold(threshold: int, bits: int) -> None:
    """Refuse a threshold that all frames, or none, would meet.

    Raises:
        InputError: it is out of range.
    """
    if not 0 <= threshold < bits:
        raise InputError(
            f"--threshold: frames are 0 to {bits} bits apart, so {threshold:g} tells nothing; try {bits // 4}"
        )


def distances(one: NDArray[np.uint64], other: NDArray[np.uint64]) -> Distances:
    """(A, WORDS) and (B, WORDS) hashes -> (A, B) bits in which they differ."""
    apart = np.zeros((len(one), len(other)), np.uint8)
    for word in range(one.shape[1]):
        apart += np.bitwise_count(one[:, word, None] ^ other[None, :, word])
    return apart


def _chunks(starts: NDArray[np.int64]) -> Iterator[tuple[int, int]]:
    """Runs of videos of so many frames, each from its first video to the one after its last."""
    first = 0
    while first < len(starts) - 1:
        fitting = int(np.searchsorted(starts, starts[first] + CHUNK_FRAMES, side="right")) - 1
        last = min(max(fitting, first + 1), first + CHUNK_VIDEOS, len(starts) - 1)
        yield first, last
        first = last


def _apart(
    train: FrameHashes, first: int, last: int, frames: NDArray[np.uint64], share: float
) -> NDArray[np.float64]:
    """(V,) bits between the training videos of a chunk and one test video of (A, WORDS) frames; NaN: no frames."""
    values = np.full(last - first, np.nan)
    counts = np.diff(train.starts[first : last + 1])
    seen = np.flatnonzero(counts)
    if not len(seen) or not len(frames):
        return values
    chunk = train.hashes[train.starts[first] : train.starts[last]]
    starts = train.starts[first:last][seen] - train.starts[first]
    of_test = np.empty((len(frames), len(seen)), np.uint8)  # each test frame's distance to each training video
    of_train = np.full(len(chunk), 255, np.uint8)  # each training frame's distance to the test video
    rows = max(1, CELLS // len(chunk))
    for row in range(0, len(frames), rows):
        block = distances(frames[row : row + rows], chunk)
        np.minimum.reduceat(block, starts, axis=1, out=of_test[row : row + rows])
        np.minimum(of_train, block.min(axis=0), out=of_train)
    place = _place(np.array(len(frames)), share)
    met_in_train = np.partition(of_test, place, axis=0)[place]
    met_in_test = _ranked(of_train, counts[seen], _place(counts[seen], share))
    values[seen] = np.minimum(met_in_train, met_in_test)
    return values


def _place(counts: NDArray[np.int64], share: float) -> NDArray[np.int64]:
    """Which of so many values in ascending order has at least this share of them at or below it."""
    places: NDArray[np.int64] = np.maximum(np.ceil(share * counts - 1e-9).astype(np.int64), 1) - 1
    return places


def _ranked(values: Distances, counts: NDArray[np.int64], places: NDArray[np.int64]) -> Distances:
    """Of each run of so many values the one at its place in ascending order."""
    runs = np.repeat(np.arange(len(counts)), counts)
    ordered = np.sort(runs * 256 + values)
    ranked: Distances = (ordered[np.cumsum(counts) - counts + places] % 256).astype(np.uint8)
    return ranked


def _moment(
    pair: NearPair, train: FrameHashes, test: FrameHashes, places: list[dict[str, int]]
) -> tuple[float, float] | None:
    """The seconds of the two frames that are nearest; of several, the earliest of the test video."""
    ours, theirs = train.frames(places[0][pair.train]), test.frames(places[1][pair.test])
    if ours.start == ours.stop or theirs.start == theirs.stop:
        return None
    chunk, best = train.hashes[ours], (256, 0, 0)
    rows = max(1, CELLS // len(chunk))
    for row in range(theirs.start, theirs.stop, rows):
        block = distances(test.hashes[row : min(row + rows, theirs.stop)], chunk)
        place, frame = divmod(int(block.argmin()), len(chunk))
        best = min(best, (int(block[place, frame]), row + place, ours.start + frame))
    return float(train.times[best[2]]), float(test.times[best[1]])
