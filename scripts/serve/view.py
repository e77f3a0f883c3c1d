"""View: hits as a template needs them, all texts chosen and all bars measured.

The bars of a page share one scale: its largest contribution, or the most negative one and the largest.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import final
from urllib.parse import quote

from index import Hit, Request
from scripts.console import clock
from scripts.serve.keys import key_of
from scripts.serve.rendering import colours

ABSENT = {"audio": "no sound", "face": "no face", "speech": "nothing said", "text": "nothing written"}
TELLS = {"speech": "says", "text": "shows"}  # how words came, by the expert that found them


@dataclass(frozen=True)
class Bar:
    """One expert's part in a hit."""

    expert: str
    colour: str
    absent: str = ""  # what is said in place of the bar, where the clip lacks the stream, or it has no weight
    contribution: float = 0.0
    x: float = 0.0  # of 100, where the bar starts
    width: float = 0.0
    weight: float = 0.0
    similarity: float = 0.0


@dataclass(frozen=True)
class Card:
    """A hit, or a clip that is only shown."""

    hit: Hit
    key: str
    video_key: str
    span: str
    opens: str
    bars: tuple[Bar, ...]
    words: tuple[tuple[str, str, str], ...]  # says or shows, when, what
    similar: tuple[tuple[str, str], ...]  # by what, address
    thumb: str  # address; empty without a library


@final
class Cards:
    """Makes the cards of one page."""

    def __init__(self, request: Request | None, experts: tuple[str, ...], *, query: str = "", media: bool = False):
        self.scored = request is not None and request.asks
        self.experts, self.query, self.media = experts, query, media
        self.low, self.high = 0.0, 0.0
        self._colours = colours(experts)

    def scale(self, hits: Iterable[Hit], given: str = "") -> str:
        """Set the scale of the bars: the given one, or that of these hits; returns it, for the following pages."""
        parts = [share.contribution for hit in hits for share in hit.experts.values()]
        try:
            low, high = map(float, given.split("/")) if given else (min([0.0, *parts]), max([0.0, *parts]))
        except ValueError:
            low, high = 0.0, 0.0
        self.low, self.high = max(min(low, 0.0), -1e9), min(max(high, 0.0), 1e9)
        return f"{self.low:.4g}/{self.high:.4g}"

    @property
    def zero(self) -> float:
        """Where bars begin, of 100."""
        return round(100 * -self.low / ((self.high - self.low) or 1.0), 2) if self.low else 0.0

    def card(self, hit: Hit) -> Card:
        """A hit as a card."""
        key = key_of(hit.clip_id)
        similar = [("all streams", "")] + [(name, f"&only={quote(name)}") for name in hit.experts]
        return Card(
            hit,
            key,
            key_of(hit.video),
            span(hit),
            f"/clip/{key}" + (f"?{self.query}" if self.query else ""),
            tuple(self._bar(hit, name) for name in self.experts) if self.scored else (),
            tuple((TELLS.get(name, name), clock(said.start_s, 0), said.text) for name, said in hit.words.items()),
            tuple((name, f"/?like={quote(hit.clip_id, safe='')}{rest}") for name, rest in similar),
            f"/api/clips/{key}/thumb" if self.media else "",
        )

    def _bar(self, hit: Hit, name: str) -> Bar:
        share, colour = hit.experts.get(name), self._colours[name]
        if share is None:
            return Bar(name, colour, ABSENT.get(name, f"no {name}"))
        if not share.weight:
            return Bar(name, colour, "not counted")
        unit = 100 / ((self.high - self.low) or 1.0)
        ends = sorted(min(max((each - self.low) * unit, 0.0), 100.0) for each in (0.0, share.contribution))
        width = round(max(ends[1] - ends[0], 0.0), 2)
        return Bar(name, colour, "", share.contribution, round(ends[0], 2), width, share.weight, share.similarity)


def span(hit: Hit) -> str:
    """0:02–0:08; with tenths where it is below 2 s, and nothing of a still."""
    if hit.end_s <= hit.start_s:
        return "still"
    digits = 1 if hit.end_s - hit.start_s < 2 else 0
    return f"{clock(hit.start_s, digits)}–{clock(hit.end_s, digits)}"
