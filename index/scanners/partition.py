"""Partition: the clips of one segment and one availability pattern, with their scanner."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Protocol, cast

import numpy as np
from numpy.typing import NDArray

from index.scanners.certified import Certified
from index.scanners.coding import Coded
from index.scanners.scanner import Allowed, Floats, Results, Rows, Scanner
from mee.errors import InputError
from mee.layout import Pattern


class Names(Protocol):
    """A segment's table of clips, as far as ranking needs it."""

    def ids(self, rows: Rows) -> list[str]:
        """Clip ids of some rows."""
        ...


@dataclass(frozen=True)
class Partition:
    """N clips of one segment and one availability pattern, at least one."""

    pattern: Pattern
    vectors: Floats  # (N, W), memory-mapped or in memory
    rows: Rows  # (N,) their rows in the segment's table
    scanner: Scanner
    names: Names
    segment: int  # its number in the snapshot
    allowed: Allowed | None = None  # None: all

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
        except ValueError as error:
            raise self.damaged(f" ({error})") from error

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
