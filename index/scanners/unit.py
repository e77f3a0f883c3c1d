"""Unit: clips of one availability pattern that lie together in one segment, and how they are scanned."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol

from index.scanners.scanner import Allowed, Floats, Rows, Scanner, both
from mee.errors import InputError
from mee.scoring import Pattern


class Names(Protocol):
    """A segment's table of clips, as far as ranking needs it."""

    def ids(self, rows: Rows) -> list[str]:
        """Clip ids of some rows."""
        ...


@dataclass(frozen=True)
class Unit:
    """N clips, at least one."""

    pattern: Pattern
    vectors: Floats  # (N, W), memory-mapped or in memory; see index/scanners/scanner.py
    rows: Rows  # (N,) their rows in the segment's table
    scanner: Scanner
    names: Names
    segment: int  # its number in the snapshot
    allowed: Allowed | None = None  # None: all

    @property
    def count(self) -> int:
        """How many clips can be found."""
        return len(self.vectors) if self.allowed is None else self.allowed.count

    def restricted(self, allowed: Allowed | None) -> Unit:
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


def damage(unit: Unit) -> str:
    """What to say of a unit whose vectors contradict what else is known of them."""
    code = "".join("1" if present else "0" for present in unit.pattern)
    return (
        f"the index is damaged: vectors of pattern {code}, or what they are scanned by, are not what was written; "
        "see mee gallery verify INDEX, then restore the files, or make the index again"
    )
