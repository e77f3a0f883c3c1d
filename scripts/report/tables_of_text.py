"""Tables of text: rows that the terminal and Markdown share."""

from __future__ import annotations

from typing import Literal

from scripts.report.entry import WAYS, Entry, Way
from scripts.report.figures import Figures

BRIEF = ("R@1", "R@5", "R@10", "MedR")
MIXTURE = "mixture"  # as mee.ranking.schemes has it, which must not be imported here: it loads torch


def variant_rows(entry: Entry, kind: Literal["schemes", "removed"]) -> list[list[str]]:
    """Schemes, or streams removed; text to video."""
    return [[name, *brief(figures.get("text_to_video", {}))] for name, figures in beside_whole(entry, kind)]


def beside_whole(entry: Entry, kind: Literal["schemes", "removed"]) -> list[tuple[str, dict[Way, Figures]]]:
    """Schemes, or streams removed, below what they are compared with; nothing where there are none."""
    rows = entry.variants(kind)
    if not rows:
        return []
    whole: dict[Way, Figures] = {way: outcome.figures for way in WAYS if (outcome := entry.outcome(way))}
    if kind == "removed":
        return [("all streams", whole), *((f"without {row.name}", row.figures) for row in rows)]
    first = [] if any(row.name == MIXTURE for row in rows) else [(MIXTURE, whole)]
    return [*first, *((row.name, row.figures) for row in rows)]


def pattern_rows(entry: Entry) -> list[list[str]]:
    """Availability patterns."""
    return [
        [" + ".join(row.streams) or "no stream", f"{row.clips:,}", f"{row.queries:,}", *brief(row.figures)]
        for row in entry.patterns
    ]


def brief(figures: Figures) -> list[str]:
    """The BRIEF metrics as text."""
    return [figures[name].text if name in figures else "-" for name in BRIEF]
