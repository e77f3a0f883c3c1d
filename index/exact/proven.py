"""Exact search of a few queries: partitions are scanned, candidates are scored, and the answer is proven.

Let L be the k-th best exact score so far, e_u the lowest estimate that a scan of partition u gave, b_u the bound
of its error. What the scan left out scores at most e_u + b_u. Where that is at least L, the partition is scanned
again, for more; otherwise the answer is proven. All that was found with an estimate of at least L - b_u is scored
exactly.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from index.exact.pattern_queries import Weighted
from index.exact.ranking import exact_scores
from index.scanners import ULP, Floats, Partition, Rows, damage
from mee.errors import InputError

SPARE = 32  # rows of a partition scanned for besides k
WIDER = 8  # times more rows in the next scan of a partition that leaves doubt


def prove(
    partitions: Sequence[Partition], weighted: Weighted, queries: int, k: int, spare: int = SPARE
) -> tuple[Rows, Floats, Rows, Rows]:
    """The best k clips of each query, with everything that scores the same as the last of them.

    Args:
        partitions: that can be scanned; every scanner proves its bound.
        weighted: the queries, for the partitions' patterns.
        queries: Q.
        k: at least 1.
        spare: how many more rows the first scan of a partition asks for.

    Returns:
        (N,) queries, exact scores, partitions and rows.
    """
    vectors = [weighted[partition.pattern] for partition in partitions]
    scans = [partition.scan(its.rounded, k + spare) for partition, its in zip(partitions, vectors)]
    bounds = np.stack(
        [partition.scanner.bound(its.rounded) for partition, its in zip(partitions, vectors)], axis=1
    )  # (Q, U)
    speaks = np.stack([its.speaks for its in vectors], axis=1)
    proofs = [_Proof(partitions, weighted, query, k, bounds[query]) for query in range(queries)]
    found = [
        proof.run([(n, scans[n][0][query], scans[n][1][query]) for n in np.flatnonzero(speaks[query]).tolist()])
        for query, proof in enumerate(proofs)
    ]
    of_query = np.repeat(np.arange(queries), [len(its.score) for its in found])
    score = np.concatenate([its.score for its in found])
    number, row = (np.concatenate([getattr(its, name) for its in found]) for name in ("number", "row"))
    return of_query, score, number, row


@dataclass(frozen=True)
class _Found:
    """N clips; the score of some is not known yet: NaN."""

    estimate: Floats
    number: Rows  # partitions
    row: Rows  # in them
    score: Floats

    @classmethod
    def of(cls, scans: Iterable[tuple[int, Floats, Rows]]) -> Self:
        """What scans of some partitions gave."""
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

    def and_(self, other: Self) -> Self:
        """Both."""
        return type(self)(
            np.concatenate([self.estimate, other.estimate]),
            np.concatenate([self.number, other.number]),
            np.concatenate([self.row, other.row]),
            np.concatenate([self.score, other.score]),
        )


class _Proof:
    """Of one query."""

    def __init__(
        self, partitions: Sequence[Partition], weighted: Weighted, query: int, k: int, bounds: NDArray[np.float64]
    ) -> None:
        self.partitions, self.weighted, self.query, self.k, self.bounds = partitions, weighted, query, k, bounds

    def run(self, scans: Sequence[tuple[int, Floats, Rows]]) -> _Found:
        """All that belongs into the answer.

        Args:
            scans: number of a partition, estimates and rows; of the partitions that the query says anything about.
        """
        lowest = {n: estimate[-1] for n, estimate, _ in scans if len(estimate) < self.partitions[n].count}
        counts = {n: len(estimate) for n, estimate, _ in scans}
        found = _Found.of(scans)
        if len(found.row) > self.k:  # the best by estimate give a first L
            self._score(found, np.argpartition(-found.estimate, self.k - 1)[: self.k])
        while True:
            bounds = self.bounds[found.number] + _ulp(found.estimate)
            may = found.estimate + bounds >= self._kth(found)
            self._score(found, np.flatnonzero(np.isnan(found.score) & may))
            if (np.abs(found.score - found.estimate) > bounds).any():  # NaN: not scored
                wrong = np.abs(found.score - found.estimate) > bounds
                raise InputError(damage(self.partitions[int(found.number[wrong][0])]))
            kth = self._kth(found)
            doubtful = [n for n, least in lowest.items() if least + self.bounds[n] + _ulp(least) >= kth]
            if not doubtful:
                return found.at(found.score >= kth)
            wider = []
            for n in doubtful:
                partition, counts[n] = self.partitions[n], min(WIDER * counts[n], self.partitions[n].count)
                query = self.weighted[partition.pattern].rounded[self.query : self.query + 1]
                estimate, row = partition.scan(query, counts[n])
                wider.append((n, estimate[0], row[0]))
                del lowest[n]
                if counts[n] < partition.count:
                    lowest[n] = estimate[0, -1]
            found = found.at(~np.isin(found.number, doubtful)).and_(_Found.of(wider))

    def _score(self, found: _Found, places: Rows) -> None:
        query = np.full(len(places), self.query)
        number, row = found.number[places], found.row[places]
        found.score[places] = exact_scores(self.partitions, self.weighted, query, number, row)

    def _kth(self, found: _Found) -> float:
        """The k-th best exact score so far; -inf where there are fewer."""
        known = found.score[~np.isnan(found.score)]
        place = len(known) - self.k
        return float(np.partition(known, place)[place]) if place >= 0 else -np.inf


def _ulp(estimate: NDArray[np.floating]) -> NDArray[np.float64]:
    """More than the rounding of a score that is about so large to float32."""
    return np.asarray(ULP * (1 + np.abs(estimate)), dtype=np.float64)
