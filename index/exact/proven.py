"""Exact search of a few queries: partitions are scanned, candidates are re-ranked, and the result is proven.

Let L be the k-th best of what candidates score at least, a lower bound of the k-th best score; e_u the lowest
estimate that the scan of partition u returned, b_u by how much a score can be above its estimate. Clips that the
scan left out score at most e_u + b_u. Where that is at least L, the partition is scanned again, for more, and at
last by the vectors themselves; otherwise the result is proven. Every candidate that may score L is scored exactly,
once float32 has decided about most of them.

A query's constant c for a pattern is added to the estimates of inner products in float64, and e = fl(e' + c) to
float32 is the estimate. |e - (e' + c)| and the rounding of the score are at most 2^-24 of a number of this size
each: `_ulp`, 2^-22 (1 + |e|), is more than both. Rounding keeps the order of a scan's estimates.

Kinds without a bound are searched approximately: their best candidates by estimate are re-ranked.

Where words count, which are several vectors of a clip, all of these are multiplied, and so are the packed vectors:
they are fewer. The estimates have a bound of their own, of products in float32, whatever the kind. Where vectors
are in a database, it is asked for the best of them, and words may lift others above these (`_lifted`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields, replace
from functools import lru_cache, partial
from math import ceil
from typing import TYPE_CHECKING, Self

import numpy as np
from numpy.typing import NDArray

from index.exact.ranking import Scored, exact_scores, grouped
from index.scanners import (
    AT,
    TINY,
    ULP,
    Coded,
    Flat,
    Floats,
    Partition,
    Rows,
    bytes_multiply_exactly,
    gamma,
    threads,
)

if TYPE_CHECKING:
    from index.queries import Doubles, PatternVectors, Vectors
    from mee.layout import Pattern

SPARE = 8  # rows of a partition that the first scan returns besides k
SHARE = 256  # and one of so many rows, where estimates are upper bounds
FEW = 16  # queries that are multiplied with all clips at a time
WIDER = 8  # times more rows in the next scan of a partition
READ = 4096  # vectors of a database that are read where words may lift clips
MANY = 64  # candidates that give a first bound
GATHERED = 2**20  # numbers of vectors that are estimated at a time
LARGE = 2**23  # bytes, above which partitions are scanned by several threads
EVERY = slice(None)  # of the queries


def search_approximately(partitions: Sequence[Partition], queries: Vectors, k: int, rerank: int) -> Scored:
    """The likely best k clips of each query, in partitions of any kind.

    rerank: candidates over all partitions that are scored exactly for the best 10; for more in proportion.
    """
    wanted = max(k, ceil(rerank * max(k, AT) / AT))
    estimates, rows, numbers = [], [], []
    for n, partition in enumerate(partitions):
        vectors = queries[partition.pattern]
        if vectors.count_words and partition.scanner.remote:
            estimate, row = _lifted(partition, vectors, wanted)
        elif vectors.count_words:
            starts = range(0, len(vectors.covers), FEW)
            parts = [_best(partition, _multiplied(partition, vectors, slice(s, s + FEW)), wanted) for s in starts]
            estimate, row = (np.concatenate(columns) for columns in zip(*parts))
        else:
            estimate, row = partition.scan(vectors.rounded, wanted)
        estimate = (estimate + vectors.constant[:, None]).astype(np.float32)
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


def search_proven(partitions: Sequence[Partition], queries: Vectors, k: int) -> Scored:
    """The best k clips of each query, and all that tie with the last; every scanner has a proven bound."""
    scans = _scans(partitions, queries)
    counts = [k + SPARE + (0 if scan.coded is None else scan.partition.count // SHARE) for scan in scans]
    results = _together([partial(scan.run, count) for scan, count in zip(scans, counts)], scans)
    found = []
    for query in range(len(results[0][0])):
        returned = [(estimate[query], row[query]) for estimate, row in results]
        found.append(_Search(partitions, queries, query, k, list(scans)).proven(returned))
    return Scored(
        np.repeat(np.arange(len(found)), [len(candidates.row) for candidates in found]),
        *(np.concatenate([getattr(one, name) for one in found]) for name in ("score", "number", "row")),
    )


# ---- scans


@dataclass(frozen=True)
class _Scan:
    """How a partition is scanned for all queries."""

    partition: Partition
    vectors: PatternVectors
    coded: Coded | None  # what codes are multiplied with; None: the vectors themselves are scanned
    bound: Doubles  # (Q,) by how much a score can be above its estimate
    rounding: Doubles  # (Q,) the largest error of a product of vectors in float32
    multiplied: Floats | None = None  # (Q, n) estimates for all clips that can be found, where words count

    def run(self, count: int, query: slice = EVERY) -> tuple[Floats, Rows]:
        """The best rows for some queries by an estimate of inner products."""
        if self.multiplied is not None:
            return _best(self.partition, self.multiplied[query], count)
        if self.vectors.count_words:
            return _lifted(self.partition, self.vectors, count, query)
        if self.coded is None:
            return self.partition.scan(self.vectors.rounded[query], count)
        return self.partition.scan(self.coded if query == EVERY else self.coded.part(query), count)

    def flat(self) -> _Scan:
        """The same by the vectors themselves."""
        scanner = Flat(self.partition.vectors, self.partition.scanner.shape)
        partition = replace(self.partition, scanner=scanner)
        return replace(self, partition=partition, coded=None, bound=self.rounding)


def _scans(partitions: Sequence[Partition], queries: Vectors) -> list[_Scan]:
    """What patterns share is computed once."""
    coded: dict[tuple[int, Pattern], Coded] = {}
    scans = []
    for partition in partitions:
        vectors, certified = queries[partition.pattern], partition.certified
        if vectors.count_words:
            bound = (gamma(vectors.terms) + ULP) * vectors.size(partition) + TINY
            multiplied = None if partition.scanner.remote else _multiplied(partition, vectors)
            scans.append(_Scan(partition, vectors, None, bound, bound, multiplied))
            continue
        if certified is None or not bytes_multiply_exactly():
            scanner = partition.scanner if certified is None else Flat(partition.vectors, certified.shape)
            bound = scanner.bound(vectors.rounded)
            scans.append(_Scan(replace(partition, scanner=scanner), vectors, None, bound, bound))
            continue
        coding = certified.coding
        if (id(coding), partition.pattern) not in coded:
            sharing = [each for each in partitions if each.certified and each.certified.coding is coding]
            patterns = list(dict.fromkeys(each.pattern for each in sharing))
            factors = np.stack([queries[pattern].factors for pattern in patterns])
            every = coding.queries(coding.weighted(vectors.rotated(coding), factors, vectors.offset))
            coded |= {(id(coding), pattern): Coded(*its) for pattern, its in zip(patterns, zip(*every))}
        asked = coded[id(coding), partition.pattern]
        scans.append(_Scan(partition, vectors, asked, asked.bound, asked.rounding))
    return scans


def _multiplied(partition: Partition, vectors: PatternVectors, query: slice = EVERY) -> Floats:
    """(Q, n) inner products with all clips that can be found, words included, in float32."""
    with np.errstate(invalid="ignore", over="ignore"):
        products = vectors.rounded[query] @ partition.vectors.T
        products = products if partition.allowed is None else products[:, partition.found]
        products += vectors.added_by_words(partition, partition.found, query)
    finite = np.isfinite(products)
    if not finite.all():
        if np.isfinite(vectors.rounded).all() and np.isfinite(vectors.queries.packed).all():
            raise partition.damaged(" (a vector is not finite)")
        products[~finite] = -np.inf
    return products


def _lifted(
    partition: Partition, vectors: PatternVectors, count: int, query: slice = EVERY
) -> tuple[Floats, Rows]:
    """The best rows of a remote partition by products with words, as `Scanner.scan` gives them.

    The best by vectors alone, and others that words may lift above the last of those that are wanted.
    """
    found, count = partition.found, min(count, partition.count)
    results = []
    for asked, added in zip(vectors.rounded[query], vectors.added_by_words(partition, found, query)):
        lift = np.zeros(len(partition.rows), np.float32)
        lift[found] = added
        some, rest = count + SPARE, found
        estimate, row = np.empty(0, np.float32), np.empty(0, np.int64)
        while partition.vectors.shape[1] and (not len(row) or len(rest) > READ):
            (estimate,), (row,) = partition.scan(asked[None], some)
            reached = np.partition(estimate + lift[row], -count)[-count]
            rest = found[lift[found] + estimate[-1] >= reached]
            rest = np.setdiff1d(rest, row) if len(row) < len(found) else rest[:0]
            some *= WIDER
        total = np.append(estimate + lift[row], partition.vectors[rest] @ asked + lift[rest])
        order = np.argsort(-total, kind="stable")[:count]
        results.append((total[order].astype(np.float32), np.append(row, rest)[order]))
    return np.stack([total for total, _ in results]), np.stack([row for _, row in results])


def _best(partition: Partition, products: Floats, count: int) -> tuple[Floats, Rows]:
    """The best rows of a partition by (Q, n) products, as `Scanner.scan` gives them."""
    count = min(count, partition.count)
    places: Rows = np.argpartition(-products, count - 1, axis=1)[:, :count]
    estimates = np.take_along_axis(products, places, 1)
    order = np.argsort(-estimates, axis=1, kind="stable")
    estimates, places = np.take_along_axis(estimates, order, 1), np.take_along_axis(places, order, 1)
    return estimates, np.where(np.isneginf(estimates), -1, partition.found[places])


def _together(
    tasks: Sequence[Callable[[], tuple[Floats, Rows]]], scans: Sequence[_Scan]
) -> list[tuple[Floats, Rows]]:
    """What they return; by several threads where there is much to read."""
    count = min(len(tasks), threads())
    if count < 2 or sum(scan.partition.scanner.size for scan in scans) < LARGE:
        return [task() for task in tasks]
    return list(_pool(count).map(lambda task: task(), tasks))


@lru_cache(maxsize=1)
def _pool(count: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(count, "scan")


# ---- one query


@dataclass(frozen=True)
class _Candidates:
    """N clips, what they score at least and at most, and exactly; NaN where that is not known yet."""

    least: Doubles
    most: Doubles
    number: Rows  # partitions
    row: Rows  # in them
    score: Floats

    def at(self, places: NDArray[np.bool_]) -> Self:
        """Some of them."""
        return type(self)(*(getattr(self, field.name)[places] for field in fields(self)))

    def with_more(self, other: Self) -> Self:
        """These, then others."""
        pairs = ((getattr(self, field.name), getattr(other, field.name)) for field in fields(self))
        return type(self)(*map(np.concatenate, pairs))

    def kth(self, k: int) -> float:
        """L; -inf where there are fewer."""
        known = self.least[self.least > -np.inf]
        place = len(known) - k
        return float(np.partition(known, place)[place]) if place >= 0 else -np.inf

    def possible(self, k: int) -> Rows:
        """Those that may be among the best k and are not scored yet."""
        return np.flatnonzero(np.isnan(self.score) & (self.most >= self.kth(k)))


Returned = Sequence[tuple[Floats, Rows]]  # by scans: estimates of inner products, falling, and rows


@dataclass(frozen=True)
class _Search:
    """The search of one query."""

    partitions: Sequence[Partition]
    queries: Vectors
    query: int
    k: int
    scans: list[_Scan]

    def proven(self, returned: Returned) -> _Candidates:
        """All clips that score at least as well as the k-th best; returned: by the scan of each partition."""
        numbers = np.flatnonzero([scan.vectors.covers[self.query] for scan in self.scans])
        counts = np.array([len(row) for _, row in returned])
        found, left = self._candidates(numbers, [returned[n] for n in numbers.tolist()])
        while True:
            self._decide(found)
            kth = found.kth(self.k)
            unproven = (left >= kth) & (left > -np.inf)  # -inf: nothing is left out
            if not unproven.any():
                return found.at(found.score >= kth)
            numbers = numbers[unproven]
            wider = [self._wider(n, counts) for n in numbers.tolist()]
            more, left = self._candidates(numbers, wider)
            found = found.at(~np.isin(found.number, numbers)).with_more(more)

    def _candidates(self, numbers: Rows, returned: Returned) -> tuple[_Candidates, Doubles]:
        """The rows that scans of U partitions returned, and (U,) the most that what they left out can score."""
        scans = [self.scans[n] for n in numbers]
        counts = np.array([len(row) for _, row in returned], np.int64)
        estimate, row = (np.concatenate(columns) for columns in zip(*returned)) if returned else _NOTHING
        bound, constant = (
            np.array([(s.bound[self.query], s.vectors.constant[self.query]) for s in scans]).reshape(-1, 2).T
        )
        number = np.repeat(numbers, counts)
        estimate = (estimate + np.repeat(constant, counts)).astype(np.float32)
        error = np.repeat(bound, counts) + _ulp(estimate)
        most = np.where(row < 0, -np.inf, estimate + error)
        least = np.where(np.repeat([s.coded is None for s in scans], counts), estimate - error, -np.inf)
        whole = counts == [scan.partition.count for scan in scans]
        left = np.where(whole, -np.inf, most[np.cumsum(counts) - 1])
        there = row >= 0
        score = np.full(int(there.sum()), np.nan, dtype=np.float32)
        return _Candidates(least[there], most[there], number[there], row[there], score), left

    def _wider(self, n: int, counts: Rows) -> tuple[Floats, Rows]:
        """Scan a partition again, for more rows than it returned."""
        wanted, there = WIDER * int(counts[n]), self.partitions[n].count
        if self.scans[n].coded is not None and WIDER * wanted > there:
            self.scans[n] = self.scans[n].flat()
            wanted = self.k + SPARE
        counts[n] = min(wanted, there)
        estimate, row = self.scans[n].run(int(counts[n]), slice(self.query, self.query + 1))
        return estimate[0], row[0]

    def _decide(self, found: _Candidates) -> None:
        """Score all that may be among the best."""
        if len(found.row) > MANY:  # the best by their bounds give a first L
            best = np.argpartition(-found.most, MANY)[:MANY]
            self._estimate(found, best[np.isneginf(found.least[best])])
        possible = found.possible(self.k)
        self._estimate(found, possible[np.isneginf(found.least[possible])])
        self._score(found, found.possible(self.k))

    def _score(self, found: _Candidates, places: Rows) -> None:
        number, row = found.number[places], found.row[places]
        score = exact_scores(self.partitions, self.queries, np.full(len(places), self.query), number, row).score
        wrong = (score > found.most[places]) | (score < found.least[places])
        if wrong.any():
            raise self.partitions[int(number[wrong][0])].damaged()
        found.score[places] = found.least[places] = found.most[places] = score

    def _estimate(self, found: _Candidates, places: Rows) -> None:
        """Bound scores by products in float32."""
        number, row = found.number[places], found.row[places]
        estimate, error = np.empty(len(places)), np.empty(len(places))
        for n, its in grouped(number):
            vectors, step = self.scans[n].vectors, max(1, GATHERED // self.scans[n].vectors.width)
            for start in range(0, len(its), step):
                some = its[start : start + step]
                with np.errstate(invalid="ignore"):  # damaged vectors are told by their exact scores
                    estimate[some] = self.partitions[n].vectors[row[some]] @ vectors.rounded[self.query]
            estimate[its] += vectors.constant[self.query]
            error[its] = self.scans[n].rounding[self.query]
        error += _ulp(estimate)
        found.least[places] = np.maximum(found.least[places], estimate - error)
        found.most[places] = np.minimum(found.most[places], estimate + error)


_NOTHING = np.empty(0, np.float32), np.empty(0, np.int64)


def _ulp(estimate: NDArray[np.floating]) -> Doubles:
    """Above the error of rounding a score of this size to float32."""
    return np.asarray(ULP * (1 + np.abs(estimate)), dtype=np.float64)
