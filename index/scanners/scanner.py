"""Scanner: which rows of a partition may be among the best, found without reading all of its vectors.

    |scan's score - exact score| <= bound(query)        infinite where a kind proves nothing

A partition holds N vectors of one availability pattern, which lie together in one segment, (N, W) float32: the
packed experts of the pattern side by side, each of norm at most 1, and one more component where clips carry an
offset. A query is the vector whose inner product with a row is the score. Rows are allowed that are neither
removed nor filtered out. What a scan finds is re-ranked exactly elsewhere (index/exact/ranking.py).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Protocol, Self, final

import numpy as np
from numpy.typing import NDArray

from mee.errors import InputError

if TYPE_CHECKING:
    from mee.scoring import Pattern


@final
class Allowed:
    """A mask over N rows, in the forms that scanners want."""

    def __init__(self, mask: NDArray[np.bool_]) -> None:
        self.mask = mask  # (N,) bool

    def __len__(self) -> int:
        return len(self.mask)

    @cached_property
    def count(self) -> int:
        """How many rows are allowed."""
        return int(np.count_nonzero(self.mask))

    @cached_property
    def rows(self) -> NDArray[np.int64]:
        """(count,) the allowed rows, rising."""
        return np.flatnonzero(self.mask)

    @cached_property
    def bits(self) -> NDArray[np.uint8]:
        """The mask as FAISS's bitmaps have it: row i is bit i % 8 of byte i // 8."""
        return np.packbits(self.mask, bitorder="little")

    def __and__(self, other: Allowed) -> Allowed:
        return Allowed(self.mask & other.mask)


def both(one: Allowed | None, other: Allowed | None) -> Allowed | None:
    """What both allow; None allows everything."""
    if one is None or other is None:
        return other if one is None else one
    return one & other


Floats = NDArray[np.float32]
Rows = NDArray[np.int64]


@dataclass(frozen=True)
class Shape:
    """How the vectors of a partition are made up."""

    sizes: tuple[int, ...]  # of the pattern's experts, in their order
    offset: bool = False  # whether one more component follows, that a query takes with -1 or 0

    @property
    def width(self) -> int:
        """W."""
        return sum(self.sizes) + self.offset


class Scanner(ABC):
    """Made for one partition; knows its vectors, which may be memory-mapped."""

    kind: ClassVar[str]
    vectors: Floats  # (N, W)
    shape: Shape

    @abstractmethod
    def scan(self, queries: Floats, count: int, allowed: Allowed | None = None) -> tuple[Floats, Rows]:
        """The best rows by an estimate of their scores.

        Args:
            queries: (Q, W) float32, contiguous.
            count: how many rows a query, at least 1.
            allowed: which rows may be found; None: all.

        Returns:
            (Q, C) estimates in falling order and (Q, C) rows, each row once; C is at most count. Where fewer rows
            are found than C, -inf and -1 stand. A kind that proves its bound finds count rows if so many are
            allowed, and no row that it leaves out has a higher estimate.
        """

    @abstractmethod
    def bound(self, queries: Floats) -> NDArray[np.float64]:
        """(Q,) how far an estimate can be from the exact score; inf where nothing is proven."""

    @abstractmethod
    def save(self, path: Path) -> None:
        """Write what belongs to it besides the vectors; a kind that has nothing writes nothing."""

    @staticmethod
    @abstractmethod
    def files(path: Path) -> tuple[Path, ...]:
        """What `save` writes."""

    @classmethod
    @abstractmethod
    def build(cls, vectors: Floats, shape: Shape) -> Self:
        """Make it from (N, W) vectors, N at least 1, in memory that grows with its own codes only."""

    @classmethod
    @abstractmethod
    def open(cls, path: Path, vectors: Floats, shape: Shape) -> Self:
        """What `save` wrote; its file is read when first scanned, memory-mapped where FAISS can."""


class Names(Protocol):
    """A segment's table of clips, as far as ranking needs it."""

    def ids(self, rows: Rows) -> list[str]:
        """Clip ids of some rows."""
        ...


@dataclass(frozen=True)
class Partition:
    """N clips, at least one."""

    pattern: Pattern
    vectors: Floats  # (N, W), memory-mapped or in memory; see above
    rows: Rows  # (N,) their rows in the segment's table
    scanner: Scanner
    names: Names
    segment: int  # its number in the snapshot
    allowed: Allowed | None = None  # None: all

    @property
    def count(self) -> int:
        """How many clips can be found."""
        return len(self.vectors) if self.allowed is None else self.allowed.count

    def restricted(self, allowed: Allowed | None) -> Partition:
        """The same, of which only those clips can be found that are also allowed here."""
        return self if allowed is None else replace(self, allowed=both(self.allowed, allowed))

    def scan(self, queries: Floats, count: int) -> tuple[Floats, Rows]:
        """See `Scanner.scan`, of the rows that are allowed."""
        try:
            return self.scanner.scan(queries, min(count, self.count), self.allowed)
        except ValueError as error:
            raise InputError(f"{damage(self)} ({error})") from error

    def ids(self, rows: Rows) -> list[str]:
        """Clip ids of some of its rows."""
        return self.names.ids(self.rows[rows])


def damage(partition: Partition) -> str:
    """What to say of a partition whose vectors contradict what else is known of them."""
    code = "".join("1" if present else "0" for present in partition.pattern)
    return (
        f"the index is damaged: vectors of pattern {code}, or what they are scanned by, are not what was written; "
        "see mee gallery verify INDEX, then restore the files, or make the index again"
    )
