"""Rendering: templates to pages; text from outside is escaped, and what is invisible in it is spelled out."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import Any

from fastapi.responses import HTMLResponse
from jinja2 import Environment, FunctionLoader, StrictUndefined
from markupsafe import Markup

from mee.errors import count, visible
from scripts.console import clock

COLOURS = ("appearance", "motion", "audio", "face", "speech", "text")  # experts whose colour is always the same
LONGEST = 44  # letters of a name


@cache
def _environment() -> Environment:
    made = Environment(
        loader=FunctionLoader(lambda file: files("scripts.serve").joinpath("templates", file).read_text("utf-8")),
        autoescape=True,
        finalize=_finalize,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {"clock": clock, "short": short, "number": number, "left": left, "later": later}
    made.globals |= {"count": count}
    return made


def rendered(template: str, status: int = 200, /, **shown: Any) -> HTMLResponse:
    """A page, or a part of one, as the answer; `{{ value|e }}` keeps a value as it is, for a field of a form."""
    return HTMLResponse(_environment().get_template(template).render(shown), status)


def colours(experts: tuple[str, ...]) -> dict[str, str]:
    """Of each expert the class of its colour, x0 to x9."""
    others = [name for name in experts if name not in COLOURS]
    return {
        name: f"x{COLOURS.index(name)}" if name in COLOURS else f"x{len(COLOURS) + others.index(name) % 4}"
        for name in experts
    }


def short(name: str, longest: int = LONGEST) -> str:
    """A name without its middle, where it is long."""
    tail = longest // 3
    return name if len(name) <= longest else f"{name[: longest - tail - 1]}…{name[-tail:]}"


def number(value: float, digits: int = 2) -> str:
    """−0.25; nothing is negative that rounds to 0."""
    return f"{round(value, digits) + 0.0:.{digits}f}".replace("-", "−")


def left(seconds: float) -> str:
    """about 3 minutes left"""
    if seconds < 55:
        return "less than a minute left"
    minutes = round(seconds / 60)
    return f"about {count(minutes, 'minute') if minutes < 90 else count(round(minutes / 60), 'hour')} left"


def later(seconds: float) -> str:
    """then, 12 s later"""
    if seconds < 0.05:
        return "then, at once"
    return f"then, {clock(seconds, 0) if seconds >= 60 else f'{seconds:.2g} s'} later"


def _finalize(value: Any) -> Any:
    return visible(value) if isinstance(value, str) and not isinstance(value, Markup) else value
