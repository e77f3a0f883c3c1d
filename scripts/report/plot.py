"""Plots as inline SVG with words: made by hand, since text then stays text, follows the reader's colours and font
size, and a plot weighs 4 KB; a picture from matplotlib knows neither dark mode nor a screen reader.

A figure is a caption, the picture (role img, with title and description), a key, and its numbers in a table. Drawn
for a width of WIDE units, which is a phone's: text is never scaled down.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from scripts.report.elements import Html, element, joined
from scripts.report.style import SERIES
from scripts.report.tables import folded

WIDE, HIGH = 360, 250
LEFT, RIGHT, TOP, BOTTOM = 42, 12, 10, 40
MOST_POINTS = 160  # of a line; more cannot be seen
SIZE = 4.0  # of a marker


@dataclass(frozen=True)
class Line:
    """One line of a plot; its style goes by its place among the lines."""

    name: str
    points: tuple[tuple[float, float], ...]
    marked: tuple[float, ...] = ()  # x of the points that bear a marker


@dataclass(frozen=True)
class Axis:
    """From data to the drawing's units."""

    low: float
    high: float
    ticks: tuple[float, ...]
    label: str
    log: bool = False

    def place(self, value: float, start: float, stop: float) -> float:
        """Where a value stands."""
        low, high, value = (math.log(v) if self.log else v for v in (self.low, self.high, value))
        share = (value - low) / (high - low) if high > low else 0.5
        return round(start + share * (stop - start), 1)


def line_plot(key: str, title: str, about: str, lines: Sequence[Line], x: Axis, y: Axis) -> Html:
    """The picture alone."""
    across: Callable[[float], float] = lambda value: x.place(value, LEFT, WIDE - RIGHT)  # noqa: E731
    down: Callable[[float], float] = lambda value: y.place(value, HIGH - BOTTOM, TOP)  # noqa: E731
    parts = _axes(x, y, across, down)
    for number, line in reversed(list(enumerate(lines))):  # the first is drawn last, on top
        points = thinned(line.points, line.marked)
        path = " ".join(f"{across(px)},{down(py)}" for px, py in points)
        parts.append(element("polyline", points=path, class_=f"line s{number % SERIES}"))
        parts += [marker(number, across(px), down(py)) for px, py in line.points if px in line.marked]
        if len(lines) == 1:  # room for its numbers
            parts += [_value(across(px), down(py), py) for px, py in line.points if px in line.marked]
    return picture(key, title, about, HIGH, parts)


def picture(key: str, title: str, about: str, high: float, parts: Sequence[Html]) -> Html:
    """An SVG that says what it shows."""
    return element(
        "svg",
        element("title", title, id=f"{key}-title"),
        element("desc", about, id=f"{key}-desc"),
        *parts,
        viewBox=f"0 0 {WIDE} {high:g}",
        role="img",
        aria_labelledby=f"{key}-title {key}-desc",
    )


def _value(x: float, y: float, value: float) -> Html:
    """A point's number, below it and to the right, where a rising line leaves room."""
    return element("text", f"{value:.1f}", x=round(x + 6, 1), y=round(y + 15, 1))


def _axes(x: Axis, y: Axis, across: Callable[[float], float], down: Callable[[float], float]) -> list[Html]:
    parts = []
    for tick in y.ticks:
        at = down(tick)
        parts.append(element("line", x1=LEFT, x2=WIDE - RIGHT, y1=at, y2=at, class_="grid"))
        name = f"{tick:.6g}".replace("-", "−")
        parts.append(element("text", name, x=LEFT - 6, y=at + 4, text_anchor="end", class_="tick"))
    floor = HIGH - BOTTOM
    for tick in x.ticks:
        at = across(tick)
        anchor = "end" if at > WIDE - RIGHT - 8 and len(f"{tick:,g}") > 3 else "middle"
        parts.append(element("line", x1=at, x2=at, y1=floor, y2=floor + 4, class_="axis"))
        parts.append(element("text", short(tick), x=at, y=floor + 17, text_anchor=anchor, class_="tick"))
    parts.append(element("line", x1=LEFT, x2=WIDE - RIGHT, y1=floor, y2=floor, class_="axis"))
    middle = (LEFT + WIDE - RIGHT) / 2
    parts.append(element("text", x.label, x=middle, y=HIGH - 6, text_anchor="middle", class_="tick"))
    turned = f"rotate(-90 11 {(TOP + floor) / 2:g})"
    parts.append(
        element("text", y.label, x=11, y=(TOP + floor) / 2, text_anchor="middle", transform=turned, class_="tick")
    )
    return parts


def short(value: float) -> str:
    """A tick: 500, 10k, 1M."""
    for unit, letter in ((1e6, "M"), (1e4, "k")):
        if value >= unit:
            scale = 1e6 if letter == "M" else 1e3
            return f"{value / scale:g}{letter}"
    return f"{value:,g}"


def marker(number: int, x: float, y: float) -> Html:
    """A shape a line: circle, square, triangle, diamond, cross, ring."""
    kind, style = number % SERIES, f"f{number % SERIES}"
    s = SIZE
    if kind == 0:
        return element("circle", cx=x, cy=y, r=s, class_=style)
    if kind == 5:
        return element("circle", cx=x, cy=y, r=s, fill="none", stroke_width=2.0, class_=f"s{kind}")
    shapes = {
        1: ((-s, -s), (s, -s), (s, s), (-s, s)),
        2: ((0, -s - 1), (s + 1, s), (-s - 1, s)),
        3: ((0, -s - 1.5), (s + 1.5, 0), (0, s + 1.5), (-s - 1.5, 0)),
        4: tuple(_cross(s + 1, 1.4)),
    }
    points = " ".join(f"{x + dx:.1f},{y + dy:.1f}" for dx, dy in shapes[kind])
    return element("polygon", points=points, class_=style)


def _cross(long: float, half: float) -> list[tuple[float, float]]:
    """The twelve corners of a plus, one arm after the other."""
    arm = [(half, long), (half, half), (long, half)]
    corners = []
    for _ in range(4):
        corners += arm
        arm = [(b, -a) for a, b in arm]  # a quarter turn
    return corners


def key_list(names: Sequence[str]) -> Html:
    """Which line is which, by colour, dash and shape; nothing for a single one."""
    if len(names) < 2:
        return Html("")
    samples = []
    for number, name in enumerate(names):
        line = element("line", x1=0, x2=38, y1=7, y2=7, class_=f"line s{number % SERIES}")
        drawn = element("svg", line, marker(number, 19, 7), viewBox="0 0 38 14", aria_hidden="true")
        samples.append(element("li", drawn, name))
    return element("ul", *samples, class_="key")


def figure(title: str, drawn: Html, key: Html, numbers: Html) -> Html:
    """The whole figure."""
    return element("figure", element("figcaption", title), drawn, key, folded("The numbers", numbers))


def thinned(points: Sequence[tuple[float, float]], keep: Sequence[float] = ()) -> list[tuple[float, float]]:
    """At most about MOST_POINTS of them, evenly spread over the logarithm of x; ends and those to keep stay."""
    if len(points) <= MOST_POINTS:
        return list(points)
    low, high = math.log(max(points[0][0], 1)), math.log(max(points[-1][0], 2))
    chosen: dict[int, int] = {}
    for at, (px, _) in enumerate(points):
        bucket = int((math.log(max(px, 1)) - low) / max(high - low, 1e-9) * MOST_POINTS)
        chosen.setdefault(bucket, at)
    wanted = {*chosen.values(), 0, len(points) - 1, *(at for at, (px, _) in enumerate(points) if px in keep)}
    return [points[at] for at in sorted(wanted)]


def ticks_to(high: float, steps: int = 5) -> tuple[float, ...]:
    """Round numbers from 0 to at least `high`, about `steps` of them."""
    rough = max(high, 1e-9) / steps
    unit = 10.0 ** math.floor(math.log10(rough))
    step = next(unit * times for times in (1, 2, 5, 10) if unit * times >= rough * (1 - 1e-9))
    return tuple(round(step * at, 10) for at in range(math.ceil(high / step - 1e-9) + 1))


def beside(*figures: Html) -> Html:
    """Figures in as many columns as there is room for."""
    return element("div", joined(*figures), class_="plots")
