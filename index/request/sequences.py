"""Sequences: what comes first, what comes next, and so on, as moments of one video.

    s(v) = max over c_1, ..., c_P of v of the mean of s_p(c_p),   0 <= start(c_p+1) - end(c_p) <= within

s_p: the score by part p. The most that a chain adds up to behind a clip, or before it, follows from the clips that
are neighbours of it in order of time.

Of each part the best clips are listed: what its list lacks scores at most u_p, as the last one there. A video of
which no clip is listed has at most the mean of all u_p. In the others, chains of listed clips give a first k-th
best s(v), and what else may be in a chain that is as good, with u_p for all that is not known, is scored exactly.
Where the mean of u_p is as good, too, the lists are made longer, of videos alone in which clips follow each other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import reduce
from itertools import compress
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from index.exact import Ranked, exact_scores
from index.hit import VideoHits, hits_of
from index.queries import pattern_vectors
from index.request.request import Request
from index.video_index import both

if TYPE_CHECKING:
    import pyarrow as pa

    from index.queries import Doubles, Queries, Vectors
    from index.scanners import Partition, Rows
    from index.video_index import Masks, VideoIndex

SLACK_S = 1e-3  # by which a moment may begin too early or too late
ROUNDED = 1e-9  # above what is lost where scores are added up in another order
LISTED, WIDER = 16, 8  # clips of each part's first list, for each video that is wanted; times more in the next one
SCORED, MORE = 2, 4  # videos that are scored first, for each one that is wanted; times more the next time
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
    first = count = LISTED * request.top
    while True:
        ranked = index.rank(queries, count, where=where, plain=request.plain, exact=request.exact)
        if not ranked.number.size:
            return []
        vectors = pattern_vectors(queries, index.layout, ranked.partitions, subtract=not request.plain)
        search = _Search.of(index, ranked, vectors, request, count)
        wanted, rest = search.complete(), search.rest
        if rest == -np.inf or rest < wanted:
            return search.hits(index, queries, wanted)
        if count == first:
            where = both(
                where, index.of_videos(_Clips.of(index, ranked.partitions, request.within).possible(vectors))
            )
        count *= WIDER


@dataclass(frozen=True)
class _Clips:
    """N clips of V videos, by video, then time; those of equal times by id."""

    partitions: Sequence[Partition]
    number: Rows  # (N,) their partitions
    row: Rows  # (N,) their rows in them
    videos: Sequence[str]  # V
    first: Rows  # (V + 1,) where the clips of each begin
    follow: Rows  # (N, 2) the clips that may follow each: the first, and behind the last
    by_end: Rows  # (N,) the same clips by video, then by their ends
    precede: Rows  # (N, 2) in that order, the clips that may precede each, and none that may not by much

    @classmethod
    def of(
        cls,
        index: VideoIndex,
        partitions: Sequence[Partition],
        within: float,
        videos: Sequence[str] | None = None,
    ) -> _Clips:
        """The clips of some videos that may be found, None: of all."""
        import pyarrow as pa
        import pyarrow.compute as pc

        tables = [segment.table.arrow["video"] for segment in index.snapshot.segments]
        if videos is None:
            videos = pc.unique(pa.chunked_array([part for its in tables for part in its.chunks])).to_pylist()
        names = pa.array(videos, pa.string())
        codes = [np.asarray(pc.index_in(its, value_set=names).fill_null(-1)) for its in tables]
        rows = [its.found[codes[its.segment][its.rows[its.found]] >= 0] for its in partitions]
        code = np.concatenate([codes[its.segment][its.rows[row]] for its, row in zip(partitions, rows)])
        facts = _table(index, partitions, rows, "start_s", "end_s", "clip_id").append_column("video", [code])
        order = np.asarray(pc.sort_indices(facts, ORDER))
        there, first = np.unique(code[order], return_index=True)
        # complex numbers are ordered by their real parts first
        starts, ends = (code[order] + 1j * np.asarray(facts[name])[order] for name in ("start_s", "end_s"))
        slack, longest, by_end = 1j * SLACK_S, 1j * within, np.argsort(ends, kind="stable")
        follow = (
            np.searchsorted(starts, ends - slack),
            np.searchsorted(starts, ends + longest + slack, side="right"),
        )
        earlier, later = starts - longest - 2 * slack, starts + 2 * slack
        precede = np.searchsorted(ends[by_end], earlier), np.searchsorted(ends[by_end], later, side="right")
        return cls(
            partitions,
            np.repeat(np.arange(len(rows)), list(map(len, rows)))[order],
            np.concatenate(rows)[order],
            [videos[n] for n in there],
            np.append(first, len(order)),
            np.stack([np.maximum(follow[0], np.arange(1, len(order) + 1)), follow[1]], axis=1),
            by_end,
            np.stack(precede, axis=1),
        )

    def covers(self, queries: Vectors) -> NDArray[np.bool_]:
        """(P, N) whether a clip has experts of a part."""
        return np.stack([queries[partition.pattern].covers for partition in self.partitions])[self.number].T

    def possible(self, queries: Vectors) -> list[str]:
        """The videos that have a sequence."""
        some = self.by_video(self.chains(np.where(self.covers(queries), 0.0, -np.inf))[0]) > -np.inf
        return [*compress(self.videos, some.tolist())]

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


def _table(index: VideoIndex, partitions: Sequence[Partition], rows: Sequence[Rows], *names: str) -> pa.Table:
    """Columns of some rows of each partition, one partition after another."""
    import pyarrow as pa  # here: most searches need none of it

    tables = (index.snapshot.segments[partition.segment].table.arrow.select(names) for partition in partitions)
    return pa.concat_tables(each.take(its.rows[row]) for each, its, row in zip(tables, partitions, rows))


@dataclass(frozen=True)
class _Search:
    """The search in the videos of which a clip is listed."""

    clips: _Clips
    vectors: Vectors
    request: Request
    last: Doubles  # (P,) what is not listed scores at most; -inf: all is
    most: Doubles  # (P, N) what clips score at most
    known: NDArray[np.bool_]  # (P, N) whether they score just that

    @classmethod
    def of(cls, index: VideoIndex, ranked: Ranked, vectors: Vectors, request: Request, count: int) -> _Search:
        """ranked: lists of `count` clips of each part."""
        part, place = (ranked.number >= 0).nonzero()
        number, row = ranked.number[part, place], ranked.row[part, place]
        last, ended = np.full(len(ranked.number), -np.inf), np.bincount(part, minlength=len(ranked.number)) < count
        last[~ended] = ranked.scores[~ended, -1]
        rows = [row[number == n] for n in range(len(ranked.partitions))]
        videos = _table(index, ranked.partitions, rows, "video")["video"].unique().to_pylist()
        clips = _Clips.of(index, ranked.partitions, request.within, videos)
        most = np.where(clips.covers(vectors), last[:, None], -np.inf)
        known, first = np.isneginf(most), np.cumsum([0, *(len(each.vectors) for each in ranked.partitions)])
        keys, order = first[clips.number] + clips.row, np.argsort(first[clips.number] + clips.row)
        listed = part, order[np.searchsorted(keys, first[number] + row, sorter=order)]
        most[listed], known[listed] = ranked.scores[ranked.number >= 0], True
        return cls(clips, vectors, request, last, most, known)

    @property
    def rest(self) -> float:
        """The most that any other video scores, added up as chains are."""
        return float(reduce(lambda later, score: score + later, self.last[::-1]) / len(self.last))

    def sums(self) -> Doubles:
        """(P, N) as `_Clips.chains`, of what is known."""
        return self.clips.chains(np.where(self.known, self.most, -np.inf))

    def complete(self) -> float:
        """Score all that may be in one of the best sequences; returns the least that these score."""
        clips, parts, size = self.clips, len(self.last), SCORED * self.request.top
        while True:
            found = clips.by_video(self.sums()[0]) / parts
            wanted = -np.inf if self.request.min_score is None else self.request.min_score
            if len(found) >= self.request.top:
                wanted = max(wanted, float(np.partition(found, -self.request.top)[-self.request.top]))
            reached = (clips.before(self.most) + clips.chains(self.most)) / parts + ROUNDED
            open_ = ~self.known & (reached >= wanted) & (reached > -np.inf)
            if not open_.any():
                return wanted
            bounds = clips.by_video(np.where(open_, reached, -np.inf).max(0))
            least = np.partition(bounds, -size)[-size] if len(bounds) > size else -np.inf
            open_ &= np.repeat(bounds >= least, np.diff(clips.first))
            for part, at in enumerate(map(np.flatnonzero, open_)):
                number, row = clips.number[at], clips.row[at]
                self.most[part, at] = exact_scores(
                    clips.partitions, self.vectors, np.full(len(at), part), number, row
                ).score
            self.known[open_] = True
            size *= MORE

    def hits(self, index: VideoIndex, queries: Queries, wanted: float) -> list[VideoHits]:
        """The best videos, which score so much or more."""
        clips, sums = self.clips, self.sums()
        scores = clips.by_video(sums[0]) / len(sums)
        best = np.flatnonzero((scores >= wanted) & (scores > -np.inf)).tolist()
        best = sorted(best, key=lambda video: (-scores[video], clips.videos[video]))[: self.request.top]
        if not best:
            return []
        chains = np.empty((len(sums), len(best)), np.int64)
        for n, video in enumerate(best):
            some = clips.first[video : video + 2]
            for place, its in enumerate(sums):
                chains[place, n] = some[0] + its[slice(*some)].argmax()  # the first of equal ones
                some = clips.follow[chains[place, n]]
        parts = np.arange(len(sums))[:, None]
        moments = self.most[parts, chains].astype(np.float32)  # as they were
        found = Ranked(clips.partitions, moments, clips.number[chains], clips.row[chains])
        by_time = zip(*hits_of(found, queries, index, plain=self.request.plain))
        return [
            VideoHits(
                rank,
                clips.videos[video],
                float(scores[video]),
                tuple(replace(hit, rank=place) for place, hit in enumerate(hits, start=1)),
            )
            for rank, (video, hits) in enumerate(zip(best, by_time), start=1)
        ]
