"""Kinds of scanners, and which one a unit gets.

kind        reads for one query        answer
flat        4 bytes a component        exact
certified   1 byte a component         exact: a bound on the error proves it, or the scan is widened
graph       a few hundred rows         re-ranked exactly; recall measured
fastscan    1 bit a component          re-ranked exactly; recall measured

auto        certified; fastscan where a recall below 1 is good enough
any         flat for units of few rows
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Final, Literal, get_args

from index.scanners.scanner import Floats, Kind, Scanner, Shape

KINDS: Final[dict[Kind, str]] = {
    "flat": "index.scanners.flat:Flat",
    "certified": "index.scanners.certified:Certified",
    "graph": "index.scanners.graph:Graph",
    "fastscan": "index.scanners.fastscan:FastScan",
}
Choice = Literal["auto", Kind]
SMALL: Final = 1024  # rows; below this nothing is gained
RECALL: Final = 0.99  # of kinds that are not exact, unless said otherwise


@dataclass(frozen=True)
class Settings:
    """What an index is wanted to be."""

    kind: Choice = "auto"  # of the larger units
    recall: float | None = None  # how much of the exact best 10 must be found; None: all, wherever a kind can

    def __post_init__(self) -> None:
        if self.kind not in get_args(Choice):
            raise ValueError(f"there is no kind '{self.kind}'; there are {', '.join(get_args(Choice))}")
        if self.recall is not None and not 0 < self.recall <= 1:
            raise ValueError(f"recall must be above 0 and at most 1, got {self.recall}")
        if self.recall is not None and self.kind in ("flat", "certified"):
            raise ValueError(f"'{self.kind}' is exact: leave recall out, or choose graph or fastscan")
        if self.recall is None and self.kind in ("graph", "fastscan"):
            object.__setattr__(self, "recall", RECALL)

    @property
    def larger(self) -> Kind:
        """The kind of the larger units."""
        if self.kind == "auto":
            return "certified" if self.recall is None else "fastscan"
        return self.kind


def choose(settings: Settings, rows: int) -> Kind:
    """The kind that a unit of so many rows gets."""
    return "flat" if rows < SMALL else settings.larger


def build(kind: Kind, vectors: Floats, shape: Shape) -> Scanner:
    """Make a scanner for (N, W) vectors, N at least 1."""
    return _loaded(kind).build(vectors, shape)


def open_scanner(kind: Kind, path: Path, vectors: Floats, shape: Shape) -> Scanner:
    """What a scanner of this kind saved at `path`.

    Raises:
        ValueError: its files are damaged, or do not belong to these vectors.
    """
    return _loaded(kind).open(path, vectors, shape)


def files(kind: Kind, path: Path) -> tuple[Path, ...]:
    """Which files a scanner of this kind writes when it is saved at `path`."""
    written: tuple[Path, ...] = _loaded(kind).files(path)
    return written


def _loaded(kind: Kind) -> type[Scanner]:
    module, _, name = KINDS[kind].partition(":")
    loaded: type[Scanner] = getattr(import_module(module), name)
    return loaded
