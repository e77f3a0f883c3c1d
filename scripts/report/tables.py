"""Tables of HTML: a caption, heads with a scope; a wide one scrolls in a region of its own that keys can reach."""

from __future__ import annotations

from collections.abc import Sequence

from scripts.report.elements import Html, element, joined
from scripts.report.figures import Figures, shared_names

NARROW = 3  # columns that fit a phone


def table(
    key: str,
    caption: str,
    header: Sequence[str],
    rows: Sequence[Sequence[str | Html]],
    *,
    words: Sequence[int] = (0,),
    style: str | None = None,
) -> Html:
    """A table whose first column names the rows.

    Args:
        key: unique on the page.
        caption: what the table shows, unique on the page.
        header: a name a column.
        rows: cells.
        words: columns that hold words and stand to the left.
        style: class of the table.
    """
    heads = [
        element("th", name, scope="col", class_="words" if at in words else None) for at, name in enumerate(header)
    ]
    lines = []
    for first, *rest in rows:
        cells = [
            element("td", cell, class_="long" if at in words else None) for at, cell in enumerate(rest, start=1)
        ]
        lines.append(element("tr", element("th", first, scope="row"), *cells))
    made = element(
        "table",
        element("caption", caption, id=f"{key}-caption"),
        element("thead", element("tr", *heads)),
        element("tbody", *lines),
        class_=style,
    )
    if len(header) <= NARROW:
        return made
    return region(key, made)


def region(key: str, content: Html) -> Html:
    """What scrolls sideways by itself; named by the caption in it."""
    return element("div", content, class_="scroll", role="region", tabindex="0", aria_labelledby=f"{key}-caption")


def figure_table(
    key: str, caption: str, head: str, rows: Sequence[tuple[str | Html, Figures]], extra: Sequence[str] = ()
) -> Html:
    """Metrics in columns, intervals below the numbers.

    Args:
        head: name of the first column.
        rows: (what is measured, its figures).
        extra: which columns to leave out.
    """
    names = [name for name in shared_names([figures for _, figures in rows]) if name not in extra]
    lines = [[name, *(figure_cell(figures, metric) for metric in names)] for name, figures in rows]
    return table(key, caption, [head, *names], lines)


def figure_cell(figures: Figures, metric: str) -> Html:
    """The number, its interval below it; a dash where it was not measured."""
    if metric not in figures:
        return Html("–")
    figure = figures[metric]
    return joined(figure.text, element("small", figure.spread) if figure.spread else None)


def folded(summary: str, content: Html) -> Html:
    """What opens when asked for."""
    return element("details", element("summary", summary), content)
