"""The page: one HTML file with everything in it; no script, no request, readable without colours or a mouse.

page.html.j2 says what stands where, page.css how it looks. Every value is escaped, whatever file it comes from;
only what macros and plots made is markup already.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import count as counting
from typing import Any

from markupsafe import Markup

from mee.evaluation import Answer
from scripts.console import visible
from scripts.report import plots
from scripts.report.entry import NAMES, Entry
from scripts.report.figures import Figures, mean_figures
from scripts.report.frames import Moment, Shot
from scripts.report.templates import rendered

RIGHT_SHARES = (1 / 6, 1 / 2, 5 / 6)  # of the right clip three frames, of an answer the middle one
ANSWER_SHARES = (1 / 2,)
SHOWN_QUERIES, SHOWN_ANSWERS = 12, 4


def page(entries: Sequence[Entry], shots: Mapping[Moment, Shot] | None = None, notes: Sequence[str] = ()) -> str:
    """The whole document.

    Args:
        entries: one or several.
        shots: frames of clips, all that are `wanted`; None where no folder of videos was named.
        notes: sentences about the report itself.
    """
    ids = counting()
    helpers = (plots.drop_plots, plots.rank_plots, plots.recall_plots, each_seed, frames_of, spread)
    text = rendered(
        "page.html.j2",
        _on_one_line,
        entries,
        notes,
        **{helper.__name__: helper for helper in helpers},
        shots=shots,
        ways=NAMES,
        shown_queries=SHOWN_QUERIES,
        shown_answers=SHOWN_ANSWERS,
        fresh=lambda: f"t{next(ids)}",
    )
    return re.sub(r"\n\s*\n", "\n", text).strip() + "\n"


def _on_one_line(value: Any) -> Any:
    """Text on one line, its control characters shown as escapes."""
    return visible(" ".join(value.split())) if isinstance(value, str) and not isinstance(value, Markup) else value


def wanted(entries: Sequence[Entry]) -> Iterator[Moment]:
    """Every frame that the page shows."""
    for entry in entries:
        for query in (*entry.first.best[:SHOWN_QUERIES], *entry.first.worst[:SHOWN_QUERIES]):
            yield from (Moment.of(query.right, share) for share in RIGHT_SHARES)
            yield from (Moment.of(clip, share) for clip in query.top[:SHOWN_ANSWERS] for share in ANSWER_SHARES)


def frames_of(shots: Mapping[Moment, Shot], clip: Answer, *, whole: bool) -> list[Shot]:
    """Frames of the right clip as a whole, or of an answer."""
    return [shots[Moment.of(clip, share)] for share in (RIGHT_SHARES if whole else ANSWER_SHARES)]


def spread(rows: Sequence[tuple[Entry, Figures]]) -> str:
    """What stands beside the numbers of a table."""
    seeds = ["± is the standard deviation over seeds (n − 1)."] if any(len(e.results) > 1 for e, _ in rows) else []
    rules = {entry.first.rules.intervals for entry, _ in rows if len(entry.results) == 1}
    return " ".join([*seeds, *(f"Small: {rule}." for rule in sorted(rules) if rule)])


def each_seed(
    rows: Sequence[tuple[Entry, Figures]], what: str
) -> Iterator[tuple[Entry, list[tuple[str, Figures]]]]:
    """What the means of a table are made of."""
    for way in (way for way, name in NAMES.items() if name == what):
        for entry, _ in rows:
            if len(entry.results) > 1:
                found = [(str(r.system.seed), getattr(r, way)) for r in entry.results]
                yield entry, [(seed, mean_figures([part.metrics], part.intervals)) for seed, part in found]
