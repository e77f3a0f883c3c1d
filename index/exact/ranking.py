"""Exact scores of single pairs, and Ranked: the k best clips of each query, equal ones by clip id.

A score is a sum in float64, of packed vectors, words, and the constant of the query and the pattern last, rounded
to float32.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from index.queries import Vectors
from index.scanners import Floats, Partition, Rows

GATHERED = 2**16  # numbers of clips that are multiplied at a time: they stay in the cache


class Scored(NamedTuple):
    """N pairs of a query and a clip, with exact scores."""

    query: Rows
    score: Floats
    number: Rows  # of the clip's partition
    row: Rows  # of the clip in it


def exact_scores(
    partitions: Sequence[Partition], queries: Vectors, query: Rows, number: Rows, row: Rows
) -> Scored:
    """Score pairs of a query and a clip: (N,) queries, rising, and numbers of partitions and rows in them.

    Each score is added up by itself, so that equal clips have equal bits.
    """
    scores = np.empty(len(number), dtype=np.float32)
    for partition, places in grouped(number):
        vectors, of_pattern = partitions[partition].vectors, queries[partitions[partition].pattern]
        step = max(1, GATHERED // max(1, of_pattern.width))
        for start in range(0, len(places), step):
            some = places[start : start + step]
            numbers = query[some]
            exact = of_pattern.exact(numbers if numbers[0] != numbers[-1] else numbers[:1])  # one is not repeated
            products = (vectors[row[some]] * exact).sum(1)
            if of_pattern.words:
                products += of_pattern.exactly_added_by_words(partitions[partition], numbers, row[some])
            scores[some] = products + of_pattern.constant[numbers]
    damaged = ~np.isfinite(scores)
    if damaged.any():
        raise partitions[int(number[damaged][0])].damaged()
    return Scored(query, scores, number, row)


def grouped(number: Rows) -> list[tuple[int, Rows]]:
    """Each value of (N,) numbers, with its places."""
    order = np.argsort(number, kind="stable")
    values = number[order]
    starts = [0, *(np.flatnonzero(values[1:] != values[:-1]) + 1).tolist()] if len(number) else []
    return [(int(values[start]), order[start:stop]) for start, stop in pairwise([*starts, len(number)])]


@dataclass(frozen=True)
class Ranked:
    """The best clips of Q queries; where a query has fewer than K, -inf and -1 stand."""

    partitions: Sequence[Partition]
    scores: Floats  # (Q, K) in falling order
    number: Rows  # (Q, K) partitions of the clips
    row: Rows  # (Q, K) their rows in them

    @classmethod
    def of(cls, partitions: Sequence[Partition], found: Scored, *, queries: int, k: int) -> Ranked:
        """Sort by score, then clip id, all clips that score at least as well as the k-th best of Q queries.

        K is k, or less where no query has so many.
        """
        order = np.lexsort((-found.score, found.query))
        found = Scored(found.query[order], found.score[order], found.number[order], found.row[order])
        count = np.bincount(found.query, minlength=queries)
        first = np.cumsum(count) - count
        order = _ties(partitions, found, first + np.minimum(k, count) - 1)
        place = np.arange(len(found.query)) - first[found.query]
        kept = place < k
        at = (found.query[kept], place[kept])
        ranked = cls.empty(queries, min(k, int(count.max(initial=0))), partitions)
        ranked.scores[at], ranked.number[at], ranked.row[at] = (array[order][kept] for array in found[1:])
        return ranked

    @classmethod
    def empty(cls, queries: int, k: int = 0, partitions: Sequence[Partition] = ()) -> Ranked:
        """Nothing found, in K columns."""
        shape = (queries, k)
        scores = np.full(shape, -np.inf, np.float32)
        return cls(partitions, scores, np.full(shape, -1, np.int64), np.full(shape, -1, np.int64))

    @classmethod
    def joined(cls, parts: Sequence[Ranked]) -> Ranked:
        """Those of queries one after another, in the same partitions."""
        if len(parts) == 1:
            return parts[0]
        k = max(part.scores.shape[1] for part in parts)
        whole = cls.empty(sum(len(part.scores) for part in parts), k, parts[0].partitions)
        start = 0
        for part in parts:
            at = slice(start, start + len(part.scores)), slice(0, part.scores.shape[1])
            whole.scores[at], whole.number[at], whole.row[at] = part.scores, part.number, part.row
            start = at[0].stop
        return whole

    @cached_property
    def ids(self) -> list[list[str]]:
        """Clip ids for each query, the best first."""
        query, place = (self.number >= 0).nonzero()
        names: list[list[str]] = [[] for _ in self.number]
        found = _ids(self.partitions, self.number[query, place], self.row[query, place])
        for number, name in zip(query.tolist(), found):
            names[number].append(name)
        return names


def _ids(partitions: Sequence[Partition], number: Rows, row: Rows) -> list[str]:
    """Clip ids, one lookup a segment."""
    segment = np.array([partition.segment for partition in partitions], dtype=np.int64)[number]
    table_row = np.empty(len(row), dtype=np.int64)
    for partition, places in grouped(number):
        table_row[places] = partitions[partition].rows[row[places]]
    names: list[str] = [""] * len(row)
    for _, places in grouped(segment):
        found = partitions[int(number[places[0]])].names.ids(table_row[places])
        for place, name in zip(places.tolist(), found):
            names[place] = name
    return names


def _ties(partitions: Sequence[Partition], found: Scored, last: Rows) -> Rows:
    """The order of pairs, sorted by query and falling score, after equal ones are sorted by clip id.

    last: (Q,) the last pair of each query that is kept; ties behind it do not matter.
    """
    query, score = found.query, found.score
    order = np.arange(len(query))
    tied = (query[1:] == query[:-1]) & (score[1:] == score[:-1]) & (order[:-1] <= last[query[:-1]])
    starts = np.flatnonzero(tied & ~np.concatenate([[False], tied])[:-1])
    for start in starts:
        stop = start + 1
        while stop < len(query) and query[stop] == query[start] and score[stop] == score[start]:
            stop += 1
        names = _ids(partitions, found.number[start:stop], found.row[start:stop])
        order[start:stop] = start + np.array(sorted(range(stop - start), key=names.__getitem__))
    return order
