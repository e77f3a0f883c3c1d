"""Asked: the query of an address, as it was written; what links change, and forms show again."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from index import Facet
from scripts.search import WEIGHTED

STATE = ("token", "scale")  # of paging, not of the query
CHIPS = {"also": "also", "less": "not", "like": "like", "video": "video", "said": "said", "written": "written"}
PARTS = re.compile(r""""(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'|`[^`]*`|[()\[\]{}]|\b(?:and|or)\b""", re.DOTALL)
Pairs = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Asked:
    """Names and values of an address."""

    pairs: Pairs

    @classmethod
    def of(cls, pairs: Iterable[tuple[str, str]]) -> Asked:
        """Without empty fields and places in a list; a weight of an expert that is not compared by is dropped."""
        kept = [(name, value) for name, value in pairs if value.strip() and name not in STATE]
        only = {value for name, value in kept if name == "only"}
        named = [
            ("weights", f"{name.partition('.')[2]}={value}") if name.startswith("weights.") else (name, value)
            for name, value in kept
        ]
        return cls(
            tuple(
                pair
                for pair in named
                if not (only and pair[0] == "weights" and pair[1].rpartition("=")[0] not in only)
            )
        )

    def one(self, name: str) -> str:
        """The first value of a name, or nothing."""
        return next(iter(self.all(name)), "")

    def all(self, name: str) -> list[str]:
        """All values of a name."""
        return [value for given, value in self.pairs if given == name]

    def rest(self, *names: str) -> Pairs:
        """All but these names, for hidden fields of a form."""
        return tuple(pair for pair in self.pairs if pair[0] not in names)

    def link(self, *, without: Collection[str | tuple[str, str]] = (), add: Pairs = (), path: str = "/") -> str:
        """The address of the same query, changed a little."""
        pairs = [pair for pair in self.pairs if pair not in without and pair[0] not in without]
        return f"{path}?{urlencode([*pairs, *add])}" if pairs or add else path

    @property
    def title(self) -> str:
        """The query as a reader would say it."""
        like = [f"like {value}" for value in self.all("like")]
        words = [f"“{value}” {name}" for name in ("said", "written") for value in self.all(name)]
        first = " ".join([*self.all("q"), *like, *words])
        also = "".join(f" + {value}" for value in self.all("also"))
        return (first + also + "".join(f" − {value}" for value in self.all("less"))).strip()


@dataclass(frozen=True)
class Chip:
    """A part of the query that can be taken out."""

    kind: str
    text: str
    href: str


def chips(asked: Asked) -> list[Chip]:
    """What was added to the sentence, and the conditions of the filter."""
    found = [
        Chip(CHIPS[name], _spoken(name, value), asked.link(without=[(name, value)]))
        for name, value in asked.pairs
        if name in CHIPS
    ]
    found += [Chip("filter", part, filtered(asked, without=part)) for part in conditions(asked.one("where"))]
    found += [
        Chip("score", f"{value} or more", asked.link(without=["min_score"])) for value in asked.all("min_score")
    ]
    return found


def _spoken(name: str, value: str) -> str:
    """0.5*at night -> at night × 0.5"""
    match = WEIGHTED.fullmatch(value) if name in ("also", "less") else None
    return f"{match[2].strip()} × {match[1]}" if match else value


def conditions(where: str) -> list[str]:
    """The parts of a filter that must all hold: a == 1 and b == "x and y" -> a == 1, b == "x and y"."""
    parts, depth, start = [], 0, 0
    for found in PARTS.finditer(where):
        match found[0]:
            case "(" | "[" | "{":
                depth += 1
            case ")" | "]" | "}":
                depth -= 1
            case "or" if depth == 0:
                return [where.strip()]
            case "and" if depth == 0:
                parts.append(where[start : found.start()].strip())
                start = found.end()
    return [part for part in [*parts, where[start:].strip()] if part]


def filtered(asked: Asked, *, without: str = "", add: str = "") -> str:
    """The address with a condition less, or one more."""
    parts = [part for part in conditions(asked.one("where")) if part != without]
    if add and len(parts) == 1 and re.search(r"\bor\b", parts[0]):
        parts = [f"({parts[0]})"]
    where = " and ".join([*parts, *([add] if add else [])])
    return asked.link(without=["where"], add=(("where", where),) if where else ())


@dataclass(frozen=True)
class Choice:
    """A column with values to filter by: text, count, address, whether it is chosen."""

    column: str
    values: tuple[tuple[str, int, str, bool], ...]
    more: int

    @property
    def chosen(self) -> bool:
        """Whether one of them is."""
        return any(chosen for *_, chosen in self.values)


def choice_of(facet: Facet, asked: Asked) -> Choice | None:
    """A facet as a choice; None where there is none: every clip has the same value, or another one."""
    parts = conditions(asked.one("where"))
    pairs = [*facet.values, *([(None, facet.missing)] if facet.missing else [])]
    values = []
    for value, count in pairs:
        condition = facet.filter(value)
        chosen = condition in parts
        href = filtered(asked, without=condition) if chosen else filtered(asked, add=condition)
        values.append((_told(value), count, href, chosen))
    choice = Choice(facet.column, tuple(values), facet.more)
    varied = len(values) > 1 and any(count > 1 for _, count, *_ in values)
    return choice if varied or choice.chosen else None


def _told(value: Any) -> str:
    match value:
        case None:
            return "not known"
        case bool():
            return "yes" if value else "no"
        case (low, high):
            return f"{low:,g}" if low == high else f"{low:,g} – {high:,g}"
    return str(value) or "(empty)"
