"""Ranked: the first k answers to each query, equal ones by clip id.

They are ranked by exact scores of single pairs: sums in float64, rounded to float32.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from index.exact.pattern_queries import Weighted
from index.scanners import Floats, Partition, Rows, damage
from mee.errors import InputError

GATHERED = 2**16  # numbers of clips that are multiplied at a time: they stay in the cache


def exact_scores(
    partitions: Sequence[Partition], weighted: Weighted, query: Rows, number: Rows, row: Rows
) -> Floats:
    """Score pairs of a query and a clip.

    Args:
        partitions: where the clips are.
        weighted: the queries.
        query: (N,) which query, rising.
        number: (N,) the clips' partitions.
        row: (N,) their rows in them.

    Returns:
        (N,) float32 scores. Each pair is added up by itself, so that equal clips are equal to the bit.
    """
    scores = np.empty(len(number), dtype=np.float32)
    for partition, mine in grouped(number):
        vectors, of_pattern = partitions[partition].vectors, weighted[partitions[partition].pattern]
        step = max(1, GATHERED // of_pattern.width)
        for start in range(0, len(mine), step):
            some = mine[start : start + step]
            its = query[some]
            exact = of_pattern.exact(its if its[0] != its[-1] else its[:1])  # a single query is not repeated
            scores[some] = (vectors[row[some]] * exact).sum(1)
        if not np.isfinite(scores[mine]).all():
            raise InputError(damage(partitions[partition]))
    return scores


def grouped(number: Rows) -> list[tuple[int, NDArray[np.int64]]]:
    """Each value that occurs among (N,) numbers, with its places."""
    order = np.argsort(number, kind="stable")
    values, starts = np.unique(number[order], return_index=True)
    return list(zip(values.tolist(), np.split(order, starts[1:]))) if len(number) else []


@dataclass(frozen=True)
class Ranked:
    """Answers to Q queries; where a query has fewer than K, -inf and -1 stand."""

    score: Floats  # (Q, K) in falling order
    number: Rows  # (Q, K) partitions of the clips
    row: Rows  # (Q, K) their rows in them

    @classmethod
    def of(
        cls,
        partitions: Sequence[Partition],
        query: Rows,
        score: Floats,
        number: Rows,
        row: Rows,
        *,
        queries: int,
        k: int,
    ) -> Ranked:
        """Order what was found.

        Args:
            partitions: where the clips are.
            query: (N,) whose answer.
            score: (N,) exact.
            number: (N,) partitions.
            row: (N,) rows in them.
            queries: Q.
            k: how many to keep; K is k, or less where no query has so many.
        """
        order = np.lexsort((-score, query))
        query, score, number, row = query[order], score[order], number[order], row[order]
        count = np.bincount(query, minlength=queries)
        first = np.cumsum(count) - count
        order = _ties(partitions, query, score, number, row, first + np.minimum(k, count) - 1)
        place = np.arange(len(query)) - first[query]
        kept = place < k
        wide = min(k, int(count.max(initial=0)))
        at = (query[kept], place[kept])
        ranked = cls(
            np.full((queries, wide), -np.inf, np.float32),
            np.full((queries, wide), -1, np.int64),
            np.full((queries, wide), -1, np.int64),
        )
        ranked.score[at], ranked.number[at], ranked.row[at] = (a[order][kept] for a in (score, number, row))
        return ranked

    @classmethod
    def none(cls, queries: int) -> Ranked:
        """No answer to any query."""
        return cls(np.empty((queries, 0), np.float32), *(np.empty((queries, 0), np.int64) for _ in range(2)))

    @classmethod
    def joined(cls, parts: Sequence[Ranked]) -> Ranked:
        """Answers to queries one after another."""
        if len(parts) == 1:
            return parts[0]
        wide = max((part.score.shape[1] for part in parts), default=0)
        columns = []
        for name, nothing in (("score", -np.inf), ("number", -1), ("row", -1)):
            arrays = [getattr(part, name) for part in parts]
            columns.append([np.pad(a, ((0, 0), (0, wide - a.shape[1])), constant_values=nothing) for a in arrays])
        return cls(*(np.concatenate(column) for column in columns)) if parts else cls.none(0)

    def ids(self, partitions: Sequence[Partition]) -> list[list[str]]:
        """Clip ids of each query's answers."""
        query, place = (self.number >= 0).nonzero()
        names: list[list[str]] = [[] for _ in self.number]
        for number, name in zip(
            query.tolist(), ids_of(partitions, self.number[query, place], self.row[query, place])
        ):
            names[number].append(name)
        return names


def ids_of(partitions: Sequence[Partition], number: Rows, row: Rows) -> list[str]:
    """Clip ids, one lookup a segment."""
    segment = np.array([partition.segment for partition in partitions], dtype=np.int64)[number]
    table_row = np.empty(len(row), dtype=np.int64)
    for partition, mine in grouped(number):
        table_row[mine] = partitions[partition].rows[row[mine]]
    names: list[str] = [""] * len(row)
    for _, mine in grouped(segment):
        found = partitions[int(number[mine[0]])].names.ids(table_row[mine])
        for place, name in zip(mine.tolist(), found):
            names[place] = name
    return names


def _ties(
    partitions: Sequence[Partition], query: Rows, score: Floats, number: Rows, row: Rows, last: Rows
) -> Rows:
    """The order of entries that are sorted by query and falling score, once equal ones are sorted by id.

    Args:
        last: (Q,) the last entry of each query that is kept; ties behind it do not matter.
    """
    order = np.arange(len(query))
    level = (query[1:] == query[:-1]) & (score[1:] == score[:-1]) & (order[:-1] <= last[query[:-1]])
    starts = np.flatnonzero(level & ~np.concatenate([[False], level])[:-1])
    for start in starts:
        stop = start + 1
        while stop < len(query) and query[stop] == query[start] and score[stop] == score[start]:
            stop += 1
        names = ids_of(partitions, number[start:stop], row[start:stop])
        order[start:stop] = start + np.array(sorted(range(stop - start), key=names.__getitem__))
    return order
