"""Near-duplicate videos by a stream of a feature store.

    v(c) = mean over time of the stream of clip c
    m    = mean of v over all clips that are compared, of both sides; a clip on both counts twice
    similarity of two clips  = cosine of v(a) - m and v(b) - m
    similarity of two videos = the largest over their clips

What all clips share (m) does not distinguish them; with it, all clips are similar. Memory holds v of all clips,
and one value a pair of videos. Products are float32: similarities are exact to about 1e-6.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mee.data import video_contents
from mee.errors import InputError
from mee.near_duplicates.overlap import KEEP, Overlap, Side, find_pairs

if TYPE_CHECKING:
    from mee.data import FeatureSource
    from mee.near_duplicates.sides import ClipsOfVideos

STREAM_THRESHOLD = 0.85
RUN = 1024  # clips of either side at a time
READ = 64  # streams in memory at a time
FEW = 50  # clips whose mean is a poor estimate of what all clips share


def near_streams(
    source: FeatureSource,
    stream: str,
    train: ClipsOfVideos,
    test: ClipsOfVideos,
    *,
    threshold: float = STREAM_THRESHOLD,
    keep: int = KEEP,
    on_done: Callable[[int, int], None] | None = None,
) -> Overlap:
    """Find the training videos that are near each test video.

    Near ones are at least so similar as the threshold; `keep` pairs of each test video are kept; `on_done` is
    called with the number of clips read, and of all.

    Raises:
        InputError: the threshold is out of range, or the stream is not in the source, of no clip, or damaged.
    """
    if not -1 <= threshold <= 1:
        raise InputError(
            f"--threshold: similarities go from -1 to 1, so {threshold:g} is out of range; try {STREAM_THRESHOLD}"
        )
    if not source.dims.get(stream):  # 0: it holds words
        vectors = (name for name, dim in source.dims.items() if dim)
        raise InputError(f"{source.name} has no stream '{stream}'; it has {', '.join(vectors)}")
    done, total = 0, sum(len(clip_ids) for side in (train, test) for clip_ids in side.values())

    def report(clips: int) -> None:
        nonlocal done
        done += clips
        if on_done is not None:
            on_done(done, total)

    sides = [_read(source, stream, side, report) for side in (train, test)]
    pooled = np.concatenate([side.items for side in sides])
    if not len(pooled):
        raise InputError(f"{source.name}: no clip that is compared has the stream '{stream}'")
    ours, theirs = (_centred(side, pooled.mean(0, dtype=np.float64)) for side in sides)
    values = np.full((len(theirs), len(ours)), np.nan, np.float32)
    for first, last in ours.runs(RUN):
        columns, starts = ours.seen(first, last)
        for start, end in theirs.runs(RUN):
            rows, row_starts = theirs.seen(start, end)
            if len(columns) and len(rows):
                products = theirs.items[theirs.rows(start, end)] @ ours.items[ours.rows(first, last)].T
                largest = np.maximum.reduceat(np.maximum.reduceat(products, starts, axis=1), row_starts, axis=0)
                values[np.ix_(start + rows, first + columns)] = largest
    np.clip(values, -1, 1, out=values)
    return find_pairs(ours, theirs, values, "similarity", threshold, keep)


def _read(source: FeatureSource, stream: str, clips: ClipsOfVideos, report: Callable[[int], None]) -> Side:
    """A side's clips that have the stream, pooled over time."""
    ids = [clip_id for clip_ids in clips.values() for clip_id in clip_ids]
    pooled = {}
    for first in range(0, len(ids), READ):
        batch = ids[first : first + READ]
        for clip_id, rows in zip(batch, source.read(stream, batch)):
            if rows is None or not len(rows):
                continue
            pooled[clip_id] = np.asarray(rows).mean(0, dtype=np.float64).astype(np.float32)
            if not np.isfinite(pooled[clip_id]).all():
                fault = "holds NaN or infinite values; extract or import it again"
                raise InputError(f"{source.name}: '{stream}' of clip '{clip_id}' {fault}")
        report(len(batch))
    contents = video_contents(source, clips)
    begins = dict(zip(source.clips.index, source.clips["start_s"]))
    have = [[clip_id for clip_id in clip_ids if clip_id in pooled] for clip_ids in clips.values()]
    empty = np.empty((0, source.dims[stream]), np.float32)
    return Side.of(
        tuple(clips),
        tuple(contents.get(video, "") for video in clips),
        [np.array([pooled[clip_id] for clip_id in some]) if some else empty for some in have],
        [np.array([begins[clip_id] for clip_id in some]) for some in have],
    )


def _centred(side: Side, centre: NDArray[np.float64]) -> Side:
    """With unit vectors from the centre; zero where a clip is the centre."""
    vectors = side.items - centre
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit = np.divide(vectors, norms, out=np.zeros_like(vectors), where=norms > 0)
    return replace(side, items=unit.astype(np.float32))
