"""Near-duplicate videos by the perceptual hashes of their frames (features/hashing.py).

    d(x, y)        bits in which the hashes of two frames differ
    met(a, b)      the smallest n so that at least `share` of a's frames have a frame of b within n bits
    apart(a, b)  = min(met(a, b), met(b, a))

This finds a video in a longer one of which it is a part, and two that share half of one; a shared title picture
alone makes no pair. All pairs of frames are compared, in blocks of CELLS one-byte distances: of one test video,
and of a run of training videos.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import numpy as np
from numpy.typing import NDArray

from mee.errors import InputError
from mee.near_duplicates.overlap import CELLS, KEEP, Overlap, Side, bits_apart, find_pairs

FRAME_THRESHOLD = 32  # bits of 128; benchmarks/near_duplicates.py shows why
SHARE = 0.5
RUN = 8192  # frames of the training side at a time


def near_frames(
    train: Side,
    test: Side,
    *,
    threshold: int = FRAME_THRESHOLD,
    share: float = SHARE,
    keep: int = KEEP,
    on_done: Callable[[int, int], None] | None = None,
) -> Overlap:
    """Find the training videos that are near each test video.

    Near ones have a `share` of their frames, in (0, 1], at most `threshold` bits apart; `keep` pairs of each test
    video are kept; `on_done` is called with the number of compared frame pairs, and of all.

    Raises:
        InputError: the threshold or the share is out of range.
    """
    check_threshold(threshold, 64 * train.items.shape[1])
    if not 0 < share <= 1:
        raise InputError(f"--share must be above 0 and at most 1, got {share:g}")
    values = np.full((len(test), len(train)), np.nan, np.float32)
    total, done = len(train.items) * len(test.items), 0
    for first, last in train.runs(RUN):
        for video in range(len(test)):
            frames = test.items[test.rows(video, video + 1)]
            places, starts = train.seen(first, last)
            ours = train.items[train.rows(first, last)]
            if len(places) and len(frames):
                values[video, first + places] = _apart(ours, starts, frames, share)
            done += len(ours) * len(frames)
            if on_done is not None:
                on_done(done, total)
    return find_pairs(train, test, values, "bits", threshold, keep)


def check_threshold(threshold: int, bits: int) -> None:
    """Refuse a threshold that all frames, or none, would meet."""
    if not 0 <= threshold < bits:
        raise InputError(
            f"--threshold: frames are 0 to {bits} bits apart, so {threshold:g} is out of range; try {bits // 4}"
        )


def _apart(
    train: NDArray[np.uint64], starts: NDArray[np.int64], frames: NDArray[np.uint64], share: float
) -> NDArray[np.uint8]:
    """(V,) bits between training videos, which start at these rows, and a test video; all have frames."""
    counts = np.diff([*starts, len(train)])
    of_test = np.empty((len(frames), len(starts)), np.uint8)  # each test frame's distance to each training video
    of_train = np.full(len(train), 255, np.uint8)  # each training frame's distance to the test video
    rows = max(1, CELLS // len(train))
    for row in range(0, len(frames), rows):
        block = bits_apart(frames[row : row + rows], train)
        np.minimum.reduceat(block, starts, axis=1, out=of_test[row : row + rows])
        np.minimum(of_train, block.min(axis=0), out=of_train)
    place = _place(np.array(len(frames)), share)
    met_in_train = np.partition(of_test, place, axis=0)[place]
    runs = np.repeat(np.arange(len(counts)), counts)
    ordered = np.sort(runs * 256 + of_train)  # each video's own, in ascending order
    met_in_test = ordered[starts + _place(counts, share)] % 256
    return cast(NDArray[np.uint8], np.minimum(met_in_train, met_in_test))


def _place(counts: NDArray[np.int64], share: float) -> NDArray[np.int64]:
    """The place, among so many values in ascending order, at or below which at least this share of them is."""
    return cast(NDArray[np.int64], np.ceil(share * counts - 1e-9).astype(np.int64).clip(min=1) - 1)
