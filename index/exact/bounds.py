"""What all clips score at most by a few queries: by codes where there are some, or by vectors.

Products of codes are upper bounds but for rounding, and those of vectors are scores but for rounding, as in
index/exact/prefixes.py and index/exact/batch.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, final

import numpy as np

from index.exact.ranking import grouped
from index.scanners import TINY, ULP, Flat, Partition, Rows, gamma

if TYPE_CHECKING:
    from index.queries import Doubles, PatternVectors, Vectors
    from index.scanners import Certified, Floats

RARE = 32  # where one clip of so many, or fewer, can be found, their vectors are read
BLOCK = 512  # clips whose codes become numbers at a time: they stay in the cache


@final
class UpperBounds:
    """Of the scores of all clips of partitions by Q queries; -inf: a query says nothing of a clip."""

    def __init__(self, partitions: Sequence[Partition], queries: Vectors) -> None:
        self._parts = [_Part(partition, queries[partition.pattern]) for partition in partitions]

    def all(self) -> Doubles:
        """(Q, R) of all rows of the partitions, -inf or more for those that cannot be found."""
        return np.concatenate([part.all() for part in self._parts], axis=1)

    def tighter(self, number: Rows, row: Rows) -> Doubles:
        """(Q, N) by vectors, of rows of partitions by their numbers."""
        bounds = np.empty((len(self._parts[0].vectors.covers), len(row)))
        for n, its in grouped(number):
            bounds[:, its] = self._parts[n].by_vectors(row[its])
        return bounds


@dataclass(frozen=True)
class _Part:
    """The queries in one partition."""

    partition: Partition
    vectors: PatternVectors

    @cached_property
    def codes(self) -> Certified | None:
        """What the clips are coded by; None: there are no codes, or words count, which have none."""
        return None if self.vectors.count_words else self.partition.certified

    @cached_property
    def numbers(self) -> Doubles:
        """(Q, D) the queries in the numbers that are coded."""
        assert self.codes is not None
        rotated = self.vectors.rotated(self.codes.coding)
        return self.codes.coding.weighted(rotated, self.vectors.factors, self.vectors.offset)

    @cached_property
    def rounding(self) -> Doubles:
        """(Q,) the largest error of a product with a vector in float32."""
        if self.vectors.count_words:
            return (gamma(self.vectors.terms) + ULP) * self.vectors.size(self.partition) + TINY
        if self.codes is not None:
            return self.codes.coding.rounding(self.numbers)
        return Flat(self.partition.vectors, self.partition.scanner.shape).bound(self.vectors.rounded)

    def all(self) -> Doubles:
        """(Q, N)"""
        count, found = len(self.partition.rows), self.partition.found
        if RARE * len(found) < count:
            bounds = np.full((len(self.vectors.covers), count), -np.inf)
            bounds[:, found] = self.by_vectors(found)
            return bounds
        if self.codes is None:
            return self.by_vectors()
        factors, constant, bound = self.codes.coding.factors(self.numbers, self.codes.pattern)
        products = np.empty((len(factors), len(self.codes.codes)), np.float32)
        block = np.empty((BLOCK, factors.shape[1]), np.float32)
        for start in range(0, products.shape[1], BLOCK):
            its = self.codes.codes[start : start + BLOCK]
            block[: len(its)] = (its ^ 128).view(np.int8)  # codes have 128 added to them
            _multiply(factors, block[: len(its)], products[:, start : start + BLOCK])
        return self._above(products, constant + bound)

    def by_vectors(self, rows: Rows | None = None) -> Doubles:
        """(Q, n) of some rows, None: of all."""
        its, queries = self.partition.vectors, self.vectors.rounded
        count = len(its) if rows is None else len(rows)
        products = np.empty((len(queries), count), np.float32)
        with np.errstate(invalid="ignore", over="ignore"):  # damaged vectors are told by their exact scores
            for start in range(0, count, BLOCK):
                some = slice(start, start + BLOCK)
                _multiply(queries, its[some if rows is None else rows[some]], products[:, some])
            if self.vectors.count_words:
                products += self.vectors.added_by_words(self.partition, np.arange(count) if rows is None else rows)
        return self._above(products, self.rounding)

    def _above(self, products: Floats, bound: Doubles) -> Doubles:
        """Upper bounds of scores that are rounded to float32."""
        bounds = products + (self.vectors.constant + bound)[:, None]
        bounds += ULP * (1 + np.abs(bounds))
        bounds[~self.vectors.covers] = -np.inf
        return np.where(np.isnan(bounds), np.inf, bounds)


def _multiply(queries: Floats, clips: Floats, products: Floats) -> None:
    """Of few queries, by one after another: faster than a product of two matrices of which one has few rows."""
    for query, found in zip(queries, products):
        np.matmul(clips, query, out=found)
