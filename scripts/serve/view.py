"""View: hits as a template needs them, all texts chosen and all bars measured.

The bars of a page share one scale, from its most negative contribution, or 0, to its largest.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from contextlib import suppress
from typing import NamedTuple, final
from urllib.parse import urlencode

from index import Hit, Request
from mee.errors import InputError
from scripts.console import clock
from scripts.serve.asked import ABOVE, MARKS, Asked, Chip, key_of, name_of
from scripts.serve.progress import Progress
from scripts.serve.rendering import colours, short

ABSENT = {"audio": "no sound", "face": "no face", "speech": "nothing said", "text": "nothing written"}
TELLS = {"speech": "says", "text": "shows"}  # how words came, by the expert that found them
UNREAD = ("waiting", "copying", "reading")  # states of files of which more will be read
LARGEST = 1e9  # of a scale
CHIPS = 3  # of marks of one kind; more are summed up
MOMENT = re.compile(r"(.+)#t=([\d.]+),([\d.]+)", re.DOTALL)


class Bar(NamedTuple):
    """One expert's part in a hit."""

    expert: str
    colour: str
    absent: str = ""  # what is said in place of the bar: the clip lacks the stream, or it has no weight
    contribution: float = 0.0
    x: float = 0.0  # of 100, where it starts
    width: float = 0.0
    weight: float = 0.0
    similarity: float = 0.0


class Card(NamedTuple):
    """A hit, or a clip that is only shown."""

    hit: Hit
    key: str
    video_key: str
    span: str
    opens: str  # address
    bars: list[Bar]
    words: list[tuple[str, str, str]]  # says or shows, when, what
    similar: list[tuple[str, str]]  # by what, address
    thumb: str  # address; empty without a library
    marked: str | None = None  # good, bad or ""; None: it cannot be marked
    closest: str = ""  # its key and those of hits above it; empty: there are none
    closer: bool = False  # it was said to be closer than others


@final
class Cards:
    """Makes the cards of one page."""

    def __init__(
        self,
        request: Request | None,
        experts: tuple[str, ...],
        *,
        query: str = "",
        media: bool = False,
        progress: Progress | None = None,
    ) -> None:
        """request: None shows no scores; query: urlencoded, for links to clips; media: there are pictures."""
        self.progress = progress
        self.scored, self.media, self.query = (
            request is not None and request.asks,
            media,
            f"?{query}" if query else "",
        )
        self.colours, self.low, self.high = colours(experts), 0.0, 0.0
        marks = (("good", request.good), ("bad", request.bad)) if request is not None else ()
        self.marked = {name: kind for kind, names in marks for name in names}
        self.closer = {near for near, _ in request.closer} if request is not None else set[str]()
        self.above: list[str] = []  # keys of the cards made so far

    def scale(self, hits: Iterable[Hit], given: str = "") -> str:
        """Take a page's scale, or that of these hits; returns it, for the following pages."""
        parts = [0.0, *(share.contribution for hit in hits for share in hit.experts.values())]
        own = f"{min(parts):.4g}/{max(parts):.4g}"
        for scale in (given, own):
            with suppress(ValueError):
                self.low, self.high = map(float, scale.split("/"))
                if -LARGEST <= self.low <= 0 <= self.high <= LARGEST:
                    return scale
        return own

    @property
    def zero(self) -> float:
        """Where bars begin, of 100."""
        return self._place(0.0)

    def _place(self, value: float) -> float:
        return round(min(max(100 * (value - self.low) / ((self.high - self.low) or 1.0), 0.0), 100.0), 2)

    def card(self, hit: Hit, marks: bool = True) -> Card:
        """A hit as a card; marks: it can be marked, in a search."""
        key, like = key_of(hit.clip_id), [("like", hit.clip_id)]
        by = [("all streams", like), *((name, [*like, ("only", name)]) for name in hit.experts)]
        marks = marks and self.scored
        above = self.above[:ABOVE] if marks else []
        self.above += [key] if marks else []
        return Card(
            hit=hit,
            key=key,
            video_key=key_of(hit.video),
            span=span(hit),
            opens=f"/clip/{key}{self.query}",
            bars=[self._bar(hit, name) for name in self.colours] if self.scored else [],
            words=[(TELLS.get(name, name), clock(it.start_s, 0), it.text) for name, it in hit.words.items()],
            similar=[(name, f"/?{urlencode(pairs)}") for name, pairs in by],
            thumb=f"/api/clips/{key}/thumb" if self.media else "",
            marked=self.marked.get(hit.clip_id, "") if marks else None,
            closest=".".join([key, *above]) if above else "",
            closer=hit.clip_id in self.closer,
        )

    def _bar(self, hit: Hit, name: str) -> Bar:
        share, colour = hit.experts.get(name), self.colours[name]
        if share is None or not share.weight:
            return Bar(name, colour, "not counted" if share else absent(name, hit.video, self.progress))
        start, end = sorted(map(self._place, (0.0, share.contribution)))
        part = share.contribution
        return Bar(name, colour, "", part, start, round(end - start, 2), share.weight, share.similarity)


def absent(name: str, video: str, progress: Progress | None) -> str:
    """Why a clip lacks a stream; progress: of a library in which it may only not be read yet."""
    file = progress.files.get(video) if progress is not None else None
    if file is not None and file.state in UNREAD and name not in file.streams:
        return "not read yet"
    return ABSENT.get(name, f"no {name}")


def span(hit: Hit) -> str:
    """0:02–0:08; with tenths where it is below 2 s, and nothing of a still but that it is one."""
    if hit.end_s <= hit.start_s:
        return "still"
    return "–".join(clock(time, 1 if hit.end_s - hit.start_s < 2 else 0) for time in (hit.start_s, hit.end_s))


def marks(asked: Asked) -> list[Chip]:
    """Marks of a search, each with an address without it; of a kind with many, all of them in one."""
    found = []
    for kind, (one, several) in MARKS.items():
        clips: dict[str, list[tuple[str, str]]] = {}
        for value in asked.all(kind):
            clips.setdefault(value.partition(".")[0] if kind == "closer" else value, []).append((kind, value))
        if len(clips) > CHIPS:
            found.append(Chip("marked", f"{len(clips)} {several}", asked.link(without=[kind])))
            continue
        for clip, pairs in clips.items():
            text = _moment(clip) if kind != "closer" else f"{_moment(clip, key=True)} than {len(pairs)} above"
            found.append(Chip(one, text, asked.link(without=pairs)))
    return found


def _moment(name: str, *, key: bool = False) -> str:
    """walk.mp4#t=10,20 -> walk.mp4 0:10–0:20, by a name or a key; of other names, the name."""
    with suppress(InputError):
        name = name_of(name) if key else name
    match = MOMENT.fullmatch(name)
    with suppress(ValueError):
        if match:
            its = Hit(0, name, match[1], float(match[2]), float(match[3]), 0.0, {})
            return f"{short(its.video, 30)} {span(its)}"
    return short(name, 40)
