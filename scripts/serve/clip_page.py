"""The page of a clip: its player, what is said and written in it, why it was found, and what is around it.

/clip/KEY?<query>        the page, which needs no scripts
/clip/KEY/part?<query>   its content, which scripts show over the hits of the query
/clip/KEY/captions.vtt   what is said, for the player
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from fastapi import APIRouter, Request, Response

from index import Hit, Searcher
from mee.errors import InputError, visible
from scripts.console import clock
from scripts.serve.asked import Asked, key_of, name_of
from scripts.serve.media import play_of, unless_gone
from scripts.serve.page import live
from scripts.serve.progress import Progress
from scripts.serve.rendering import rendered
from scripts.serve.schema import request_of
from scripts.serve.service import Gone
from scripts.serve.view import Card, Cards, absent, span

AROUND, LINES = 4, 200  # neighbours on each side, lines
KINDS = {"speech": "said", "text": "written"}  # streams of words
NUMBERS = ("file_seconds", "file_bytes", "width", "height", "fps", "audio_rate")  # columns of every index
CODECS = ("video_codec", "audio_codec", "file_modified")  # and other texts of every index
router = APIRouter(include_in_schema=False, prefix="/clip")


@dataclass(frozen=True)
class Line:
    """An utterance, or a line that is written in the picture."""

    kind: str  # said, written
    start_s: float  # on the video
    end_s: float
    text: str


@dataclass(frozen=True)
class Neighbour:
    """A clip of the same video, or the clip itself."""

    key: str
    span: str
    place: int  # 0: the clip itself, -1: the one before, 1: the one after


@dataclass(frozen=True)
class ClipView:
    """What its page says of a clip."""

    card: Card  # with bars where a search found it
    zero: float  # where the bars begin, of 100
    lines: Sequence[Line]
    more: int  # lines that are not shown
    similar: Sequence[tuple[str, str]]  # by which stream, address
    facts: Sequence[tuple[str, str]]
    neighbours: Sequence[Neighbour]  # with itself, in order of time


@router.get("/{key}")
async def clip_page(key: str, request: Request) -> Response:
    """The page of a clip."""
    return await _answer("clip.html.j2", 1, key, request)


@router.get("/{key}/part")
async def clip_part(key: str, request: Request) -> Response:
    """Its content alone."""
    return await _answer("clip_part.html.j2", 2, key, request)


@router.get("/{key}/captions.vtt")
async def captions(key: str, request: Request) -> Response:
    """What is said in a clip as WebVTT, on the time line of its player."""
    name = name_of(key)
    known = await request.app.state.service.run(lambda searcher: _facts(searcher, name))
    play = await play_of(request.app, key)
    said = [line for line in _lines(known) if line.kind == "said"]
    return Response(
        "\n".join(_vtt(said, play.get("start_s", 0.0) - known["start_s"])), media_type="text/vtt; charset=utf-8"
    )


async def _answer(template: str, level: int, key: str, request: Request) -> Response:
    asked = Asked.of(request.query_params.multi_items())
    settings = request.app.state.settings
    media, progress = settings.videos is not None, settings.progress
    name = name_of(key)
    viewed = request.app.state.service.run(lambda searcher: _view(searcher, name, asked, media, progress))
    view: ClipView = await unless_gone(request, viewed)
    play = await unless_gone(request, play_of(request.app, key))
    return rendered(
        template,
        level=level,
        clip=view,
        play=play,
        shift=play.get("start_s", 0.0) - view.card.hit.start_s,  # of lines, from the video to the player
        captions=any(line.kind == "said" for line in view.lines),
        query=asked.query,
        hidden=asked.rest(),
        others=[*_others(view, asked)],
        **live(request),
    )


# ---- what is known of a clip


def _facts(searcher: Searcher, name: str) -> dict[str, Any]:
    """What the index knows of a clip; 404 where it has none of just this id."""
    if searcher.video_index.snapshot.find(name) is None:
        raise Gone("there is no such clip any more; search again")
    return searcher.video_index.facts(name)


def _view(searcher: Searcher, name: str, asked: Asked, media: bool, progress: Progress | None) -> ClipView:
    known, request = _facts(searcher, name), request_of(asked.pairs, others=("view",))[0] if asked.pairs else None
    moment = known["clip_id"], known["video"], known["start_s"], known["end_s"]
    hit = Hit(0, *moment, 0.0, {})
    if request is not None and request.asks:
        try:
            hit = searcher.explain(request, name)
        except InputError:
            request = None  # nothing that it compares by
    like = Asked((("like", name),))
    cards = Cards(request, searcher.modalities, media=media, progress=progress)
    cards.scale([hit])
    lines, around = _lines(known), searcher.video_index.clips_of(known["video"])
    here = next((place for place, clip in enumerate(around) if clip.clip_id == name), 0)
    near = range(max(here - AROUND, 0), min(here + AROUND + 1, len(around)))
    return ClipView(
        cards.card(hit),
        cards.zero,
        lines[:LINES],
        max(len(lines) - LINES, 0),
        [(stream, like.link(add=(("only", stream),))) for stream in known["streams"]],
        [*_about(known, progress)],
        [Neighbour(key_of(around[at].clip_id), span(Hit(0, *around[at][:4], 0.0, {})), at - here) for at in near],
    )


def _lines(known: Mapping[str, Any]) -> list[Line]:
    """What is said and written in a clip, in order of time."""
    found = [
        Line(KINDS.get(stream, stream), line["start_s"], line["end_s"], line["text"])
        for stream, lines in known["words"].items()
        for line in lines
    ]
    return sorted(found, key=lambda line: (line.start_s, line.end_s))


def _about(known: Mapping[str, Any], progress: Progress | None) -> Iterator[tuple[str, str]]:
    """Names and values: the file's own, then those of the metadata."""
    columns = {name: value for name, value in known["columns"].items() if value is not None}
    number = {name: it for name in NUMBERS if isinstance(it := columns.get(name), (int, float))}
    yield "file", known["video"]
    if known["end_s"] > known["start_s"]:
        yield "length", f"{known['end_s'] - known['start_s']:.1f} s"
    yield "streams", ", ".join(known["streams"]) or "none"
    if known["missing"]:
        yield "missing", ", ".join(absent(name, known["video"], progress) for name in known["missing"])
    seconds, size, *pixels, fps, rate = map(number.get, NUMBERS)
    if seconds:
        yield "length of the file", clock(seconds)
    if size is not None:
        yield "size of the file", f"{size / 1e6:,.2f} MB"
    if all(pixels):
        yield "picture", " × ".join(map(str, pixels)) + (f", {fps:.4g} frames/s" if fps else "")
    for name in CODECS:
        if name in columns:
            more = f", {rate:,} Hz" if rate and name == "audio_codec" else ""
            yield name.replace("_", " "), f"{columns[name]}{more}"
    for name, value in columns.items():
        if name not in {*number, *CODECS}:
            yield name, f"{value:,}" if isinstance(value, float) else str(value)


def _others(view: ClipView, asked: Asked) -> Iterator[tuple[str, str]]:
    """Links to other clips of the video, where it has some, and to other videos."""
    hit = view.card.hit
    if len(view.neighbours) > 1:
        yield "More of this video", Asked((("video", hit.video),)).link()
        its = [("video", hit.video)] if asked.pairs else [("like", hit.clip_id), ("video", hit.video)]
        about = "The search" if asked.pairs else "Like this"
        yield f"{about} in this video alone", asked.link(without=["video"], add=its)
    yield "Other videos like this one", Asked((("like", hit.video), ("by_video", "1"))).link()


def _vtt(lines: Sequence[Line], shift: float) -> Iterator[str]:
    """Lines of WebVTT; the times of `lines` are those of the player less `shift`."""
    yield "WEBVTT\n"
    for line in lines:
        start, end = max(line.start_s + shift, 0.0), max(line.end_s + shift, 0.0)
        if end > start:
            text = escape(visible(" ".join(line.text.split())), quote=False)
            yield f"{_stamp(start)} --> {_stamp(end)}\n{text}\n"


def _stamp(seconds: float) -> str:
    minutes, rest = divmod(round(seconds, 3), 60)
    return f"{int(minutes // 60):02d}:{int(minutes % 60):02d}:{rest:06.3f}"
