"""The report as one HTML page, and as Markdown (GitHub's tables, for a README or an issue).

page.html.j2 and report.md.j2 are the structure, page.css is the style: no script, no request, readable
without colours or a mouse. Text from results is escaped: it cannot become markup, a link, a cell or a line.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.resources import files
from itertools import count as counting
from typing import Any

from jinja2 import Environment, FunctionLoader, StrictUndefined
from markupsafe import Markup

from mee.errors import count
from mee.evaluation import Answer
from scripts.console import shown
from scripts.report import compare
from scripts.report.entry import NAMES, Entry, Figures, cut, legend, mean_figures, number, shared_names, short
from scripts.report.frames import Moment, Shot
from scripts.report.terminal import details

RIGHT_SHARES = (1 / 6, 1 / 2, 5 / 6)  # of the right clip three frames, of an answer the middle one
ANSWER_SHARES = (1 / 2,)
SHOWN_QUERIES, SHOWN_ANSWERS = 12, 4

HELPERS: tuple[Callable[..., object], ...] = (
    *(compare.differences, compare.facts, compare.figure_tables, compare.marks, compare.question_title),
    *(compare.questions, compare.sentences, details),
    *(count, cut, legend, number, shared_names, short),
)
SPECIAL = re.compile(r"([\\`*_{}\[\]<>|~$&#])")
LINK = re.compile(r"\b(https?|ftp|mailto|www)([:.])", re.IGNORECASE)


def page(entries: Sequence[Entry], shots: Mapping[Moment, Shot] | None = None, notes: Sequence[str] = ()) -> str:
    """The whole page; shots: frames of all clips that are `wanted`, None where no folder of videos was named."""
    from scripts.report import plots

    ids = counting()
    helpers = (plots.drop_plots, plots.rank_plots, plots.recall_plots, each_seed, frames_of, spread)
    more: dict[str, Any] = {helper.__name__: helper for helper in helpers}
    more |= {"shots": shots, "ways": NAMES, "fresh": lambda: f"t{next(ids)}"}
    more |= {"shown_queries": SHOWN_QUERIES, "shown_answers": SHOWN_ANSWERS}
    text = _rendered("page.html.j2", lambda value: shown(" ".join(value.split())), entries, notes, **more)
    return re.sub(r"\n\s*\n", "\n", text).strip() + "\n"


def markdown(entries: Sequence[Entry], notes: Sequence[str] = ()) -> str:
    """The whole document as Markdown."""
    text = _rendered("report.md.j2", lambda value: Markup(safe(value)), entries, notes)
    return re.sub(r"\n{3,}", "\n\n", text).strip() + "\n"


def _rendered(
    name: str, escape: Callable[[str], str], entries: Sequence[Entry], notes: Sequence[str], **more: object
) -> str:
    """A template filled in; `escape` makes text from results harmless in this kind of document."""

    def finalize(value: Any) -> Any:
        return escape(value) if isinstance(value, str) and not isinstance(value, Markup) else value

    environment = Environment(
        loader=FunctionLoader(lambda file: files("scripts.report").joinpath(file).read_text("utf-8")),
        autoescape=True,
        finalize=finalize,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        extensions=["jinja2.ext.do"],
    )
    environment.globals |= {helper.__name__: helper for helper in HELPERS}
    environment.filters["number"] = number
    shown = {"entries": entries, "notes": notes, "several": len(entries) > 1, "name": compare.title(entries)}
    return environment.get_template(name).render(shown | more)


def safe(text: str) -> str:
    """Text that Markdown takes as text, on one line."""
    text = SPECIAL.sub(r"\\\1", shown(" ".join(text.split())))
    text = re.sub(r"^(\d+)([.)])(?=\s|$)", r"\1\\\2", text)  # no list,
    text = re.sub(r"^([-+=])", r"\\\1", text)  # no list or heading of its own,
    text = re.sub(r"(?<!\w)@", "@\u200b", text)  # calls nobody,
    return LINK.sub(lambda found: f"{found[1]}&#{ord(found[2])};", text)  # and is no link by itself


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
    """The note beside the numbers of a table; a table of differences has it in its title."""
    if any(figure.is_difference for _, figures in rows for figure in figures.values()):
        return ""
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
