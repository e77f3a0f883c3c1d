"""Kinds of scanners, and which one a partition gets.

kind        reads for one query        results
flat        4 bytes a component        exact
certified   1 byte a component of      exact: proven by a bound on the error; otherwise the scan is widened
            a short prefix
fastscan    1 bit a component          candidates, re-ranked by exact scores; recall is measured
postgres    (in the database) all      exact
hnsw        (in the database) a graph  candidates, as of fastscan

auto        certified; fastscan where a recall below 1 is wanted
any         flat for partitions of few rows

A new kind is a scanner's file and a line of KINDS.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Final, Literal, get_args

from mee.errors import InputError

if TYPE_CHECKING:
    from index.scanners.scanner import Scanner

KINDS: Final[dict[str, str]] = {
    "flat": "index.scanners.flat:Flat",
    "certified": "index.scanners.certified:Certified",
    "fastscan": "index.scanners.fastscan:FastScan",
}
Choice = Literal["auto", "flat", "certified", "fastscan"]
PROVEN: Final = ("flat", "certified", "postgres")
SMALL: Final = {"certified": 128, "fastscan": 1024}  # rows, below which codes gain nothing
AT: Final = 10  # results that recall is measured of
RERANK: Final = 100  # candidates of fastscan that are re-ranked for them, unless a recall is requested


@dataclass(frozen=True)
class Settings:
    """Which scanners an index uses."""

    kind: Choice = "auto"  # of the larger partitions
    recall: float | None = None  # share of the exact best 10 to find; None: whatever the kind finds

    def __post_init__(self) -> None:
        if self.kind not in get_args(Choice):
            raise InputError(f"there is no kind '{self.kind}'; there are {', '.join(get_args(Choice))}")
        if self.recall is not None and not 0 < self.recall <= 1:
            raise InputError(f"recall must be above 0 and at most 1, got {self.recall}")
        if self.recall is not None and self.kind in PROVEN:
            raise InputError(f"'{self.kind}' is exact: leave recall out, or choose fastscan")

    def changed(self, kind: Choice | None, recall: float | None) -> Settings:
        """With another kind or recall; the same where both are None."""
        return self if kind is None and recall is None else Settings(kind or self.kind, recall)

    @property
    def larger(self) -> str:
        """The kind of the larger partitions."""
        if self.kind == "auto":
            return "certified" if self.recall is None else "fastscan"
        return self.kind


def choose(settings: Settings, rows: int) -> str:
    """The kind that a partition of so many rows gets."""
    return "flat" if rows < SMALL.get(settings.larger, 0) else settings.larger


def scanner_class(kind: str) -> type[Scanner]:
    """The class of a kind, loaded on first use."""
    module, _, name = KINDS[kind].partition(":")
    loaded: type[Scanner] = getattr(import_module(module), name)
    return loaded
