"""Asked: the query of an address, as it was written; what links change, and forms show again.

Clip and video ids are keys in addresses, base64url of their UTF-8: no dot, slash or percent sign.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple
from urllib.parse import urlencode

from index import Facet, Hit, Request
from index.request import MARKS as MOST
from mee.errors import InputError
from scripts.search import WEIGHTED

TOP = 256  # hits, or videos, that are ranked for one request
MOMENTS = 1000  # of all videos of one request
TERMS = 16  # sentences of one request; all requests of a batch are padded to the most that one has
STATE = ("token", "scale", "mark", "for")  # of paging and of buttons, not of the query
ASKS = ("q", "also", "less", "like", "example", "said", "written", "good")
CHIPS = {"also": "also", "less": "not", "then": "then", "like": "like", "example": "like the file"}
CHIPS |= {"video": "video", "said": "said", "written": "written"}
MARKS = {"good": ("fits", "fit"), "bad": ("does not fit", "do not fit"), "closer": ("closer", "are closer")}
ABOVE = 9  # hits that a clip is said to be closer than, at most
SETTINGS = {"min_score": ("score", "{} or more"), "offset": ("after", "the best {}")}
PARTS = re.compile(r""""(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'|`[^`]*`|[()\[\]{}]|\b(?:and|or)\b""", re.DOTALL)
NUMBER = re.compile(r"-?\d{1,9}(?:\.\d+)?(?:[eE][-+]?\d{1,2})?", re.ASCII)
LONGEST = 8192  # letters of a key
DEEPER = dict.fromkeys("([{", 1) | dict.fromkeys(")]}", -1)
Pairs = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Asked:
    """Names and values of an address."""

    pairs: Pairs

    @classmethod
    def of(cls, given: Iterable[tuple[str, str]]) -> Asked:
        """Without empty fields, places in a list, and weights of experts that are not among the only ones.

        mark=good.KEY (bad.KEY; closer.KEY.KEY…: than these) sets a mark, or takes back the same one. for=SENTENCE:
        of which the marks are; where another one is asked, they are dropped.
        """
        given = [*given]
        kept = [(name, value) for name, value in given if value.strip() and name not in STATE]
        for place, (name, value) in enumerate(kept):
            if name.startswith("weights."):  # of a slider
                kept[place] = "weights", f"{name.partition('.')[2]}={value}"
        only = {value for name, value in kept if name == "only"}
        kept = [it for it in kept if it[0] != "weights" or not only or it[1].rpartition("=")[0] in only]
        q = next((value for name, value in kept if name == "q"), "")
        if dict(given).get("for", q) != q:
            return cls(tuple(pair for pair in kept if pair[0] not in MARKS))
        for name, value in given:
            kept = _marked(kept, value) if name == "mark" else kept
        return cls(tuple(kept))

    @property
    def query(self) -> str:
        """Urlencoded."""
        return urlencode(self.pairs)

    def one(self, name: str) -> str:
        """The first value of a name, or nothing."""
        return next(iter(self.all(name)), "")

    def number(self, name: str) -> str:
        """The same where a field for numbers can show it."""
        return value if NUMBER.fullmatch(value := self.one(name)) else ""

    def all(self, name: str) -> list[str]:
        """All values of a name."""
        return [value for given, value in self.pairs if given == name]

    def rest(self, *names: str) -> Pairs:
        """All but these names, for hidden fields of a form; marked clips by keys: fields change line ends."""
        kept = (pair for pair in self.pairs if pair[0] not in names)
        return tuple(("mark", f"{it[0]}.{key_of(it[1])}") if it[0] in ("good", "bad") else it for it in kept)

    def link(self, *, without: Collection[str | tuple[str, str]] = (), add: Sequence[tuple[str, str]] = ()) -> str:
        """The address of the same query, changed a little."""
        pairs = [pair for pair in self.pairs if pair not in without and pair[0] not in without]
        return f"/?{urlencode([*pairs, *add])}" if pairs or add else "/"

    def filtered(self, *, without: str = "", add: str = "") -> str:
        """The address with a condition of the filter less, or with one more."""
        parts = [part for part in self.conditions if part != without]
        if add and len(parts) == 1 and re.search(r"\bor\b", parts[0]):
            parts = [f"({parts[0]})"]
        where = " and ".join([*parts, *filter(None, [add])])
        return self.link(without=["where"], add=[("where", where)] if where else ())

    def alike(self, hit: Hit) -> str:
        """The address of the same search among a hit and its copies, which are not folded."""
        names = json.dumps([hit.clip_id, *hit.copies], ensure_ascii=False)
        if len(names) > LONGEST:
            return f"/?{urlencode({'like': hit.clip_id})}"
        pairs = tuple(pair for pair in self.pairs if pair[0] not in ("fold", "view"))
        return Asked(pairs).filtered(add=f"clip_id in {names}")

    @property
    def conditions(self) -> list[str]:
        """What the filter wants all of: a == 1 and b == "x and y" -> a == 1, b == "x and y"."""
        where, parts, depth, start = self.one("where"), [], 0, 0
        for found in PARTS.finditer(where):
            depth += DEEPER.get(found[0], 0)
            if not depth and found[0] == "or":
                return [where.strip()]
            if not depth and found[0] == "and":
                parts.append(where[start : found.start()].strip())
                start = found.end()
        return [part for part in [*parts, where[start:].strip()] if part]

    @property
    def title(self) -> str:
        """The query as a reader would say it."""
        words = [f"“{value}” {name}" for name in ("said", "written") for value in self.all(name)]
        likes = [*self.all("like"), *map(_file, self.all("example"))]
        first = " ".join([*self.all("q"), *(f"like {value}" for value in likes), *words])
        signs = (("+", "also"), ("−", "less"))
        first += "".join(f" {sign} {value}" for sign, name in signs for value in self.all(name))
        return ", then ".join([first or "like what fits", *self.all("then")])


def _marked(pairs: list[tuple[str, str]], mark: str) -> list[tuple[str, str]]:
    """With a mark more or, if it is there, less; older comparisons make room."""
    kind, _, clips = mark.partition(".")
    key, *others = clips.split(".")
    name = name_of(key)
    if kind == "closer":
        its = [pair for pair in pairs if pair[0] == kind and pair[1].startswith(f"{key}.")]
        old = [*its, *((kind, f"{other}.{key}") for other in others)]
        fresh = [] if its else [(kind, f"{key}.{other}") for other in others[:ABOVE]]
    else:
        old = [("good", name), ("bad", name)]
        fresh = [] if kind not in ("good", "bad") or (kind, name) in pairs else [(kind, name)]
    kept = [*(pair for pair in pairs if pair not in old), *fresh]
    while len({clip for pair in kept for clip in _clips(*pair)}) > MOST and "closer" in dict(kept):
        kept.remove(next(pair for pair in kept if pair[0] == "closer"))
    return kept


def _clips(kind: str, value: str) -> list[str]:
    """Keys of clips that a mark is about."""
    return value.split(".") if kind == "closer" else [key_of(value)] if kind in MARKS else []


class Chip(NamedTuple):
    """A part of the query that can be taken out."""

    kind: str
    text: str
    href: str


def chips(asked: Asked) -> list[Chip]:
    """What was added to the sentence, and the conditions of the filter."""
    found = []
    for name, value in sorted(asked.pairs, key=lambda pair: pair[0] == "then"):
        if name in CHIPS:
            match = WEIGHTED.fullmatch(value) if name in ("also", "less") else None
            text = f"{match[2].strip()} × {match[1]}" if match else _file(value) if name == "example" else value
            found.append(Chip(CHIPS[name], text, asked.link(without=[(name, value)])))
    found += [Chip("filter", part, asked.filtered(without=part)) for part in asked.conditions]
    for name, (kind, text) in SETTINGS.items():
        if value := asked.one(name):
            found.append(Chip(kind, text.format(value), asked.link(without=[name])))
    return found


def _file(example: str) -> str:
    """photo.jpg~1a2b3c4d -> photo.jpg"""
    return example.rpartition("~")[0] or example


class Value(NamedTuple):
    """A value to filter by."""

    text: str
    clips: int
    href: str
    chosen: bool


class Choice(NamedTuple):
    """A column with values to filter by."""

    column: str
    chosen: bool  # whether one of them is
    values: list[Value]
    more: int


def choices(facets: Sequence[Facet], asked: Asked) -> list[Choice]:
    """Facets that offer one: not the same value for all clips, nor another one for each."""
    found = []
    for facet in facets:
        values = []
        for value, clips in [*facet.values, *([(None, facet.missing)] if facet.missing else [])]:
            condition = facet.filter(value)
            chosen = condition in asked.conditions
            href = asked.filtered(without=condition) if chosen else asked.filtered(add=condition)
            values.append(Value(_told(value), clips, href, chosen))
        chosen = any(value.chosen for value in values)
        if chosen or (len(values) > 1 and any(value.clips > 1 for value in values)):
            found.append(Choice(facet.column, chosen, values, facet.more))
    return found


def _told(value: Any) -> str:
    match value:
        case None:
            return "not known"
        case bool():
            return "yes" if value else "no"
        case (low, high):
            return f"{low:,g}" if low == high else f"{low:,g} – {high:,g}"
    return str(value) or "(empty)"


def key_of(name: str) -> str:
    """walk.mp4#t=10,20 -> d2Fsay5tcDQjdD0xMCwyMA"""
    return base64.urlsafe_b64encode(name.encode("utf-8", "surrogatepass")).decode().rstrip("=")


def name_of(key: str) -> str:
    """The id of a key; an InputError where it is none."""
    try:
        if not 0 < len(key) <= LONGEST:
            raise ValueError
        name = base64.b64decode(key + "=" * (-len(key) % 4), altchars=b"-_", validate=True).decode(
            "utf-8", "surrogatepass"
        )
        if key_of(name) != key:
            raise ValueError
    except (ValueError, binascii.Error):
        raise InputError("this address names no clip; follow a link of a hit") from None
    return name


def check_size(request: Request, size: int) -> None:
    """Refuse what would take much longer than other requests.

    Raises:
        InputError: more is wanted than is answered here.
    """
    if request.top > TOP or not 1 <= size <= TOP:
        raise InputError(f"top and size must be 1 to {TOP} here, got {request.top} and {size}")
    if request.by_video and request.top * request.moments > MOMENTS:
        of = f"{request.top} videos with {request.moments} moments each"
        raise InputError(f"top x moments must be at most {MOMENTS:,} here, got {of}")
    if len(request.sentences) > TERMS:
        raise InputError(f"a request has at most {TERMS} sentences here, got {len(request.sentences)}")
