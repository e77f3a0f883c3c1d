"""The checked tree of a filter: what may stand in one, and nothing else.

    condition   Compare | Within | Contains | Begins | Ends | IsNull | Flag | Truth | Not | All | Some
    operand     Column | Literal

`at` is where in the text something stands; the first character is 1.
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from typing import Literal as OneOf

from mee.errors import InputError

Value = bool | int | float | str
Kind = OneOf["number", "text", "truth"]
Operator = OneOf["==", "!=", "<", "<=", ">", ">="]
WORDS: dict[Kind, str] = {"number": "a number", "text": "text", "truth": "true or false"}
LIKE = 'like duration < 30 or split == "test"'
SHOWN = 80  # characters of a filter that a message repeats


@dataclass(frozen=True)
class Column:
    """What a clip has by that name."""

    name: str
    at: int


@dataclass(frozen=True)
class Literal:
    """A number, a text in quotes, True or False."""

    value: Value
    at: int

    @property
    def kind(self) -> Kind:
        """What it can be compared with."""
        return kind_of_value(self.value)


@dataclass(frozen=True)
class Compare:
    """left operator right; one of them is a column at least."""

    operator: Operator
    left: Column | Literal
    right: Column | Literal


@dataclass(frozen=True)
class Within:
    """column in (…); the values are of one kind."""

    column: Column
    values: tuple[Literal, ...]


@dataclass(frozen=True)
class Contains:
    """ "part" in column."""

    column: Column
    part: str


@dataclass(frozen=True)
class Begins:
    """column.startswith("…") or of several."""

    column: Column
    starts: tuple[str, ...]


@dataclass(frozen=True)
class Ends:
    """column.endswith("…") or of several."""

    column: Column
    ends: tuple[str, ...]


@dataclass(frozen=True)
class IsNull:
    """column is None; the only condition that is never unknown."""

    column: Column


@dataclass(frozen=True)
class Flag:
    """A column of truth values, alone."""

    column: Column


@dataclass(frozen=True)
class Truth:
    """True or False, alone."""

    value: bool


@dataclass(frozen=True)
class Not:
    """not condition."""

    condition: Condition


@dataclass(frozen=True)
class All:
    """condition and condition and …"""

    conditions: tuple[Condition, ...]


@dataclass(frozen=True)
class Some:
    """condition or condition or …"""

    conditions: tuple[Condition, ...]


Condition = Compare | Within | Contains | Begins | Ends | IsNull | Flag | Truth | Not | All | Some


def kind_of_value(value: Value) -> Kind:
    """Number, text or truth."""
    if isinstance(value, bool):
        return "truth"
    return "text" if isinstance(value, str) else "number"


def wrong(text: str, what: str) -> InputError:
    """What is wrong with a filter, as one sentence."""
    return InputError(f"the filter '{one_line(text)}' {what}")


def one_line(text: str) -> str:
    """A filter as messages show it: one line, not too long, without characters that do something to a terminal."""
    odd = ("Cc", "Cs", "Zl", "Zp")
    shown = "".join(
        letter.encode("unicode_escape").decode() if unicodedata.category(letter) in odd else letter
        for letter in text[:SHOWN]
    )
    return shown if len(text) <= SHOWN else f"{shown}…"
