"""The page, rendered by the server; without scripts it still searches and plays.

/        the page, with its results if the address asks for something
/hits    the parts of it that follow from the address; scripts put them in place, each by its id
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import compress
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import Response

import index
from index import Hit, Searcher, VideoHits
from mee.errors import InputError, count
from scripts.serve.asked import Asked, Choice, chips, choice_of
from scripts.serve.rendering import colours, rendered
from scripts.serve.schema import query_of, request_of
from scripts.serve.service import Busy, Page, Service
from scripts.serve.view import Cards

router = APIRouter(include_in_schema=False)
SHOWN = 24  # clips on the first page
VALUES, KEPT = 8, 64  # of a column; filters whose choices are kept
HIDDEN = ("streams", "start_s", "end_s", "file_seconds", "file_bytes", "width", "audio_rate")  # the filter knows them
FIRST = ("duration", "height", "fps", "video_codec", "audio_codec", "video")  # after the columns of the user
ASKS = ("q", "also", "less", "like", "said", "written")
EXAMPLES = {
    "appearance": "a person outdoors",
    "audio": "music is playing",
    "motion": "something moves fast",
    "face": "a smiling face",
    "speech": "someone explains how it works",
    "text": "a title on the screen",
}


@dataclass(frozen=True)
class Stream:
    """An expert of the index."""

    name: str
    colour: str
    clips: int  # that have it


@dataclass(frozen=True)
class Library:
    """What is served."""

    clips: int
    videos: int
    streams: tuple[Stream, ...]
    first: tuple[Hit, ...]  # some clips, evenly spread
    counted: dict[Any, list[index.Facet]] = field(default_factory=dict)  # by what is filtered

    @property
    def words(self) -> list[str]:
        """Fields for words, of the streams of words that there are."""
        names = {stream.name for stream in self.streams}
        return [field for field, name in (("said", "speech"), ("written", "text")) if name in names]


@router.get("/")
async def home(request: Request) -> Response:
    """The page."""
    asked = Asked.of(request.query_params.multi_items())
    if any(asked.all(name) for name in ASKS):
        return await _answer("page.html.j2", request, asked)
    library = await _library(request)
    cards = Cards(None, tuple(stream.name for stream in library.streams), media=_media(request))
    examples = [EXAMPLES[stream.name] for stream in library.streams if stream.name in EXAMPLES][:3]
    shown = {
        "asked": asked,
        "library": library,
        "error": "",
        "examples": examples,
        "cards": [*map(cards.card, library.first)],
    }
    return rendered("welcome.html.j2", **shown)


@router.get("/hits")
async def hits(request: Request) -> Response:
    """What follows from the address."""
    return await _answer("hits.html.j2", request, Asked.of(request.query_params.multi_items()))


async def _answer(template: str, request: Request, asked: Asked) -> Response:
    """The answer in a template, or one sentence in its place."""
    library = await _library(request)
    service: Service = request.app.state.service
    shown: dict[str, Any] = {
        "asked": asked,
        "library": library,
        "chips": chips(asked),
        "facets": [],
        "error": "",
        "wrong": "",
    }
    status, headers = 200, {}
    page = None
    try:
        token = request.query_params.get("token")
        page = await (service.page(token) if token else _search(service, asked))
        shown["choices"] = [] if token else await _choices(service, library, page, asked)
    except Busy as error:
        status, headers = 503, {"Retry-After": f"{error.retry_s:.0f}"}
        shown["error"] = "too many searches wait at this moment; search again in a few seconds"
    except InputError as error:
        status, shown["error"] = 400, str(error)
        shown["wrong"] = "where" if str(error).startswith("the filter ") else ""
    response = rendered(template, status, **shown | _shown(request, asked, library, page))
    response.headers.update(headers)
    return response


async def _search(service: Service, asked: Asked) -> Page:
    wanted, size = request_of(asked.pairs)
    return await service.search(wanted, size=size)


def _shown(request: Request, asked: Asked, library: Library, page: Page | None) -> dict[str, Any]:
    """What templates show of an answer; None: there is none."""
    names = tuple(stream.name for stream in library.streams)
    weights = dict(page.weights) if page else {}
    found: Sequence[Hit] | Sequence[VideoHits] = page.found if page else ()
    groups = [[*one.hits] if isinstance(one, VideoHits) else [one] for one in found]
    cards = Cards(
        page.request if page else None, names, query=query_of(page.request) if page else "", media=_media(request)
    )
    scale = cards.scale((hit for group in groups for hit in group), request.query_params.get("scale", ""))
    more = (("token", page.next), ("scale", scale)) if page and page.next else ()
    return {
        "groups": [(one, [*map(cards.card, group)]) for one, group in zip(found, groups)],
        "by_video": bool(page and page.request.by_video),
        "zero": cards.zero,
        "status": _status(page, asked) if page else "",
        "notes": page.notes if page else (),
        "more": asked.link(add=more) if more else "",
        "weights": weights,
        "top": max([1.0, *weights.values()]),
    }


def _status(page: Page, asked: Asked) -> str:
    """How much was found, and in which order; or what to do."""
    noun = "video" if page.request.by_video else "moment"
    if not page.count:
        if asked.all("where") or asked.all("video"):
            return f"No {noun} fits: take a filter away, or look for something else."
        if asked.all("min_score") or asked.all("only"):
            return f"No {noun} fits: ask for a lower score, or for more streams."
        return f"No {noun} fits: look for other words."
    last = page.first + len(page.found) - 1
    order = (
        ("best first" if not page.request.by_video else "by their best moment") if page.request.asks else "by time"
    )
    if last == page.count and page.count < page.request.top:
        return f"{count(page.count, noun)}, {order}"
    best = "the best " if page.count == page.request.top and page.request.asks else ""
    return f"{last} of {best}{count(page.count, noun)}, {order}"


async def _choices(service: Service, library: Library, page: Page, asked: Asked) -> list[Choice]:
    """Values to filter by. They depend on the filter alone, so a library keeps them while it is what is served."""
    wanted = page.request
    key = (wanted.where, wanted.video, wanted.said, wanted.written, wanted.like)
    if key not in library.counted:
        found = await service.run(lambda searcher: index.facets(searcher.video_index, wanted, most=VALUES))
        if len(library.counted) >= KEPT:
            library.counted.clear()
        library.counted[key] = [facet for facet in found if facet.column not in HIDDEN]
    facets = sorted(library.counted[key], key=lambda it: FIRST.index(it.column) if it.column in FIRST else -1)
    return [choice for facet in facets if (choice := choice_of(facet, asked))]


async def _library(request: Request) -> Library:
    """What is served, counted once a generation of the index."""
    service: Service = request.app.state.service
    snapshot, library = getattr(request.app.state, "library", (None, None))
    if library is None or snapshot is not service.searcher.video_index.snapshot:
        snapshot, library = await service.run(_counted)
        request.app.state.library = snapshot, library
    return library


def _counted(searcher: Searcher) -> tuple[Any, Library]:
    snapshot = searcher.video_index.snapshot
    names = searcher.modalities
    have = dict.fromkeys(names, 0)
    for partition in snapshot.partitions:
        for name in compress(names, partition.pattern):
            have[name] += partition.count
    tables = [segment.live_table() for segment in snapshot.segments]
    videos = {video for table in tables for video in table["video"].unique().to_pylist()}
    first: list[Hit] = []
    for table in tables:
        step = max(len(table) * len(tables) // SHOWN, 1)
        rows = table.take([*range(0, len(table), step)][: SHOWN - len(first)]).to_pylist()
        first += [Hit(0, row["clip_id"], row["video"], row["start_s"], row["end_s"], 0.0, {}) for row in rows]
    colour = colours(names)
    streams = tuple(Stream(name, colour[name], have[name]) for name in names)
    return snapshot, Library(len(snapshot), len(videos), streams, tuple(first))


def _media(request: Request) -> bool:
    return request.app.state.settings.videos is not None
