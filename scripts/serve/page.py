"""The page, rendered by the server; without scripts it still searches and plays.

/        the page, with its results if the address asks for something
/hits    the parts of it that follow from the address; scripts put them in place, each by its id
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import compress
from typing import Any, NamedTuple

from fastapi import APIRouter, Request
from fastapi.responses import Response

import index
from index import Hit, Searcher
from mee.errors import InputError, count
from scripts.serve.asked import ASKS, CHIPS, Asked, chips, choices
from scripts.serve.media import unless_gone
from scripts.serve.rendering import colours, rendered
from scripts.serve.schema import query_of, request_of
from scripts.serve.service import NOTHING, Busy, Page, Service
from scripts.serve.view import Cards

router = APIRouter(include_in_schema=False)
SHOWN, VALUES, KEPT = 24, 8, 64  # clips on the first page, values of a column, filters whose facets are kept
HIDDEN = ("streams", "start_s", "end_s", "file_seconds", "file_bytes", "width", "audio_rate")  # filters know them
FIRST = ("duration", "video_codec", "audio_codec", "height", "fps", "video")  # after the columns of the user
EXAMPLES = {
    "appearance": "a person outdoors",
    "audio": "music is playing",
    "motion": "something moves fast",
    "face": "a smiling face",
    "speech": "someone explains how it works",
    "text": "a title on the screen",
}


class Stream(NamedTuple):
    """An expert of the index."""

    name: str
    colour: str
    clips: int  # that have it


@dataclass(frozen=True)
class Library:
    """What is served."""

    clips: int
    videos: int
    streams: list[Stream]
    first: list[Hit]  # some clips, evenly spread
    facets: dict[Any, list[index.Facet]] = field(default_factory=dict)  # by what is filtered

    @property
    def names(self) -> tuple[str, ...]:
        """Of the streams."""
        return tuple(stream.name for stream in self.streams)

    @property
    def words(self) -> list[str]:
        """Fields for words, of the streams of words that there are."""
        return [field for field, name in (("said", "speech"), ("written", "text")) if name in self.names]


@router.get("/")
async def home(request: Request) -> Response:
    """The page."""
    asked = Asked.of(request.query_params.multi_items())
    if any(asked.all(name) for name in ASKS):
        return await _answer("page.html.j2", request, asked)
    library = await _library(request)
    cards = Cards(None, library.names, media=request.app.state.settings.videos is not None)
    examples = [EXAMPLES[name] for name in library.names if name in EXAMPLES][:3]
    return rendered(
        "welcome.html.j2", asked=asked, library=library, examples=examples, cards=[*map(cards.card, library.first)]
    )


@router.get("/hits")
async def hits(request: Request) -> Response:
    """What follows from the address."""
    return await _answer("hits.html.j2", request, Asked.of(request.query_params.multi_items()))


async def _answer(template: str, request: Request, asked: Asked) -> Response:
    """The answer in a template, or one sentence in its place."""
    service: Service = request.app.state.service
    library, token = await _library(request), request.query_params.get("token")
    page, facets, error, wrong, status, headers = None, [], "", False, 200, {}
    try:
        if token:
            page = await service.page(token)
        else:
            wanted, size = request_of(asked.pairs)
            page = await unless_gone(request, service.search(wanted, size=size))
            facets = await _facets(service, library, wanted)
    except Busy as busy:
        status, headers = 503, {"Retry-After": str(max(1, round(busy.retry_s)))}
        error = "too many searches wait at this moment; search again in a few seconds"
    except InputError as problem:
        status, error = 400, str(problem)
        wrong = error.startswith("the filter ")
    hidden = asked.rest("q", "only", "where", "by_video", *library.words)
    if error and not wrong:  # what cannot be seen in the form is not asked for again
        hidden = tuple(pair for pair in hidden if pair[0] in CHIPS)
    shown = {"asked": asked, "library": library, "error": error, "wrong": wrong}
    shown |= {"hidden": hidden, "chips": chips(asked)}
    shown |= {"choices": choices(facets, asked)} | _shown(request, asked, library, page)
    response = rendered(template, status, **shown)
    response.headers.update(headers)
    return response


def _shown(request: Request, asked: Asked, library: Library, page: Page | None) -> dict[str, Any]:
    """What templates show of an answer; None: there is none."""
    if page is None:
        return dict.fromkeys(("groups", "notes", "weights"), ()) | dict.fromkeys(
            ("by_video", "status", "more"), ""
        )
    media = request.app.state.settings.videos is not None
    cards = Cards(page.request, library.names, query=query_of(page.request), media=media)
    scale = cards.scale((hit for one in page.found for hit in one.hits), request.query_params.get("scale", ""))
    return {
        "groups": [(one, [*map(cards.card, one.hits)]) for one in page.found],
        "zero": cards.zero,
        "by_video": page.request.by_video,
        "status": _status(page),
        "notes": [note for note in page.notes if note != NOTHING],  # which the status says
        "more": asked.link(add=[("token", page.next), ("scale", scale)]) if page.next else "",
        "weights": page.weights,
        "top": max([1.0, *page.weights.values()]),
    }


def _status(page: Page) -> str:
    """How much was found, and in which order; or what to do."""
    wanted, noun = page.request, "video" if page.request.by_video else "moment"
    if not page.count:
        return f"No {noun} fits: take a filter or a stream away, or use other words"
    last = page.first + len(page.found) - 1
    order = "by time" if not wanted.asks else "by their best moment" if wanted.by_video else "best first"
    best = "the best " if page.count == wanted.top and wanted.asks else ""
    part = f"{last:,} of {best}" if last < page.count else best.capitalize()
    return f"{part}{count(page.count, noun)}, {order}"


async def _facets(service: Service, library: Library, wanted: index.Request) -> list[index.Facet]:
    """Values to filter by. They follow from the filter alone, and are kept while the library is what is served."""
    key = (wanted.where, wanted.video, wanted.said, wanted.written, wanted.like)
    if key not in library.facets:
        found = await service.run(lambda searcher: index.facets(searcher.video_index, wanted, most=VALUES))
        if len(library.facets) >= KEPT:
            library.facets.clear()
        shown = [facet for facet in found if facet.column not in HIDDEN]
        shown.sort(key=lambda facet: FIRST.index(facet.column) if facet.column in FIRST else -1)
        library.facets[key] = shown
    return library.facets[key]


async def _library(request: Request) -> Library:
    """What is served, counted once a generation of the index."""
    service: Service = request.app.state.service
    held: tuple[Any, Library] | None = getattr(request.app.state, "library", None)
    if held is None or held[0] is not service.searcher.video_index.snapshot:
        held = request.app.state.library = await service.run(_counted)
    return held[1]


def _counted(searcher: Searcher) -> tuple[Any, Library]:
    snapshot, names = searcher.video_index.snapshot, searcher.modalities
    have = dict.fromkeys(names, 0)
    for partition in snapshot.partitions:
        for name in compress(names, partition.pattern):
            have[name] += partition.count
    tables = [segment.live_table() for segment in snapshot.segments]
    videos = {video for table in tables for video in table["video"].unique().to_pylist()}
    first: list[Hit] = []
    for table in tables:
        rows = [*range(0, len(table), max(len(snapshot) // SHOWN, 1))][: SHOWN - len(first)]
        some = table.select(["clip_id", "video", "start_s", "end_s"]).take(rows).to_pylist()
        first += [Hit(0, row["clip_id"], row["video"], row["start_s"], row["end_s"], 0.0, {}) for row in some]
    streams = [Stream(name, colour, have[name]) for name, colour in colours(names).items()]
    return snapshot, Library(len(snapshot), len(videos), streams, first)
