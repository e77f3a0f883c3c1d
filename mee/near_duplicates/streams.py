"""Near-duplicate videos by a stream of a feature store.

    v(c) = mean over time of the stream of clip c
    m    = mean of v over all clips that are compared, of both sides
    similarity of two clips  = cosine of v(a) - m and v(b) - m
    similarity of two videos = the largest over their clips

What all clips share (m) says nothing of likeness; left in, it makes all clips alike. The store is read twice, for
m and then to compare. Memory holds the vectors of the test clips and of one chunk of training clips, and never a
matrix of all pairs. Products are float32: similarities are exact to 1e-6 or so.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, final

import numpy as np
from numpy.typing import NDArray

from mee.errors import InputError
from mee.near_duplicates.overlap import KEEP, NearestTrain, NearPair, Overlap, Side, at_moments

if TYPE_CHECKING:
    from mee.data.source import FeatureSource

THRESHOLD = 0.85
CHUNK_CLIPS = 1024  # of either side at a time; a video of more clips is a chunk of its own
READ_CLIPS = 64  # streams in memory at a time
ROUNDING = 2e-6  # by which a similarity may fall short of the threshold
FEW = 50  # clips whose mean is a poor guess of what all clips share

Vectors = NDArray[np.float32]  # (C, D), unit norm


@final
@dataclass(frozen=True, eq=False)
class ClipsOfVideos:
    """A side's clips: of each video those that are compared, in the order of the side."""

    side: Side
    clip_ids: tuple[tuple[str, ...], ...]  # at least one a video

    def chunks(self) -> Iterator[tuple[int, int]]:
        """Runs of videos of so many clips, each from its first video to the one after its last."""
        first, count = 0, 0
        for place, clip_ids in enumerate(self.clip_ids):
            if count and count + len(clip_ids) > CHUNK_CLIPS:
                yield first, place
                first, count = place, 0
            count += len(clip_ids)
        if count:
            yield first, len(self.clip_ids)


@final
@dataclass(frozen=True, eq=False)
class _Chunk:
    """The clips of some videos that have the stream."""

    first: int  # place of the first video
    counts: NDArray[np.int64]  # (V,) clips of each video; 0 where none has the stream
    vectors: Vectors  # (C, D)

    @property
    def seen(self) -> NDArray[np.intp]:
        """Which of its videos have clips."""
        return np.flatnonzero(self.counts)

    @property
    def starts(self) -> NDArray[np.int64]:
        """The first clip of each of those."""
        return (np.cumsum(self.counts) - self.counts)[self.seen]


def near_streams(
    source: FeatureSource,
    stream: str,
    train: ClipsOfVideos,
    test: ClipsOfVideos,
    *,
    threshold: float = THRESHOLD,
    keep: int = KEEP,
    on_done: Callable[[int, int], None] | None = None,
) -> Overlap:
    """Find the training videos that are near each test video.

    Args:
        source: where the streams are.
        stream: its name.
        train: the training side.
        test: the test side.
        threshold: similarity that near videos have, at least.
        keep: pairs a test video that are kept.
        on_done: told how many of how many clips are read.

    Raises:
        InputError: the threshold is out of range, or the stream is not in the source, of no clip, or damaged.
    """
    if not -1 <= threshold <= 1:
        raise InputError(
            f"--threshold: similarities go from -1 to 1, so {threshold:g} tells nothing; try {THRESHOLD}"
        )
    if stream not in source.dims:
        raise InputError(f"{source.name} has no stream '{stream}'; it has {', '.join(source.dims)}")
    reader = _Reader(source, stream, (train, test), on_done)
    centre = reader.centre()
    tests = [_centred(chunk, centre) for chunk in reader.chunks(test)]
    nearest = NearestTrain(train.side, test.side, "similarity", keep)
    blank = [_without(chunk, test.side) for chunk in tests]
    for chunk in reader.chunks(train):
        ours = _centred(chunk, centre)
        blank.append(_without(ours, train.side))
        for theirs in tests:
            _compare(nearest, ours, theirs, threshold)
    names = dict.fromkeys(name for some in blank for name in some)
    overlap = nearest.result(threshold, list(names))
    starts = dict(zip(source.clips.index, source.clips["start_s"]))
    return at_moments(overlap, list(_moments(overlap.pairs, train, test, reader, centre, starts)))


@final
class _Reader:
    """Reads clips of a stream, pooled over time."""

    def __init__(
        self,
        source: FeatureSource,
        stream: str,
        sides: tuple[ClipsOfVideos, ClipsOfVideos],
        on_done: Callable[[int, int], None] | None,
    ) -> None:
        self._source, self._stream, self._sides, self._on_done = source, stream, sides, on_done
        self._total = 2 * sum(len(clip_ids) for side in sides for clip_ids in side.clip_ids)
        self._done = 0

    def pooled(self, clip_ids: Sequence[str]) -> list[NDArray[np.float64] | None]:
        """The mean over time of each clip's stream, (D,); None where it is missing."""
        vectors: list[NDArray[np.float64] | None] = []
        for start in range(0, len(clip_ids), READ_CLIPS):
            for rows in self._source.read(self._stream, clip_ids[start : start + READ_CLIPS]):
                pooled = None if rows is None or not len(rows) else np.asarray(rows).mean(0, dtype=np.float64)
                vectors.append(pooled)
        for clip_id, vector in zip(clip_ids, vectors):
            if vector is not None and not np.isfinite(vector).all():
                raise InputError(
                    f"{self._source.name}: '{self._stream}' of clip '{clip_id}' holds NaN or infinite values; "
                    "extract or import it again"
                )
        return vectors

    def chunks(self, side: ClipsOfVideos) -> Iterator[_Chunk]:
        """A side, some videos at a time; vectors are not centred."""
        for first, last in side.chunks():
            videos = [(place, clip) for place in range(first, last) for clip in side.clip_ids[place]]
            pooled = self.pooled([clip_id for _, clip_id in videos])
            there = [(place, vector) for (place, _), vector in zip(videos, pooled) if vector is not None]
            counts = np.bincount([place - first for place, _ in there], minlength=last - first)
            vectors = np.array([vector for _, vector in there], np.float32)
            self._done += len(videos)
            if self._on_done is not None:
                self._on_done(self._done, self._total)
            yield _Chunk(first, counts, vectors.reshape(len(there), self._source.dims[self._stream]))

    def centre(self) -> NDArray[np.float64]:
        """(D,) the mean over all clips of both sides; a clip on both sides counts twice."""
        total, count = np.zeros(self._source.dims[self._stream]), 0
        for side in self._sides:
            for chunk in self.chunks(side):
                total += chunk.vectors.sum(0, dtype=np.float64)
                count += len(chunk.vectors)
        if not count:
            raise InputError(f"{self._source.name}: no clip that is compared has the stream '{self._stream}'")
        return total / count


def _centred(chunk: _Chunk, centre: NDArray[np.float64]) -> _Chunk:
    vectors = chunk.vectors - centre
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit = np.divide(vectors, norms, out=np.zeros_like(vectors), where=norms > 0)
    return _Chunk(chunk.first, chunk.counts, unit.astype(np.float32))


def _without(chunk: _Chunk, side: Side) -> list[str]:
    """The videos of a chunk that have no clip with the stream."""
    return [side.videos[chunk.first + place] for place in np.flatnonzero(chunk.counts == 0)]


def _compare(nearest: NearestTrain, train: _Chunk, test: _Chunk, threshold: float) -> None:
    """Add the pairs of two chunks."""
    values = np.full((len(test.counts), len(train.counts)), np.nan)
    if len(train.vectors) and len(test.vectors):
        products = np.maximum.reduceat(test.vectors @ train.vectors.T, train.starts, axis=1)
        values[np.ix_(test.seen, train.seen)] = np.maximum.reduceat(products, test.starts, axis=0)
    values = np.clip(values, -1, 1)
    near = values >= threshold - ROUNDING  # no NaN is
    some = near.any(axis=1)
    for place in range(len(test.counts)):
        video = test.first + place
        if some[place] or nearest.has_same(video):
            nearest.add(video, train.first, values[place], near[place])


def _moments(
    pairs: Sequence[NearPair],
    train: ClipsOfVideos,
    test: ClipsOfVideos,
    reader: _Reader,
    centre: NDArray[np.float64],
    starts: dict[str, float],
) -> Iterator[tuple[float, float] | None]:
    """Where the two most similar clips of each pair begin, seconds."""
    sides = [dict(zip(side.side.videos, side.clip_ids)) for side in (train, test)]
    for pair in pairs:
        clips = sides[0][pair.train], sides[1][pair.test]
        if len(clips[0]) == len(clips[1]) == 1:
            yield (starts[clips[0][0]], starts[clips[1][0]]) if pair.value is not None else None
            continue
        both = []
        for clip_ids in clips:
            vectors = reader.pooled(clip_ids)
            kept = [(clip_id, vector - centre) for clip_id, vector in zip(clip_ids, vectors) if vector is not None]
            both.append(
                ([clip_id for clip_id, _ in kept], np.array([v / (np.linalg.norm(v) or 1) for _, v in kept]))
            )
        if not both[0][0] or not both[1][0]:
            yield None
            continue
        ours, theirs = np.unravel_index(np.argmax(both[0][1] @ both[1][1].T), (len(both[0][0]), len(both[1][0])))
        yield starts[both[0][0][ours]], starts[both[1][0][theirs]]
