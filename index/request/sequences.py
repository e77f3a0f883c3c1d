"""Sequences: what comes first, what comes next, and so on, as moments of one video.

    s(v) = max over c_1, ..., c_P of v of the mean of s_p(c_p),   0 <= start(c_p+1) - end(c_p) <= within

s_p: the score by part p. The most that a chain adds up to behind a clip, or before it, follows from the clips that
are neighbours of it in order of time.

Of each clip and part there is an upper bound. A video scores at most the mean of its highest bounds. In falling
order of that, videos are looked at until it is below the k-th best s(v) so far; what may be in a chain that is as
good is scored exactly.

Kinds without bounds, and databases, list clips of each part by their scores; the others score at most u_p, that of
the last. Where the mean of u_p is as good as the k-th best s(v), the lists are made longer, of videos alone in
which clips follow each other.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import reduce
from itertools import count
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from index.exact import Ranked, UpperBounds, exact_scores
from index.hit import VideoHits, hits_of
from index.queries import pattern_vectors
from index.request.request import Request
from index.video_index import both

if TYPE_CHECKING:
    from index.queries import Doubles, Queries, Vectors
    from index.scanners import Partition, Rows
    from index.video_index import Masks, VideoIndex

SLACK_S = 1e-3  # by which a moment may begin too early or too late
ROUNDED = 1e-9  # above what is lost where scores are added up in another order
LISTED = 16  # clips in a list for each video that is wanted
WIDER = 8  # times as many in the next lists
LOOKED, MORE = 8, 8  # videos looked at first, for each one that is wanted; times more the next time
# of a video: -s(v), v, segments and rows of their tables of its moments, and their scores
Chain = tuple[float, str, list[tuple[int, int]], list[float]]
ORDER = [(name, "ascending") for name in ("video", "start_s", "end_s", "clip_id")]


def best_sequences(
    index: VideoIndex, queries: Queries, request: Request, where: Masks | None = None
) -> list[VideoHits]:
    """The videos with the best sequences of a request, the best first, equal ones by name; their moments by time.

    A clip is one moment of a sequence at most. Of equal sequences of a video, the one that begins first is taken,
    then the one that goes on first.

    Args:
        queries: P, of the parts of the request.
        where: which clips may be found, as of `VideoIndex.rank`.
    """
    index.snapshot.check()
    found = (sequences_of if index.remote is None else index.remote.sequences)(index, queries, request, where)
    if not found:
        return []
    segments, moments = index.snapshot.segments, np.array([its[3] for its in found], np.float32).T
    places = [
        segments[number].place(row) for by_part in zip(*(its[2] for its in found)) for number, row in by_part
    ]
    partitions, rows = zip(*filter(None, places))
    ranked = Ranked(
        partitions, moments, np.arange(len(rows)).reshape(moments.shape), np.reshape(rows, moments.shape)
    )
    by_time = zip(*hits_of(ranked, queries, index, plain=request.plain))
    return [
        VideoHits(rank, video, -score, tuple(replace(hit, rank=n) for n, hit in enumerate(hits, start=1)))
        for rank, ((score, video, *_), hits) in enumerate(zip(found, by_time), start=1)
    ]


def sequences_of(index: VideoIndex, queries: Queries, request: Request, where: Masks | None = None) -> list[Chain]:
    """The same by where their moments are, scored here."""
    for wider in (WIDER**n for n in count()):
        partitions = index.partitions(where)
        if not partitions:
            return []
        vectors = pattern_vectors(queries, index.layout, partitions, subtract=not request.plain)
        search = _Search(index, partitions, vectors, request)
        if (index.proven or request.exact) and index.snapshot.again is None:
            upper = UpperBounds(partitions, vectors)
            search.run(upper.all(), upper)
            break
        k = wider * LISTED * request.top
        most, rest = search.listed(
            index.rank(queries, k, where=where, plain=request.plain, exact=request.exact), k
        )
        search.run(most, rest=rest)
        if rest == -np.inf or rest < search.wanted:
            break
        if wider == 1:
            where = both(where, search.possible())
    return search.best()


@dataclass(frozen=True)
class _Clips:
    """N clips of V videos, by video, then time; those of equal times by id."""

    place: Rows  # (N,) among all rows of the partitions
    video: Rows  # (V,) numbers of the videos
    first: Rows  # (V + 1,) where the clips of each begin
    follow: Rows  # (N, 2) the clips that may follow each: the first, and behind the last
    by_end: Rows  # (N,) the same clips by video, then by their ends
    precede: Rows  # (N, 2) in that order, the clips that may precede each, and none that may not by much

    def by_video(self, values: Doubles) -> Doubles:
        """(N,) -> (V,) the largest of each video."""
        return np.maximum.reduceat(values, self.first[:-1])

    def chains(self, scores: Doubles) -> Doubles:
        """(P, N) scores -> the most that a chain adds up to from a clip on, which is the moment of each part."""
        sums = scores.copy()
        for part in range(len(scores) - 2, -1, -1):
            sums[part] += _largest(sums[part + 1], self.follow)
        return sums

    def before(self, scores: Doubles) -> Doubles:
        """(P, N) scores -> at least what a chain adds up to before a clip, which is the moment of each part."""
        sums = np.zeros_like(scores)
        for part in range(1, len(scores)):
            sums[part] = _largest((sums[part - 1] + scores[part - 1])[self.by_end], self.precede)
        return sums


def _largest(values: Doubles, spans: Rows) -> Doubles:
    """(N,) values, (N, 2) spans of them -> (N,) the largest in each; -inf: there are none."""
    found = np.maximum.reduceat(np.append(values, -np.inf), spans.ravel())[::2]
    return np.where(spans[:, 0] < spans[:, 1], found, -np.inf)


def _mean(scores: Doubles) -> Doubles:
    """(P, ...) -> their mean, added up as chains are: rounded as well, a bound is not below what it bounds."""
    return np.asarray(reduce(lambda later, score: score + later, scores[::-1]) / len(scores))


@dataclass
class _Search:
    """One search in R rows of partitions, of W videos."""

    index: VideoIndex
    partitions: Sequence[Partition]
    vectors: Vectors
    request: Request
    looked: list[tuple[_Clips, Doubles]] = field(default_factory=list)  # clips, and (P, N) what is known of them

    def __post_init__(self) -> None:
        self.names, videos = self.index.snapshot.videos
        self.first = np.cumsum([0, *(len(its.rows) for its in self.partitions)])
        self.row = np.concatenate([its.rows for its in self.partitions])  # (R,) in the tables
        self.video = np.concatenate(
            [videos[its.segment][its.rows] for its in self.partitions]
        )  # (R,) -1: not found
        for start, its in zip(self.first.tolist(), self.partitions):
            if its.allowed is not None:
                self.video[start : start + len(its.rows)][~its.allowed.mask] = -1
        self.scores = np.full(len(self.names), -np.inf)  # (W,) at least

    @property
    def wanted(self) -> float:
        """What a video must score at least to be found."""
        top, least = self.request.top, self.request.min_score
        known = self.scores[self.scores > -np.inf]
        kth = float(np.partition(known, -top)[-top]) if len(known) >= top else -np.inf
        return kth if least is None else max(kth, least)

    def listed(self, found: Ranked, k: int) -> tuple[Doubles, float]:
        """(P, R) scores of the best k clips by each part, of others at most; and at most those of other videos."""
        others = np.array([scores[-1] if len(scores) == k else -np.inf for scores in found.scores], np.float64)
        most = np.where(self.covers(np.arange(len(self.video))), others[:, None], -np.inf)
        part, at = (found.number >= 0).nonzero()
        most[part, self.first[found.number[part, at]] + found.row[part, at]] = found.scores[part, at]
        return most, float(_mean(others))

    def run(self, most: Doubles, upper: UpperBounds | None = None, rest: float = -np.inf) -> None:
        """Look at all videos that may be among the best, where they may score more than the rest.

        Args:
            most: (P, R) what clips score at most; -inf: they cannot be a moment of the part.
            upper: their bounds; None: those of clips that score more than others are their scores.
        """
        best, here = np.full((len(most), len(self.names)), -np.inf), np.flatnonzero(self.video >= 0)
        for its, scores in zip(best, most):
            np.maximum.at(its, self.video[here], scores[here])
        bounds = _mean(best)
        order, size = np.argsort(-bounds, kind="stable"), LOOKED * self.request.top
        order = order[: np.count_nonzero(bounds > rest)]
        while len(order := order[bounds[order] >= self.wanted]):
            some = np.zeros(len(self.names) + 1, dtype=bool)  # the last one: what is not found
            some[order[:size]] = True
            place = np.flatnonzero(some[self.video])
            video = self.video[place]
            less = (best[:, video] - most[:, place]).min(0) / len(best)  # than its video's bound, in any chain
            clips = self.clips(place[bounds[video] - less + ROUNDED >= self.wanted])
            self._score(clips, most[:, clips.place], upper)
            order, size = order[size:], MORE * size

    def clips(self, place: Rows) -> _Clips:
        """Some rows."""
        import pyarrow as pa
        import pyarrow.compute as pc  # here: most searches need none of it

        segment = np.array([its.segment for its in self.partitions])[self._number(place)]
        tables = []
        for number in np.unique(segment).tolist():
            table = self.index.snapshot.segments[number].table.arrow.select(["start_s", "end_s", "clip_id"])
            tables.append(table.take(pa.array(self.row[place[segment == number]])))
        facts = pa.concat_tables(tables).append_column("video", pa.array(self.video[place]))
        order = np.asarray(pc.sort_indices(facts, ORDER))
        place, video = place[order], self.video[place[order]]
        videos, first = np.unique(video, return_index=True)
        # complex numbers are ordered by their real parts first
        starts, ends = (video + 1j * np.asarray(facts[name])[order] for name in ("start_s", "end_s"))
        slack, longest, by_end = 1j * SLACK_S, 1j * self.request.within, np.argsort(ends, kind="stable")
        follow = (
            np.searchsorted(starts, ends - slack),
            np.searchsorted(starts, ends + longest + slack, side="right"),
        )
        follow = np.maximum(follow[0], np.arange(1, len(order) + 1)), follow[1]
        earlier, later = starts - longest - 2 * slack, starts + 2 * slack
        precede = np.searchsorted(ends[by_end], earlier), np.searchsorted(ends[by_end], later, side="right")
        spans = (np.stack(each, axis=1) for each in (follow, precede))
        return _Clips(place, videos, np.append(first, len(order)), next(spans), by_end, next(spans))

    def _number(self, place: Rows) -> Rows:
        """The partitions of some rows."""
        return np.searchsorted(self.first, place, side="right") - 1

    def covers(self, place: Rows) -> NDArray[np.bool_]:
        """(P, N) whether rows have experts of a part."""
        return np.stack([self.vectors[its.pattern].covers for its in self.partitions])[self._number(place)].T

    def possible(self) -> Masks:
        """The clips of videos that have a sequence, good or bad."""
        names, videos = self.index.snapshot.videos
        clips, some = self.clips(np.flatnonzero(self.video >= 0)), np.zeros(len(names), dtype=bool)
        chains = clips.chains(np.where(self.covers(clips.place), 0.0, -np.inf))
        some[clips.video] = clips.by_video(chains[0]) > -np.inf
        return [some[its] for its in videos]

    def _score(self, clips: _Clips, most: Doubles, upper: UpperBounds | None) -> None:
        """Score all that may be in one of the best sequences; at first, what is in the best of each video."""
        known, number = np.isneginf(most), self._number(clips.place)
        row = clips.place - self.first[number]
        for step in ("best", *range(len(most)), "rest")[self.wanted > -np.inf :]:
            reached = (clips.before(most) + clips.chains(most)) / len(most) + ROUNDED
            unknown = ~known & (reached >= self.wanted) & (reached > -np.inf)
            if isinstance(step, int):  # what is in the way of a clip of one part is often told by that alone
                if upper is not None:
                    at = np.flatnonzero(unknown[step])
                    tighter = np.minimum(most[:, at], upper.tighter(number[at], row[at]))
                    most[:, at] = np.where(known[:, at], most[:, at], tighter)
                continue
            if step == "best":
                highest = np.repeat(clips.by_video(reached.max(0)), np.diff(clips.first))
                unknown &= reached >= highest - 2 * ROUNDED
            for part, at in enumerate(map(np.flatnonzero, unknown)):
                query = np.full(len(at), part)
                score = exact_scores(self.partitions, self.vectors, query, number[at], row[at]).score
                if upper is not None and (wrong := score > most[part, at]).any():
                    raise self.partitions[int(number[at][wrong][0])].damaged()
                most[part, at] = score
            known |= unknown
            sure = np.where(known, most, -np.inf)
            self.scores[clips.video] = clips.by_video(clips.chains(sure)[0]) / len(most)
        self.looked.append((clips, sure))

    def best(self) -> list[Chain]:
        """The best videos."""
        found: list[Chain] = []
        for clips, scores in self.looked:
            found += self._chains(clips, scores)
        return sorted(found)[: self.request.top]

    def _chains(self, clips: _Clips, scores: Doubles) -> Iterator[Chain]:
        """Of those of the best videos that are here."""
        sums, wanted = clips.chains(scores), self.wanted
        for n in np.flatnonzero(self.scores[clips.video] >= max(wanted, np.finfo(np.float64).min)).tolist():
            chain, some = [], clips.first[n : n + 2]
            for its in sums:
                chain.append(int(some[0] + its[slice(*some)].argmax()))  # the first of equal ones
                some = clips.follow[chain[-1]]
            video = clips.video[n]
            moments = scores[np.arange(len(chain)), chain].tolist()
            place = clips.place[chain]
            segments = [self.partitions[number].segment for number in self._number(place).tolist()]
            places = [*zip(segments, self.row[place].tolist())]
            yield -float(self.scores[video]), self.names[video], places, moments
