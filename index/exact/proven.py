"""Exact search of a few queries: partitions are scanned, candidates are re-ranked, and the result is proven.

Let L be the k-th best exact score so far, a lower bound of the final one; e_u the lowest estimate that the scan of
partition u returned, b_u the bound of its error. Clips that the scan left out score at most e_u + b_u. Where that
is at least L, the partition is scanned again, for more; otherwise the result is proven. Every candidate with an
estimate of at least L - b_u is scored exactly.

A query's constant c for a pattern is added to the estimates of inner products in float64, and e = fl(e' + c) to
float32 is the estimate. |e - (e' + c)| and the rounding of the score are at most 2^-24 of a number of this size
each: `_ulp`, 2^-22 (1 + |e|), is more than both. Rounding keeps the order of a scan's estimates.

Kinds without a bound are searched approximately: their best candidates by estimate are re-ranked.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import ceil
from typing import Self

import numpy as np
from numpy.typing import NDArray

from index.exact.ranking import Scored, exact_scores
from index.queries import Doubles, Vectors
from index.scanners import AT, ULP, Floats, Partition, Rows

SPARE = 32  # rows of a partition that the first scan returns besides k
WIDER = 8  # times more rows in the next scan of a partition


def search_approximately(partitions: Sequence[Partition], queries: Vectors, k: int, rerank: int) -> Scored:
    """The likely best k clips of each query, in partitions of any kind.

    rerank: candidates over all partitions that are scored exactly for the best 10; for more in proportion.
    """
    wanted = max(k, ceil(rerank * max(k, AT) / AT))
    estimates, rows, numbers = [], [], []
    for n, partition in enumerate(partitions):
        vectors = queries[partition.pattern]
        estimate, row = vectors.scan(partition, wanted)
        estimate[~vectors.covers] = -np.inf
        estimates.append(estimate)
        rows.append(row)
        numbers.append(np.full(row.shape, n))
    estimate, row, number = (np.concatenate(columns, axis=1) for columns in (estimates, rows, numbers))
    if wanted < estimate.shape[1]:
        best = np.argpartition(-estimate, wanted - 1, axis=1)[:, :wanted]
        estimate, row, number = (np.take_along_axis(array, best, 1) for array in (estimate, row, number))
    query, place = (estimate > -np.inf).nonzero()
    return exact_scores(partitions, queries, query, number[query, place], row[query, place])


def search_proven(partitions: Sequence[Partition], queries: Vectors, k: int, spare: int = SPARE) -> Scored:
    """The best k clips of each query, with all that score the same as the last of them.

    All scanners have a proven bound; spare: how many more rows the first scan of a partition returns.
    """
    vectors = [queries[partition.pattern] for partition in partitions]
    scans = [vector.scan(partition, k + spare) for partition, vector in zip(partitions, vectors)]
    bounds = np.stack(
        [partition.scanner.bound(vector.rounded) for partition, vector in zip(partitions, vectors)], axis=1
    )  # (Q, U)
    covers = np.stack([vector.covers for vector in vectors], axis=1)
    found = []
    for query in range(len(bounds)):
        its = [(n, scans[n][0][query], scans[n][1][query]) for n in np.flatnonzero(covers[query]).tolist()]
        found.append(_search_one(partitions, queries, query, k, bounds[query], its))
    return Scored(
        np.repeat(np.arange(len(found)), [len(candidates.row) for candidates in found]),
        *(np.concatenate([getattr(one, name) for one in found]) for name in ("score", "number", "row")),
    )


@dataclass(frozen=True)
class _Candidates:
    """N clips; those that are not scored yet have the score NaN."""

    estimate: Floats
    number: Rows  # partitions
    row: Rows  # in them
    score: Floats

    @classmethod
    def of(cls, scans: Iterable[tuple[int, Floats, Rows]]) -> Self:
        """Results of scans: number of the partition, estimates and rows."""
        scans = list(scans)
        estimate = np.concatenate([np.empty(0, np.float32), *(estimate for _, estimate, _ in scans)])
        row = np.concatenate([np.empty(0, np.int64), *(row for _, _, row in scans)])
        number = np.repeat(np.array([n for n, _, _ in scans], np.int64), [len(row) for _, _, row in scans])
        there = row >= 0
        score = np.full(int(there.sum()), np.nan, dtype=np.float32)
        return cls(estimate[there], number[there], row[there], score)

    def at(self, places: NDArray[np.bool_]) -> Self:
        """Some of them."""
        return type(self)(self.estimate[places], self.number[places], self.row[places], self.score[places])

    def with_more(self, other: Self) -> Self:
        """These, then others."""
        pairs = ((getattr(self, name), getattr(other, name)) for name in ("estimate", "number", "row", "score"))
        return type(self)(*map(np.concatenate, pairs))


def _search_one(
    partitions: Sequence[Partition],
    queries: Vectors,
    query: int,
    k: int,
    bounds: Doubles,
    scans: Sequence[tuple[int, Floats, Rows]],
) -> _Candidates:
    """All clips that score at least as well as the k-th best of one query.

    bounds: (U,) of the errors of its estimates; scans: number of a partition that it covers, estimates and rows.
    """
    lowest = {n: estimate[-1] for n, estimate, _ in scans if len(estimate) < partitions[n].count}
    counts = {n: len(estimate) for n, estimate, _ in scans}
    found = _Candidates.of(scans)

    def score(places: Rows) -> None:
        number, row = found.number[places], found.row[places]
        found.score[places] = exact_scores(partitions, queries, np.full(len(places), query), number, row).score

    if len(found.row) > k:  # the best by estimate give a first L
        score(np.argpartition(-found.estimate, k - 1)[:k])
    while True:
        errors = bounds[found.number] + _ulp(found.estimate)
        possible = found.estimate + errors >= _kth(found, k)
        score(np.flatnonzero(np.isnan(found.score) & possible))
        wrong = np.abs(found.score - found.estimate) > errors  # False where the score is NaN
        if wrong.any():
            raise partitions[int(found.number[wrong][0])].damaged()
        kth = _kth(found, k)
        unproven = [n for n, least in lowest.items() if least + bounds[n] + _ulp(least) >= kth]
        if not unproven:
            return found.at(found.score >= kth)
        wider = []
        for n in unproven:
            partition, counts[n] = partitions[n], min(WIDER * counts[n], partitions[n].count)
            estimate, row = queries[partition.pattern].scan(partition, counts[n], slice(query, query + 1))
            wider.append((n, estimate[0], row[0]))
            del lowest[n]
            if counts[n] < partition.count:
                lowest[n] = estimate[0, -1]
        found = found.at(~np.isin(found.number, unproven)).with_more(_Candidates.of(wider))


def _kth(found: _Candidates, k: int) -> float:
    """The k-th best exact score so far; -inf where there are fewer."""
    known = found.score[~np.isnan(found.score)]
    place = len(known) - k
    return float(np.partition(known, place)[place]) if place >= 0 else -np.inf


def _ulp(estimate: NDArray[np.floating]) -> Doubles:
    """Above the error of rounding a score of this size to float32."""
    return np.asarray(ULP * (1 + np.abs(estimate)), dtype=np.float64)
