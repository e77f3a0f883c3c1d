"""Templates of the page and of Markdown, and what they may call."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib.resources import files
from typing import Any

from jinja2 import Environment, FunctionLoader, StrictUndefined

from scripts.report import compare, figures
from scripts.report.entry import Entry
from scripts.report.terminal import details

HELPERS: tuple[Callable[..., object], ...] = (
    *(compare.differences, compare.facts, compare.figure_tables, compare.marks, compare.question_title),
    *(compare.questions, compare.sentences, details),
    *(figures.count, figures.cut, figures.legend, figures.number, figures.shared_names, figures.short),
)


def rendered(
    name: str, escaped: Callable[[Any], Any], entries: Sequence[Entry], notes: Sequence[str], **more: object
) -> str:
    """A template that is filled; `escaped` makes text from results harmless in this kind of document."""
    environment = Environment(
        loader=FunctionLoader(lambda file: files("scripts.report").joinpath(file).read_text("utf-8")),
        autoescape=True,
        finalize=escaped,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        extensions=["jinja2.ext.do"],
    )
    environment.globals |= {helper.__name__: helper for helper in HELPERS}
    environment.filters["number"] = figures.number
    shown = {"entries": entries, "notes": notes, "several": len(entries) > 1, "name": compare.title(entries)}
    return environment.get_template(name).render(shown | more)
