"""Sequences: what comes first, what comes next, and so on, as moments of one video.

    s(v) = max over c_1, ..., c_P of v of the mean of s_p(c_p),   0 <= start(c_p+1) - end(c_p) <= within

s_p: the score by part p. g_p(c), the most that a chain adds up to from c on, is s_p(c) + the largest g_p+1 of the
clips that may follow, which are neighbours in order of time.

Of each part the best clips are listed: what its list lacks scores at most u_p, as the last one there. A video of
which no clip is listed has at most the mean of all u_p, any other one that of its best in each list, u_p where it
has none. Videos are scored exactly, in falling order of this bound, until it is below the k-th best s(v). Where
that of what is in no list is not, the lists are made longer, of videos alone in which clips follow each other.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import reduce
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
LISTED, WIDER = 16, 8  # clips of each part's first list, for each video that is wanted; times more in the next one
SCORED, MORE = 2, 4  # videos that are scored first, for each one that is wanted; times more the next time
ORDER = [(name, "ascending") for name in ("video", "start_s", "end_s", "clip_id")]
Chain = tuple[
    float, str, list[tuple[float, "Partition", int]]
]  # -s(v), v, and score, partition, row of each moment


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
    top, plain, exact = request.top, request.plain, request.exact
    least = -np.inf if request.min_score is None else request.min_score
    found, known, count = list[Chain](), set[str](), LISTED * top

    def wanted() -> float:
        return max(least, -found[top - 1][0]) if len(found) >= top else least

    while True:
        ranked = index.rank(queries, count, where=where, plain=plain, exact=exact)
        videos, bounds, rest = _bounds(index, ranked, count)
        if not videos:
            break
        vectors = pattern_vectors(queries, index.layout, ranked.partitions, subtract=not plain)
        start, size = 0, SCORED * top
        while start < len(videos) and bounds[start] >= wanted():
            some = [video for video in videos[start : start + size] if video not in known]
            known.update(some)
            for chain in _Clips.of(index, ranked.partitions, request.within, some).chains(vectors):
                insort(found, chain)
            start, size = start + size, size * MORE
        if rest == -np.inf or rest < wanted():
            break
        if count == LISTED * top:
            possible = _Clips.of(index, ranked.partitions, request.within).possible(vectors)
            where = both(where, index.of_videos(possible))
        count *= WIDER
    return _hits(index, queries, [chain for chain in found[:top] if -chain[0] >= least], plain)


def _hits(index: VideoIndex, queries: Queries, found: Sequence[Chain], plain: bool) -> list[VideoHits]:
    moments = [moment for _, _, its in found for moment in its]
    scores, partitions, row = zip(*moments) if moments else ((), (), ())
    columns = (np.reshape(each, (len(found), -1)).T for each in (scores, np.arange(len(row)), row))
    hits = hits_of(Ranked(partitions, *columns), queries, index, plain=plain) if moments else []
    by_time = ([replace(hit, rank=place) for place, hit in enumerate(its, start=1)] for its in zip(*hits))
    return [
        VideoHits(rank, video, -score, tuple(its))
        for rank, ((score, video, _), its) in enumerate(zip(found, by_time), start=1)
    ]


def _mean(scores: Doubles) -> Doubles:
    """(P, ...) -> their mean, added up as chains are: rounded as well, a bound is not below what it bounds."""
    return np.asarray(reduce(lambda later, score: score + later, scores[::-1]) / len(scores))


def _bounds(index: VideoIndex, ranked: Ranked, count: int) -> tuple[list[str], Doubles, float]:
    """The videos of lists of `count` clips with what they score at most, falling, and that of all other videos.

    Videos that cannot have a sequence are left out; -inf: no other one has any.
    """
    part, place = (ranked.number >= 0).nonzero()
    number, row, score = (each[part, place] for each in (ranked.number, ranked.row, ranked.scores))
    last = np.full(len(ranked.number), -np.inf)
    ended = np.bincount(part, minlength=len(last)) == count
    last[ended] = ranked.scores[ended, -1:].ravel()
    if not len(row):
        return [], last, -np.inf
    order = np.argsort(number, kind="stable")
    rows = [row[number == n] for n in range(len(ranked.partitions))]
    names = _table(index, ranked.partitions, rows, "video")["video"].combine_chunks().dictionary_encode()
    best = np.repeat(last[:, None], len(names.dictionary), axis=1)  # (P, V)
    np.maximum.at(best, (part[order], np.asarray(names.indices)), score[order])
    bounds = _mean(best)
    order = np.argsort(-bounds, kind="stable")[: np.count_nonzero(bounds > -np.inf)]
    return names.dictionary.take(order).to_pylist(), bounds[order], float(_mean(last))


def _table(index: VideoIndex, partitions: Sequence[Partition], rows: Sequence[Rows], *names: str) -> pa.Table:
    """Columns of some rows of each partition, one partition after another."""
    import pyarrow as pa  # here: most searches need none of it

    tables = (index.snapshot.segments[partition.segment].table.arrow.select(names) for partition in partitions)
    return pa.concat_tables(each.take(its.rows[row]) for each, its, row in zip(tables, partitions, rows))


@dataclass(frozen=True)
class _Clips:
    """N clips of V videos, by video, then time; those of equal times by id."""

    partitions: Sequence[Partition]
    number: Rows  # (N,) their partitions
    row: Rows  # (N,) their rows in them
    videos: Sequence[str]  # V
    first: Sequence[int]  # V + 1, where the clips of each begin
    follow: NDArray[np.int64]  # (N, 2) the clips that may follow each: the first, and behind the last

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
        code, start, end = code[order], *(np.asarray(facts[name])[order] for name in ("start_s", "end_s"))
        begins, after, before = (
            code + 1j * time for time in (start, end - SLACK_S, end + within + SLACK_S)
        )  # ordered by the real part first
        earliest = np.maximum(np.searchsorted(begins, after), np.arange(1, len(order) + 1))
        return cls(
            partitions,
            np.repeat(np.arange(len(rows)), list(map(len, rows)))[order],
            np.concatenate(rows)[order],
            videos,
            np.searchsorted(code, np.arange(len(videos) + 1)).tolist(),
            np.stack([earliest, np.searchsorted(begins, before, side="right")], axis=1),
        )

    def possible(self, queries: Vectors) -> list[str]:
        """The videos that have a sequence."""
        reached = self._reached(np.where(self._covers(queries), 0.0, -np.inf))[0]
        return [self.videos[n] for n, some in self._each if (reached[some] > -np.inf).any()]

    def chains(self, queries: Vectors) -> Iterator[Chain]:
        """The best sequence of each video that has one."""
        covers = self._covers(queries)
        scores = np.full(covers.shape, -np.inf)
        for part, covered in enumerate(covers):
            at = np.flatnonzero(covered)
            query = np.full(len(at), part)
            scores[part, at] = exact_scores(self.partitions, queries, query, self.number[at], self.row[at]).score
        reached = self._reached(scores)
        for n, some in self._each:
            best, chain = reached[0, some].max(initial=-np.inf), []
            for part, its in enumerate(reached if best > -np.inf else ()):
                at = some.start + int(its[some].argmax())  # the first of equal ones
                chain.append((float(scores[part, at]), self.partitions[self.number[at]], int(self.row[at])))
                some = slice(*self.follow[at].tolist())
            if chain:
                yield -float(best) / len(scores), self.videos[n], chain

    @property
    def _each(self) -> Iterator[tuple[int, slice]]:
        """The clips of each video."""
        return enumerate(map(slice, self.first, self.first[1:]))

    def _covers(self, queries: Vectors) -> NDArray[np.bool_]:
        """(P, N) whether a clip has experts of a part."""
        return np.stack([queries[partition.pattern].covers for partition in self.partitions])[self.number].T

    def _reached(self, scores: Doubles) -> Doubles:
        """(P, N) the most that a chain adds up to from a clip on, which is the moment of each part."""
        reached, some = scores.copy(), self.follow[:, 0] < self.follow[:, 1]
        for part in range(len(scores) - 2, -1, -1):
            after = np.append(reached[part + 1], -np.inf)  # so that the last one may end behind it
            best = np.maximum.reduceat(after, self.follow.ravel())[::2]
            reached[part] += np.where(some, best, -np.inf)
        return reached
