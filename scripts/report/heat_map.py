"""Heat map of mixture weights: a table whose cells are the darker the more an expert counts, each with its number.

A real table, since its numbers are then read aloud cell by cell, and need no second copy.
"""

from __future__ import annotations

from mee.evaluation.result import Weights
from scripts.report.elements import Html, element, joined
from scripts.report.figures import count, number
from scripts.report.style import STEPS
from scripts.report.tables import region


def heat_map(key: str, weights: Weights, about: str = "") -> Html:
    """Rows: groups of queries; columns: experts; cells: mean mixture weight in percent."""
    heads = [element("th", "queries", scope="col", class_="words")]
    heads += [element("th", name, scope="col") for name in weights.experts]
    lines = []
    for name, many, shares in weights.rows:
        cells = [element("td", number(share), class_=f"h{step(share)}") for share in shares]
        what = joined(name, element("small", count(many, "query", "queries")))
        lines.append(element("tr", element("th", what, scope="row"), *cells))
    caption = f"Mean mixture weights in percent{about}; each row adds up to 100."
    return region(
        key,
        element(
            "table",
            element("caption", caption, id=f"{key}-caption"),
            element("thead", element("tr", *heads)),
            element("tbody", *lines),
            class_="heat",
        ),
    )


def step(share: float) -> int:
    """Percent -> one of the heat colours."""
    return max(0, min(STEPS, round(share / 100 * STEPS)))
