"""Weighted: for each availability pattern, the vectors whose inner product with a clip is the score."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import accumulate, compress, pairwise
from typing import final

import numpy as np
from numpy.typing import NDArray

from index.queries import Doubles, Queries
from index.scanners import Floats, Partition, Rows, gamma
from mee.layout import Layout
from mee.scoring import Pattern

FEW = 16  # queries whose exact vectors are kept; of more they are made as they are needed


@dataclass(frozen=True)
class Place:
    """One expert of a pattern."""

    expert: int
    packed: slice  # where it lies in a packed vector
    here: slice  # and in a row of the pattern


@dataclass(frozen=True)
class Vectors:
    """Of Q queries, for clips of one pattern."""

    queries: Queries
    factors: Doubles  # (Q, T, M) what each term's experts count for
    speaks: NDArray[np.bool_]  # (Q,) whether the query says anything about such clips
    shift: float | None  # -1 where a clip's offset is taken off, else 0; None: clips carry none
    places: tuple[Place, ...]
    few: Doubles | None  # (Q, W) where there are few

    @property
    def width(self) -> int:
        """W."""
        return int(self.places[-1].here.stop) + (self.shift is not None)

    def added_norms(self, vectors: Floats) -> Doubles:
        """(Q,) at least the sum over the experts of the norms of their parts of (Q, W) vectors."""
        parts = (vectors[:, place.here] for place in self.places)
        norms = sum(np.sqrt(np.einsum("qd,qd->q", part, part).astype(np.float64)) for part in parts)
        return np.asarray(norms * (1 + gamma(self.width)))

    @cached_property
    def rounded(self) -> Floats:
        """(Q, W) float32, contiguous: what is scanned with."""
        if self.few is not None:
            return self.few.astype(np.float32)
        if self.factors.shape[1] > 1:
            return self.exact(np.arange(len(self.queries))).astype(np.float32)
        vectors = np.empty((len(self.queries), self.width), dtype=np.float32)
        factors = self.factors[:, 0].astype(np.float32)
        for place in self.places:
            packed = self.queries.packed[:, 0, place.packed]
            np.multiply(packed, factors[:, place.expert, None], out=vectors[:, place.here])
        if self.shift is not None:
            vectors[:, -1] = self.shift
        return vectors

    def exact(self, query: Rows) -> Doubles:
        """(N, W) float64 of some queries."""
        if self.few is not None:
            return self.few[query]
        vectors = np.empty((len(query), self.width))
        packed, factors = self.queries.packed, self.factors[query]
        for place in self.places:
            out, m = vectors[:, place.here], place.expert
            np.multiply(packed[query, 0, place.packed], factors[:, 0, m, None], out=out)
            for term in range(1, factors.shape[1]):
                out += packed[query, term, place.packed] * factors[:, term, m, None]
        if self.shift is not None:
            vectors[:, -1] = self.shift
        return vectors


@final
class Weighted:
    """Queries, weighed for the patterns of some partitions."""

    def __init__(self, queries: Queries, layout: Layout, partitions: Sequence[Partition], *, shift: bool) -> None:
        """Weigh them.

        Args:
            queries: Q of them.
            layout: of the packed vectors.
            partitions: all have offsets, or none has.
            shift: whether clips' offsets are taken off their scores.
        """
        self.queries = queries
        self.shift = -float(shift) if partitions and partitions[0].scanner.shape.offset else None
        patterns = list(dict.fromkeys(partition.pattern for partition in partitions))
        factors = queries.weights(np.array(patterns)) * queries.share[..., None]  # (P, Q, T, M)
        speaks = ((factors != 0).any(-1) | (queries.share == 0)).all(-1)  # (P, Q)
        few = self._few(queries, factors, layout, self.shift) if len(queries) <= FEW else None
        self._vectors = {}
        for n, pattern in enumerate(patterns):
            places, columns = _places(layout, pattern)
            if self.shift is not None:
                columns = np.append(columns, layout.total)
            kept = None if few is None else np.ascontiguousarray(few[n][:, columns])
            self._vectors[pattern] = Vectors(queries, factors[n], speaks[n], self.shift, places, kept)

    def __len__(self) -> int:
        """Q."""
        return len(self.queries)

    def __getitem__(self, pattern: Pattern) -> Vectors:
        return self._vectors[pattern]

    @staticmethod
    def _few(queries: Queries, factors: Doubles, layout: Layout, shift: float | None) -> Doubles:
        """(P, Q, E) of all patterns in one go, the offset's component last where there is one."""
        vectors = np.repeat(factors[:, :, 0], layout.sizes, axis=-1)
        vectors *= queries.packed[:, 0]
        for term in range(1, factors.shape[2]):
            vectors += np.repeat(factors[:, :, term], layout.sizes, axis=-1) * queries.packed[:, term]
        if shift is None:
            return vectors
        return np.concatenate([vectors, np.full((*vectors.shape[:2], 1), shift)], axis=-1)


@lru_cache(maxsize=1024)
def _places(layout: Layout, pattern: Pattern) -> tuple[tuple[Place, ...], NDArray[np.int64]]:
    """Where a pattern's experts are, and (E_A,) the columns of packed vectors that they take."""
    ends = [0, *accumulate(compress(layout.sizes, pattern))]
    there = compress(enumerate(layout.slices), pattern)
    places = tuple(Place(m, packed, slice(*here)) for (m, packed), here in zip(there, pairwise(ends)))
    return places, np.flatnonzero(np.repeat(pattern, layout.sizes))
