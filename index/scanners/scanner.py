"""Scanner: finds the rows of a partition that may score best, without reading all of its vectors.

    exact score - estimate <= bound(query)        infinite for kinds without a proven bound

A partition holds N vectors of one availability pattern and one segment, (N, W) float32: the packed experts of the
pattern side by side, each of norm at most 1, then the clip's offset where clips have one. These are the parts of
a vector. The inner product of a query with a row is its score. Rows that are removed or filtered out are not
allowed. Candidates of a scan are scored exactly elsewhere (index/exact/ranking.py).

What float32 loses, for n operations on each product, in any order:

    |<a, b>| <= sum over parts m of |a_m| |b_m|        (Cauchy and Schwarz)
    |fl(q . x) - q . x| <= gamma_n sum of |q_i x_i| <= gamma_n sum over parts of ||q_m|| ||x_m||
    gamma_n = n u / (1 - n u),   u = 2^-24

(Higham, Accuracy and Stability of Numerical Algorithms, section 3.1).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, ClassVar, Final, Self, final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]
Rows = NDArray[np.int64]
Results = tuple[Floats, Rows]  # (Q, C) estimates in falling order, and their rows; -inf and -1 where none is found

LARGEST_NORM: Final = 1.001  # of a clip's expert; checked when a clip is put into an index
UNIT: Final = 2.0**-24  # unit roundoff of float32
ULP: Final = 2.0**-22  # above the error of rounding a score, or a threshold made of it, to float32
TINY: Final = 2.0**-100  # above what is lost by products of a score that underflow float32
CHUNK: Final = 4 * 2**20  # bytes of vectors coded at a time: they stay in the cache


@final
class Allowed:
    """A mask over N rows, in the forms that scanners need."""

    def __init__(self, mask: NDArray[np.bool_]) -> None:
        self.mask = mask  # (N,) bool

    def __len__(self) -> int:
        return len(self.mask)

    @cached_property
    def count(self) -> int:
        """How many rows are allowed."""
        return int(np.count_nonzero(self.mask))

    @cached_property
    def rows(self) -> Rows:
        """(count,) the allowed rows, rising."""
        return np.flatnonzero(self.mask)

    @cached_property
    def bits(self) -> NDArray[np.uint8]:
        """The mask as FAISS's bitmaps store it: row i is bit i % 8 of byte i // 8."""
        return np.packbits(self.mask, bitorder="little")


@dataclass(frozen=True)
class Shape:
    """The columns of a partition's vectors."""

    sizes: tuple[int, ...]  # of the pattern's experts, in their order
    offset: bool = False  # whether the clip's offset follows; queries hold -1 there to subtract it, else 0

    @cached_property
    def width(self) -> int:
        """W."""
        return sum(self.sizes) + self.offset


class Scanner(ABC):
    """Scans one partition. It keeps the vectors, which may be memory-mapped."""

    kind: ClassVar[str]
    remote: ClassVar[bool] = False  # whether the vectors are elsewhere, so that only a few are read

    def __init__(self, vectors: Floats, shape: Shape) -> None:
        self.vectors, self.shape = vectors, shape  # (N, W)

    @property
    def size(self) -> int:
        """Bytes that a scan reads."""
        return self.vectors.nbytes

    def scan(self, queries: Floats, count: int, allowed: Allowed | None = None) -> Results:
        """The best rows by an estimate of their scores.

        Args:
            queries: (Q, W) float32, contiguous.
            count: rows to find for each query, at least 1.
            allowed: which rows may be found; None: all.

        Returns:
            (Q, C) estimates in falling order and (Q, C) rows, each row once; C is at most count. Where fewer rows
            are found than C, -inf and -1 stand. A kind with a proven bound finds count rows if so many are
            allowed, and no row that it leaves out has a higher estimate.
        """
        count = min(count, len(self.vectors) if allowed is None else allowed.count)
        return self._scan(queries, count, allowed) if count else no_results(len(queries))

    @abstractmethod
    def _scan(self, queries: Floats, count: int, allowed: Allowed | None) -> Results:
        """The same, where so many rows are allowed."""

    @property
    def exact(self) -> Scanner:
        """Of a remote one: one with a proven bound."""
        return self

    @abstractmethod
    def bound(self, queries: Floats) -> Doubles:
        """(Q,) by how much an exact score can be above its estimate; inf where nothing is proven.

        Of kinds without codes, it can be as far below it.
        """

    @classmethod
    def build(cls, vectors: Floats, shape: Shape) -> Self:
        """Make it from (N, W) vectors, N at least 1; memory grows only with its own codes."""
        return cls(vectors, shape)

    @classmethod
    def open(cls, path: Path, vectors: Floats, shape: Shape) -> Self:
        """Open what `save` wrote; codes are memory-mapped, and read at the first scan."""
        return cls.build(vectors, shape)

    def save(self, path: Path) -> None:
        """Write its codes; a kind without codes writes nothing."""
        return

    @staticmethod
    def files(path: Path) -> tuple[Path, ...]:
        """The files that `save` writes."""
        return ()


def no_results(queries: int) -> Results:
    """Results with no column."""
    return np.empty((queries, 0), dtype=np.float32), np.empty((queries, 0), dtype=np.int64)


def cleaned(estimates: Floats, rows: Rows) -> Results:
    """Results of FAISS, with -inf and -1 where it found no row, or where the query is not finite."""
    if rows.shape[1] and ((rows[:, -1] < 0) | np.isnan(estimates[:, -1])).any():  # those come last
        missing = (rows < 0) | np.isnan(estimates)
        estimates[missing] = -np.inf
        rows[missing] = -1
    return estimates, rows


def only_allowed(estimates: Floats, rows: Rows, allowed: Allowed, count: int) -> Results:
    """The first `count` results of each query that are allowed, in the same order."""
    good = (rows >= 0) & allowed.mask[rows]
    order = np.argsort(~good, axis=1, kind="stable")[:, :count]
    good = np.take_along_axis(good, order, axis=1)
    estimates = np.take_along_axis(estimates, order, axis=1)
    rows = np.take_along_axis(rows, order, axis=1)
    return np.where(good, estimates, np.float32(-np.inf)), np.where(good, rows, -1)


def gamma(terms: int) -> float:
    """gamma_n of an inner product of so many terms, of inputs rounded to float32 and a rounded result."""
    operations = terms + 6
    return operations * UNIT / (1 - operations * UNIT)


@lru_cache(maxsize=256)
def part_starts(shape: Shape) -> tuple[int, ...]:
    """The first column of each part."""
    ends = np.cumsum((0, *shape.sizes)).tolist()
    return tuple(ends if shape.offset else ends[:-1])


def part_norms(vectors: NDArray[np.floating[Any]], shape: Shape) -> Doubles:
    """(N, parts) the norm of each part of (N, W) vectors, in float64."""
    squares = np.square(vectors, dtype=np.float64)
    return np.asarray(np.sqrt(np.add.reduceat(squares, part_starts(shape), axis=1)))


def longest_parts(vectors: Floats, shape: Shape) -> Doubles:
    """(parts,) no row of (N, W) vectors has a longer part; summed in float32, and rounded up for that."""
    starts = part_starts(shape)
    ends = (*starts[1:], shape.width)
    longest = [_longest(vectors[:, a:b]) for a, b in zip(starts, ends)]
    return np.array(longest) * (1 + gamma(shape.width)) + TINY


def _longest(part: Floats) -> float:
    if part.shape[1] == 1:  # an offset may be too large to be squared
        return float(np.abs(part).max())
    return float(np.sqrt(np.float64(np.einsum("nd,nd->n", part, part).max())))


def multiple(width: int, of: int) -> int:
    """The least multiple of `of` that is at least `width`."""
    return -(-width // of) * of


def chunks(vectors: Floats) -> Iterator[Floats]:
    """Some rows at a time, of about CHUNK bytes."""
    step = max(1, CHUNK // (4 * vectors.shape[1]))
    for start in range(0, len(vectors), step):
        yield np.asarray(vectors[start : start + step])
