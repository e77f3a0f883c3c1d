"""Curves: recall against K, and what recall loses when a stream is removed.

recall   R@K over K, one line a system
drop     R@K of all streams - R@K without one, in points, over K = 1, 5, 10, 50; above zero the stream helps
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

from scripts.report.elements import Html, element, joined
from scripts.report.entry import NAMES, WAYS, Entry, Variant, Way
from scripts.report.figures import Figures, number, signed
from scripts.report.plot import Axis, Line, beside, figure, key_list, line_plot, ticks_to
from scripts.report.style import SERIES
from scripts.report.tables import table

MARKED = (1.0, 5.0, 10.0, 50.0)
PERCENT = (0.0, 20.0, 40.0, 60.0, 80.0, 100.0)
SHORT = 40  # points of a curve that are all in its table; of a longer one those that are LISTED
LISTED = (1, 2, 3, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000, 20_000, 50_000, 100_000, 1_000_000)


def recall_figures(key: str, entries: Sequence[Entry], about: str = "") -> Html:
    """A plot a direction, at most SERIES systems each.

    Args:
        key: unique on the page.
        entries: that answer one question.
        about: the question, where a page has several.
    """
    made = []
    for way in WAYS:
        known = [entry for entry in entries if entry.outcome(way) and _curve(entry, way)]
        for start in range(0, len(known), SERIES):
            title = f"Recall, {NAMES[way]}{about}"
            if len(known) > SERIES:
                title += f", systems {start + 1} to {min(start + SERIES, len(known))}"
            made.append(_recall(f"{key}-{way[0]}{start}", title, known[start : start + SERIES], way))
    return beside(*made) if made else Html("")


def _recall(key: str, title: str, entries: Sequence[Entry], way: Way) -> Html:
    curves = {entry.label: _curve(entry, way) for entry in entries}
    last = max(points[-1][0] for points in curves.values())
    x = Axis(1.0, max(last, 2.0), _decades(last), "K: how many answers are looked at", log=True)
    y = Axis(0.0, 100.0, PERCENT, "R@K, percent")
    lines = [Line(name, points, MARKED) for name, points in curves.items()]
    told = "; ".join(
        f"{name}: " + ", ".join(f"{number(value)} % at K = {k:,.0f}" for k, value in points if k in MARKED)
        for name, points in curves.items()
    )
    about = f"Share of queries whose right answer is among the first K. {told}."
    drawn = line_plot(key, title, about, lines, x, y)
    ks = sorted({k for points in curves.values() for k, _ in points if len(points) <= SHORT or k in LISTED})
    values = {name: dict(points) for name, points in curves.items()}
    rows = [[f"{k:,.0f}", *(number(values[name][k]) if k in values[name] else "–" for name in curves)] for k in ks]
    numbers = table(f"{key}-n", f"{title}, percent", ["K", *curves], rows)
    return figure(title, drawn, key_list(list(curves)), numbers)


def _curve(entry: Entry, way: Way) -> tuple[tuple[float, float], ...]:
    outcome = entry.outcome(way)
    assert outcome is not None
    return tuple((float(k), value) for k, value in outcome.recall if k >= 1)


def _decades(last: float) -> tuple[float, ...]:
    decades = [10.0**power for power in range(7) if 10**power <= last]
    return tuple(decades if len(decades) > 1 else (1.0, max(last, 2.0)))


def drop_figures(key: str, entry: Entry, about: str = "") -> Html | None:
    """A plot a direction; None where no stream was removed."""
    removed = entry.variants("removed")
    made = [_drop(f"{key}-{way[0]}", f"Points lost, {NAMES[way]}{about}", entry, removed, way) for way in WAYS]
    there = [part for part in made if part is not None]
    return beside(*there) if there else None


def _drop(key: str, title: str, entry: Entry, removed: Sequence[Variant], way: Way) -> Html | None:
    outcome = entry.outcome(way)
    if outcome is None or not removed:
        return None
    ks = [name for name in outcome.figures if re.fullmatch(r"R@[1-9]\d*", name)]
    lost = {variant.name: _losses(outcome.figures, variant.figures[way], ks) for variant in removed}
    lost = {name: points for name, points in lost.items() if points}
    if not lost:
        return None
    values = [value for points in lost.values() for _, value in points]
    most, least = max(0.5, *values), min(0.0, *values)
    step = ticks_to(most - least)[1]
    ticks = tuple(step * at for at in range(math.floor(least / step), math.ceil(most / step) + 1))
    x_ticks = tuple(float(name[2:]) for name in ks)
    x = Axis(min(x_ticks), max(max(x_ticks), 2.0), x_ticks, "K: how many answers are looked at", log=True)
    y = Axis(ticks[0], ticks[-1], ticks, "points of R@K lost")
    told = "; ".join(
        f"without {name} " + ", ".join(f"{signed(-value)} at K = {k:g}" for k, value in points)
        for name, points in lost.items()
    )
    lines = [Line(f"without {name}", points, tuple(k for k, _ in points)) for name, points in lost.items()]
    more = len(lines) - SERIES
    names = [line.name for line in lines[:SERIES]]
    keys = key_list(names) if len(names) > 1 else element("p", names[0], class_="muted")
    drawn = line_plot(key, title, f"Change of R@K when one stream is removed: {told}.", lines[:SERIES], x, y)
    if more > 0:
        keys = joined(keys, element("p", f"{more} more in the numbers.", class_="muted"))
    rows = [["all streams", *(figure.text for name, figure in outcome.figures.items() if name in ks)]]
    rows += [
        [f"without {variant.name}", *(_change(outcome.figures, variant.figures[way], name) for name in ks)]
        for variant in removed
    ]
    return figure(title, drawn, keys, table(f"{key}-n", f"{title}: R@K and its change", ["streams", *ks], rows))


def _losses(whole: Figures, part: Figures, names: Sequence[str]) -> tuple[tuple[float, float], ...]:
    lost = [(float(name[2:]), whole[name].value - part[name].value) for name in names if name in part]
    return tuple((k, max(-100.0, min(100.0, value))) for k, value in lost)


def _change(whole: Figures, part: Figures, name: str) -> str:
    if name not in part:
        return "–"
    return f"{part[name].text} ({signed(part[name].value - whole[name].value)})"
