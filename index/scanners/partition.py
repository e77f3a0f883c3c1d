"""Partition: the clips of one segment and one availability pattern, with their scanner and their words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Final, Protocol, cast, final

import numpy as np
from numpy.typing import NDArray

from index.scanners.certified import Certified
from index.scanners.coding import Coded
from index.scanners.scanner import Allowed, Doubles, Floats, Results, Rows, Scanner
from mee.errors import InputError
from mee.layout import Pattern

GATHERED: Final = 2**17  # numbers of vectors of words that are multiplied at a time: they stay in the cache


class Names(Protocol):
    """A segment's table of clips, as far as ranking needs it."""

    def ids(self, rows: Rows) -> list[str]:
        """Clip ids of some rows."""
        ...


@final
class WordRows:
    """The vectors of an expert of words: several of a clip, side by side. The largest inner product counts."""

    def __init__(self, values: Floats, starts: Rows) -> None:
        """values: (R, E), memory-mapped or in memory; starts: (C + 1,) first rows of C clips, which have some."""
        self.values, self.starts = values, starts

    def of(self, clip: int) -> Floats:
        """The vectors of a clip."""
        return self.values[self.starts[clip] : self.starts[clip + 1]]

    def best(self, queries: Floats, clips: Rows) -> Floats:
        """(Q, E) queries and (N,) clips, rising -> (Q, N) largest products, in float32; NaN where damaged."""
        found = np.empty((len(queries), len(clips)), np.float32)
        for some, rows, first in self._blocks(clips):
            with np.errstate(invalid="ignore", over="ignore"):
                np.maximum.reduceat(queries @ self.values[rows].T, first, axis=1, out=found[:, some])
        return found

    def exact(self, queries: NDArray[np.floating], clips: Rows) -> Doubles:
        """(N, E) queries, each with the clip beside it -> (N,) largest products, in float64."""
        found = np.empty(len(clips))
        for some, rows, first in self._blocks(clips):
            values = self.values[rows]
            sizes = np.diff(first, append=len(values))
            products = (values * np.repeat(queries[some].astype(np.float64), sizes, axis=0)).sum(1)
            found[some] = np.maximum.reduceat(products, first)
        return found

    def _blocks(self, clips: Rows) -> Iterator[tuple[slice, Rows | slice, Rows]]:
        """Some clips at a time: their places, their rows, and where those of each begin among these."""
        first, sizes = self.starts[clips], self.starts[clips + 1] - self.starts[clips]
        ends, start, step = np.cumsum(sizes), 0, max(1, GATHERED // self.values.shape[1])
        while start < len(clips):
            before = int(ends[start] - sizes[start])
            stop = max(start + 1, int(np.searchsorted(ends, before + step, side="right")))
            begin = ends[start:stop] - sizes[start:stop] - before
            count, its = int(ends[stop - 1]) - before, first[start:stop]
            rows: Rows | slice = slice(int(its[0]), int(its[0]) + count)
            if (its != its[0] + begin).any():  # others lie between them
                rows = np.repeat(its - begin, sizes[start:stop]) + np.arange(count)
            yield slice(start, stop), rows, begin
            start = stop


@dataclass(frozen=True)
class Partition:
    """N clips of one segment and one availability pattern, at least one."""

    pattern: Pattern
    vectors: Floats  # (N, W), memory-mapped or in memory; W is 0 where clips have words alone
    rows: Rows  # (N,) their rows in the segment's table
    scanner: Scanner
    names: Names
    segment: int  # its number in the snapshot
    allowed: Allowed | None = None  # None: all
    # of each expert of words, by its number: vectors, and (N,) the clips' places among those that have some
    words: Mapping[int, tuple[WordRows, Rows]] = field(default_factory=dict)

    @property
    def certified(self) -> Certified | None:
        """Its scanner, if it is one of codes with a bound."""
        return self.scanner if isinstance(self.scanner, Certified) else None

    @cached_property
    def count(self) -> int:
        """How many clips can be found."""
        return len(self.vectors) if self.allowed is None else self.allowed.count

    def restricted(self, mask: NDArray[np.bool_]) -> Partition:
        """The same, where only clips can be found whose row of the segment's table is also in a mask."""
        here = mask[self.rows]
        return replace(self, allowed=Allowed(here if self.allowed is None else here & self.allowed.mask))

    def scan(self, queries: Floats | Coded, count: int) -> Results:
        """As `Scanner.scan`, of the rows that are allowed; queries may be coded, for certified ones."""
        count = min(count, self.count)
        try:
            if isinstance(queries, Coded) and isinstance(self.scanner, Certified):
                found, numbers = self.scanner.scan_coded(queries, count, self.allowed), queries.numbers
            else:
                plain = cast("Floats", queries)
                found, numbers = self.scanner.scan(plain, count, self.allowed), plain
            if (found[1][:, -1:] < 0).any() and np.isfinite(numbers).all():
                raise ValueError("a vector is not finite")  # no row is found whose score is NaN
            return found
        except InputError:  # of a database
            raise
        except ValueError as error:
            raise self.damaged(f" ({error})") from error

    @property
    def nbytes(self) -> int:
        """Of its vectors, those of words included."""
        rows = ((words, np.diff(words.starts)[places].sum()) for words, places in self.words.values())
        return self.vectors.nbytes + sum(int(n) * words.values[:1].nbytes for words, n in rows)

    @cached_property
    def found(self) -> Rows:
        """(count,) its rows that can be found, rising."""
        return np.arange(len(self.vectors)) if self.allowed is None else self.allowed.rows

    def ids(self, rows: Rows) -> list[str]:
        """Clip ids of some of its rows."""
        return self.names.ids(self.rows[rows])

    def damaged(self, reason: str = "") -> InputError:
        """The error to raise where its vectors contradict its codes, or are not finite."""
        code = "".join("1" if present else "0" for present in self.pattern)
        return InputError(
            f"the index is damaged: vectors of pattern {code}, or their codes, are not what was written; see "
            f"mee gallery verify INDEX, then restore the files, or make the index again{reason}"
        )
