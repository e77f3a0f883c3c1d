"""Histogram: how many queries find their right answer at which rank, a bar a bin from the first rank down."""

from __future__ import annotations

from scripts.report.elements import Html, element
from scripts.report.entry import NAMES, WAYS, Entry, Way
from scripts.report.figures import number
from scripts.report.plot import beside, figure, picture
from scripts.report.tables import table

ROW, BAR = 21, 15  # units: from bar to bar, and of a bar
START, END = 92, 262  # of the longest bar


def histogram_figures(key: str, entry: Entry, about: str = "") -> Html | None:
    """A plot a direction; None where there is no histogram."""
    made = [_histogram(f"{key}-{way[0]}", f"Ranks, {NAMES[way]}{about}", entry, way) for way in WAYS]
    there = [part for part in made if part is not None]
    return beside(*there) if there else None


def _histogram(key: str, title: str, entry: Entry, way: Way) -> Html | None:
    outcome = entry.outcome(way)
    total = sum(many for _, many in outcome.histogram) if outcome else 0
    if outcome is None or not total:
        return None
    bins = [(name.replace("-", "–"), many, 100 * many / total) for name, many in outcome.histogram]
    seeds = f", mean of {len(entry.results)} seeds" if len(entry.results) > 1 else ""
    most = max(many for _, many, _ in bins)
    parts = [
        element("text", "rank", x=START - 8, y=13, text_anchor="end", class_="tick"),
        element("text", f"queries{seeds}", x=START, y=13, class_="tick"),
    ]
    for at, (name, many, share) in enumerate(bins):
        top = 20 + at * ROW
        wide = (END - START) * many / most
        parts.append(element("text", name, x=START - 8, y=top + 12, text_anchor="end", class_="tick"))
        parts.append(
            element("rect", x=START, y=top, width=round(max(wide, 0.6), 1), height=BAR, rx=2.0, class_="f0")
        )
        told = f"{_many(many)} ({number(share)} %)"
        parts.append(element("text", told, x=round(START + wide + 6, 1), y=top + 12))
    parts.append(element("line", x1=START, x2=START, y1=18, y2=20 + len(bins) * ROW, class_="axis"))
    first, last = bins[0], bins[-1]
    about = (
        f"Of {_many(total)} queries {_many(first[1])} find their right answer at rank {first[0]}, "
        f"{_many(last[1])} at rank {last[0]}; a bar each for {len(bins)} ranges of ranks."
    )
    drawn = picture(key, title, about, 26 + len(bins) * ROW, parts)
    rows = [[name, _many(many), number(share)] for name, many, share in bins]
    numbers = table(f"{key}-n", f"{title}: how many queries", ["rank", "queries", "percent"], rows)
    return figure(title, drawn, Html(""), numbers)


def _many(value: float) -> str:
    """A count; the mean of several seeds has a decimal."""
    return f"{value:,.0f}" if value == int(value) else number(value)
