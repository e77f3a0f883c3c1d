"""Templates of the page and of Markdown (GitHub's tables, for a README or an issue), and what they may call.

Text from files is escaped: it cannot become markup, a link, a cell or a line of its own.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from importlib.resources import files
from typing import Any

from jinja2 import Environment, FunctionLoader, StrictUndefined
from markupsafe import Markup

from scripts.console import visible
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


SPECIAL = re.compile(r"([\\`*_{}\[\]<>|~$&#])")
LINK = re.compile(r"\b(https?|ftp|mailto|www)([:.])", re.IGNORECASE)


def markdown(entries: Sequence[Entry], notes: Sequence[str] = ()) -> str:
    """The whole document."""
    text = rendered("report.md.j2", _escaped, entries, notes)
    return re.sub(r"\n{3,}", "\n\n", text).strip() + "\n"


def _escaped(value: Any) -> Any:
    return Markup(safe(value)) if isinstance(value, str) and not isinstance(value, Markup) else value


def safe(text: str) -> str:
    """Text that Markdown takes as text, on one line."""
    text = SPECIAL.sub(r"\\\1", visible(" ".join(text.split())))
    text = re.sub(r"^(\d+)([.)])(?=\s|$)", r"\1\\\2", text)  # no list,
    text = re.sub(r"^([-+=])", r"\\\1", text)  # no list or heading of its own,
    text = re.sub(r"(?<!\w)@", "@\u200b", text)  # calls nobody,
    return LINK.sub(lambda found: f"{found[1]}&#{ord(found[2])};", text)  # and is no link by itself
