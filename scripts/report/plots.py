"""Plots of the page: matplotlib's SVG, in the page's own font and colours, so that it follows dark mode.

recall   R@K over K, one line a system
ranks    how many queries find their right answer at which rank, a bar a range
drop     R@K of all streams - R@K without one, in points, over K; above zero the stream helps

Drawn as wide as a phone: text is never scaled down. Lines differ in dash and marker, not only in colour.
"""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, cast

from markupsafe import Markup
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator, StrMethodFormatter

from scripts.pictures import one_line
from scripts.report.entry import NAMES, WAYS, Entry, Way, number, short, signed

Points = list[tuple[float, float]]
MARKERS, DASHES = "os^DPv", ("", (7, 4), (2, 3), (10, 3, 2, 3), (5, 2), (1, 4))  # of a line, by its place
MOST = len(MARKERS)  # lines in a plot
NAMED = ("ink", "muted", "grid", *(f"s{place}" for place in range(MOST)))  # colours of page.css
COLOURS = {name: f"#0000{place:02x}" for place, name in enumerate(NAMED, start=1)}  # placeholders
MARKED = (1.0, 5.0, 10.0, 50.0)
SHORT = 40  # points of a curve that are all in its table; of a longer one those that are LISTED
LISTED = (1, 2, 3, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000, 20_000, 50_000, 100_000, 1_000_000)
MUTED = COLOURS["muted"]
# a name may hold $; the font measures text, and the page's own shows it
STYLE: Any = {"svg.fonttype": "none", "font.size": 12, "font.family": ["DejaVu Sans"], "text.usetex": False}
STYLE |= {"text.parse_math": False, "text.color": COLOURS["ink"], "axes.edgecolor": MUTED}
STYLE |= {"axes.spines.top": False, "axes.spines.right": False, "axes.labelsize": 12, "xtick.color": MUTED}
STYLE |= {"ytick.color": MUTED, "ytick.major.size": 0, "grid.color": COLOURS["grid"], "lines.linewidth": 2.2}
STYLE |= {"axes.labelcolor": MUTED, "lines.scale_dashes": False, "legend.frameon": False}


@dataclass(frozen=True)
class Plot:
    """A picture, what it shows in words, and its numbers."""

    title: str  # of its own on the page
    about: str
    box: str  # of the drawing
    drawing: Markup
    caption: str  # of the numbers
    header: list[str]
    rows: list[list[str]]


def recall_plots(entries: Sequence[Entry], about: str) -> list[Plot]:
    """A plot a direction, of entries that answer one question, for as many systems as a plot can show."""
    made = []
    for way in WAYS:
        curves: dict[str, Points] = {}
        for entry in entries:
            outcome = entry.outcomes.get(way)
            if points := [(float(k), value) for k, value in outcome.recall if k >= 1] if outcome else []:
                curves[entry.label] = points
        names = list(curves)
        for start in range(0, len(names), MOST):
            some = {name: curves[name] for name in names[start : start + MOST]}
            which = f", systems {start + 1} to {start + len(some)}" if len(some) < len(names) else ""
            made.append(_recall(f"Recall, {NAMES[way]}{about}{which}", some))
    return made


def _recall(title: str, curves: Mapping[str, Points]) -> Plot:
    last = max(points[-1][0] for points in curves.values())
    values_text = "; ".join(
        f"{name}: " + ", ".join(f"{number(value)} % at K = {k:,.0f}" for k, value in points if k in MARKED)
        for name, points in curves.items()
    )
    with _style(title):
        axes = _axes(curves, MARKED, [10.0**power for power in range(7) if 10**power <= last], (0, 100))
        axes.set_ylabel("R@K, percent")
        box, drawing = _svg(axes)
    ks = sorted({k for points in curves.values() for k, _ in points if len(points) <= SHORT or k in LISTED})
    values = {name: dict(points) for name, points in curves.items()}
    rows = [[short(k), *(number(values[name][k]) if k in values[name] else "–" for name in curves)] for k in ks]
    said = f"Share of queries whose right answer is among the first K. {values_text}."
    return Plot(title, said, box, drawing, f"{title}, percent", ["K", *curves], rows)


def drop_plots(entry: Entry, about: str) -> list[Plot]:
    """A plot a direction; none where no stream was removed."""
    made = [_drop(f"Points lost, {NAMES[way]}{about}", entry, way) for way in WAYS if entry.outcomes.get(way)]
    return [plot for plot in made if plot]


def _drop(title: str, entry: Entry, way: Way) -> Plot | None:
    whole, *parts = [(name, figures[way]) for name, figures in entry.variants("removed").items()] or [("", {})]
    ks = [name for name in whole[1] if re.fullmatch(r"R@[1-9]\d*", name)]
    rows, lost = [[whole[0], *(whole[1][k].text for k in ks)]], {}
    for name, figures in parts:
        changes = {k: figures[k].value - whole[1][k].value for k in ks if k in figures}
        rows.append([name, *(f"{figures[k].text} ({signed(changes[k])})" if k in changes else "–" for k in ks)])
        if changes:
            lost[name] = [(float(k[2:]), max(-100.0, min(100.0, -change))) for k, change in changes.items()]
    if not lost:
        return None
    values_text = "; ".join(
        f"{name} {', '.join(f'{signed(-value)} at K = {k:g}' for k, value in points)}"
        for name, points in lost.items()
    )
    shown = dict(list(lost.items())[:MOST])
    values = [0.0, 0.5, *(value for points in shown.values() for _, value in points)]
    room = (max(values) - min(values)) / 20
    ticks = [float(k[2:]) for k in ks]
    with _style(title):
        axes = _axes(shown, ticks, ticks, (min(values) - room * (min(values) < 0), max(values) + room))
        axes.set_ylabel("points of R@K lost")
        more = f"{len(lost) - len(shown)} more in the numbers" if len(lost) > len(shown) else ""
        box, drawing = _svg(axes, more)
    said = f"Change of R@K when one stream is removed: {values_text}."
    return Plot(title, said, box, drawing, f"{title}: R@K and its change", ["streams", *ks], rows)


def rank_plots(entry: Entry, about: str) -> list[Plot]:
    """A plot a direction; none where there is no histogram."""
    found = [(way, outcome.histogram) for way in WAYS if (outcome := entry.outcomes.get(way))]
    return [
        _ranks(f"Ranks, {NAMES[way]}{about}", bins, len(entry.results))
        for way, bins in found
        if sum(many for _, many in bins)
    ]


def _ranks(title: str, bins: Sequence[tuple[str, float]], seeds: int) -> Plot:
    total = sum(many for _, many in bins)
    rows = [[name.replace("-", "–"), short(many), number(100 * many / total)] for name, many in bins]
    with _style(title):
        axes = Figure(figsize=(5, 0.5 + 0.29 * len(rows)), layout="constrained").subplots()
        bars = axes.barh(range(len(rows)), [max(many, 0) for _, many in bins], 0.7, color=COLOURS["s0"])
        axes.bar_label(bars, [f"{many} ({share} %)" for _, many, share in rows], padding=5)
        axes.set_yticks(range(len(rows)), [one_line(name, 12) for name, _, _ in rows])
        axes.set(ylim=(len(rows) - 0.5, -0.5), xticks=(), ylabel="rank")
        axes.margins(x=0.5)
        axes.spines.bottom.set_visible(False)
        mean = f", mean of {seeds} seeds" if seeds > 1 else ""
        axes.set_title(f"queries{mean}", loc="left", fontsize=12, color=COLOURS["muted"])
        box, drawing = _svg(axes)
    first, last = rows[0], rows[-1]
    said = (
        f"Of {short(total)} queries {first[1]} find their right answer at rank {first[0]}, {last[1]} at rank "
        f"{last[0]}; a bar each for {len(rows)} ranges of ranks."
    )
    return Plot(title, said, box, drawing, f"{title}: how many queries", ["rank", "queries", "percent"], rows)


def _style(title: str) -> AbstractContextManager[None]:
    """The title makes ids that no other plot of the page has, and the same ones every time."""
    return rc_context(STYLE | {"svg.hashsalt": title})


def _axes(
    lines: Mapping[str, Points], marked: Sequence[float], ticks: Sequence[float], ylim: tuple[float, float]
) -> Axes:
    """Lines over K on a logarithmic scale; the first is on top."""
    last = max(2.0, *(points[-1][0] for points in lines.values()))
    axes = Figure(figsize=(5, 3.45), layout="constrained").subplots()
    for place, (name, points) in enumerate(lines.items()):
        xs, ys = zip(*((k, max(ylim[0], min(ylim[1], value))) for k, value in points))
        at = [index for index, k in enumerate(xs) if k in marked]
        look: dict[str, Any] = {"color": COLOURS[f"s{place}"], "marker": MARKERS[place], "dashes": DASHES[place]}
        axes.plot(xs, ys, markevery=at, zorder=3 - place / 10, label=one_line(name, 34), **look)
        for index in at if len(lines) == 1 else ():  # room for its numbers
            axes.annotate(f"{ys[index]:.1f}", (xs[index], ys[index]), (6, -15), textcoords="offset points")
    axes.set(xscale="log", xlim=(1, last), ylim=ylim, xlabel="K: how many answers are looked at")
    axes.xaxis.set(major_locator=FixedLocator(ticks if len(ticks) > 1 else (1, last)), minor_locator=NullLocator())
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    axes.grid(axis="y")
    return axes


def _svg(axes: Axes, more: str = "") -> tuple[str, Markup]:
    """(viewBox, content) of a drawing: text in the page's font, colours as variables of the page's style sheet."""
    figure = cast(Figure, axes.figure)
    handles, names = axes.get_legend_handles_labels()
    if len(names) > 1 or more:
        columns = 2 if max(map(len, names)) < 20 else 1
        rows = -(-len(names) // columns)
        figure.set_figheight(figure.get_figheight() + 0.23 * rows)
        figure.legend(handles, names, loc="outside lower left", ncols=columns, title=more or None)
    for artist in figure.findobj():
        artist.set_clip_on(False)
    file = io.StringIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")  # the font only measures; browsers have others
        figure.savefig(
            file, format="svg", transparent=True, metadata=dict.fromkeys(("Creator", "Date", "Format", "Type"))
        )
    head, _, content = file.getvalue().partition("</style>\n </defs>")
    box = re.search(r'viewBox="([^"]*)"', head)
    assert box is not None
    return box[1], Markup(re.sub(r"<[^>]*>\s*", _tag, content.removesuffix("</svg>\n")))  # names in it are escaped


def _tag(found: re.Match[str]) -> str:
    """A tag of the page: no font, no group's id, no needless digits, and our colours."""
    text = re.sub(
        r' font-family: [^;"]*;?|(?<=<g) id="[^"]*"| transform="rotate\(-0 [^"]*"', "", " ".join(found[0].split())
    )
    text = re.sub(r"(\d\.\d)\d+", r"\1", text)
    return re.sub(r"#0000(\d\d)\b", lambda colour: f"var(--{NAMED[int(colour[1], 16) - 1]})", text)
