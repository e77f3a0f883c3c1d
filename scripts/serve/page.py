"""The page, rendered by the server; without scripts it still searches and plays.

/          the page, with its results if the address asks for something; ?video= alone: clips of a video
/hits      the parts of it that follow from the address; scripts put them in place, each by its id
/files     the files of a library that is read while it is served, and how far each of them is
/progress  the parts of these pages that change meanwhile, each with its id
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from itertools import compress
from typing import Any, NamedTuple, get_args
from urllib.parse import urlencode

import numpy as np
import pyarrow as pa
from fastapi import APIRouter, HTTPException, Request
from fastapi.responses import Response

import index
from index import Hit, Searcher
from mee.errors import InputError, count, name_id
from scripts.example import offered
from scripts.search import APART, NOTHING
from scripts.serve.asked import ASKS, CHIPS, TOP, Asked, chips, choices, key_of
from scripts.serve.media import unless_gone
from scripts.serve.progress import FileState, Progress, State
from scripts.serve.rendering import colours, rendered
from scripts.serve.schema import query_of, request_of
from scripts.serve.service import NOT_YET, Busy, NotYet, Page, Service
from scripts.serve.view import Card, Cards, marks

router = APIRouter(include_in_schema=False)
SHOWN, VALUES, KEPT = 24, 8, 64  # clips on the first page, values of a column, filters whose facets are kept
FILES = 100  # on a page
NOT_READ = "this is known where mee open reads the library; plain mee serve shows an index as it is"
HIDDEN = ("streams", "start_s", "end_s", "file_seconds", "file_bytes", "width", "audio_rate", "file_modified")
ORDERS = {"date": "newest first", "length": "shortest first", "name": "by name"}
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
    takes_files: bool = False  # as examples
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
    library, video, first, error = await _library(request), asked.one("video"), [], ""
    try:
        first = await _clips_of(request, video) if video else library.first
    except InputError as problem:
        error = str(problem)
    return rendered(
        "welcome.html.j2",
        404 if error else 200,
        asked=asked,
        library=library,
        examples=[EXAMPLES[name] for name in library.names if name in EXAMPLES][:3],
        cards=_cards(request, library, first),
        error=error,
        room=SHOWN,
        **live(request, library),
    )


def _cards(request: Request, library: Library, clips: list[Hit]) -> list[Card]:
    """Clips that are only shown."""
    cards = Cards(None, library.names, media=request.app.state.settings.videos is not None)
    return [*map(cards.card, clips)]


async def _clips_of(request: Request, video: str) -> list[Hit]:
    """The first clips of a video, by time."""
    found = await request.app.state.service.run(lambda searcher: searcher.video_index.clips_of(video))
    return [Hit(0, it.clip_id, it.video, it.start_s, it.end_s, 0.0, {}) for it in found[:TOP]]


@router.get("/hits")
async def hits(request: Request) -> Response:
    """What follows from the address."""
    return await _answer("hits.html.j2", request, Asked.of(request.query_params.multi_items()))


async def _answer(template: str, request: Request, asked: Asked) -> Response:
    """The answer in a template, or one sentence in its place."""
    service: Service = request.app.state.service
    library, token = await _library(request), request.query_params.get("token")
    page, facets, error, wrong, status, headers = None, [], "", False, 200, {}
    columns = 0  # of the map
    try:
        if token:
            page = await service.page(token)
        else:
            wanted, size = request_of(asked.pairs, others=("view",))
            whole = asked.one("view") == "map"
            page = await unless_gone(request, service.search(wanted, size=TOP if whole else size))
            columns, page = await mapped(service, page) if whole else (0, page)
            facets = await _facets(service, library, wanted)
    except Busy as busy:
        status, headers = 503, {"Retry-After": str(max(1, round(busy.retry_s)))}
        if not isinstance(busy, NotYet):
            error = "too many searches wait at this moment; search again in a few seconds"
    except InputError as problem:
        status, error = 400, str(problem)
        wrong = error.startswith("the filter ")
    fields = ("q", "only", "where", "by_video", "fold", "view", "offset", "min_score", "sort", "within")
    hidden = asked.rest(*fields, *library.words)
    if error and not wrong:  # what cannot be seen in the form is not asked for again
        hidden = tuple(pair for pair in hidden if pair[0] in (*CHIPS, "mark", "closer"))
    shown: dict[str, Any] = {"library": library}
    shown |= {"asked": asked, "error": error, "wrong": wrong, "hidden": hidden, "chips": chips(asked)}
    shown["marks"] = marks(asked)
    shown |= {"choices": choices(facets, asked)} | _shown(request, asked, library, page) | live(request, library)
    shown["columns"] = columns
    if columns > 1:
        shown["status"] = f"{shown['status'].rpartition(',')[0]}, alike ones side by side"
    if status == 503 and not error:
        shown["status"] = NOT_YET[0].upper() + NOT_YET[1:]
    progress, q = request.app.state.settings.progress, asked.one("q")
    shown["named"] = len(progress.found(q)) if progress is not None and q else 0
    response = rendered(template, status, **shown)
    response.headers.update(headers)
    return response


async def mapped(service: Service, page: Page) -> tuple[int, Page]:
    """Columns of a map of what was found, by the best moments of videos; and the same, row by row."""
    ids, weights = [one.hits[0].clip_id for one in page.found], page.weights
    rows, columns = await service.run(lambda it: index.arranged(ids, weights, it.video_index.snapshot))
    order = np.lexsort((columns, rows)).tolist()
    return int(columns.max(initial=-1)) + 1, replace(page, found=[page.found[n] for n in order])


# ---- a library that is read


def live(request: Request, library: Library | None = None) -> dict[str, Any]:
    """What templates show of it in every header; library: on pages that can show what is new."""
    return {"progress": request.app.state.settings.progress, "clips": "" if library is None else library.clips}


def progress_of(request: Request) -> Progress:
    """How far the library is read; a 404 where it is served as it is."""
    progress: Progress | None = request.app.state.settings.progress
    if progress is None:
        raise HTTPException(404, NOT_READ)
    return progress


@dataclass(frozen=True)
class Listed:
    """A page of the files."""

    name: str
    state: str
    number: int  # of the page, from 1
    count: int  # of all that fit
    files: list[tuple[str, FileState]]  # with their keys

    def link(self, **changed: object) -> str:
        """The address with other fields; without the page's number unless that is one of them."""
        pairs = {"name": self.name, "state": self.state} | changed
        kept = {name: value for name, value in pairs.items() if value}
        return f"/files?{urlencode(kept)}" if kept else "/files"

    @property
    def others(self) -> list[tuple[str, str]]:
        """Links to the pages beside it: rel, address."""
        beside = [("prev", self.number - 1), ("next", self.number + 1)]
        return [(rel, self.link(page=n)) for rel, n in beside if 0 < n <= -(-self.count // FILES)]


def listed(progress: Progress, params: Mapping[str, str]) -> Listed:
    """The page of files that an address asks for.

    Raises:
        InputError: its number is none, or its state.
    """
    name, state, number = (params.get(field, "").strip() for field in ("name", "state", "page"))
    if state and state not in get_args(State):
        raise InputError(f"state must be one of {', '.join(get_args(State))}, got {name_id(state[:80])}")
    if not re.fullmatch("[1-9][0-9]{0,6}", number or "1"):
        raise InputError(f"page must be a number from 1, got {name_id(number[:80])}")
    found, page = progress.found(name, state), int(number or 1)
    part = found[(page - 1) * FILES : page * FILES]
    return Listed(name, state, page, len(found), [(key_of(file.video), file) for file in part])


@router.get("/files")
async def files(request: Request) -> Response:
    """The files, a page at a time."""
    progress, library = progress_of(request), await _library(request)
    return rendered("files.html.j2", listed=listed(progress, request.query_params), **live(request, library))


@router.get("/progress")
async def parts(request: Request) -> Response:
    """What has changed by now, for scripts; with `cards`, their number on the page: clips for its empty places."""
    progress, library = progress_of(request), await _library(request)
    shown = request.query_params.get("cards", "")
    wanted = library.first if shown.isdecimal() and int(shown[:9]) < SHOWN else []
    files = listed(progress, request.query_params) if "files" in request.query_params else None
    return rendered(
        "progress.html.j2", listed=files, cards=_cards(request, library, wanted), **live(request, library)
    )


def _shown(request: Request, asked: Asked, library: Library, page: Page | None) -> dict[str, Any]:
    """What templates show of an answer; None: there is none."""
    if page is None:
        return dict.fromkeys(("groups", "notes", "weights", "before"), ()) | dict.fromkeys(
            ("by_video", "status", "more", "scored"), ""
        )
    media = request.app.state.settings.videos is not None
    progress, view = request.app.state.settings.progress, "&view=map" if asked.one("view") == "map" else ""
    cards = Cards(page.request, library.names, query=query_of(page.request) + view, media=media, progress=progress)
    scale = cards.scale((hit for one in page.found for hit in one.hits), request.query_params.get("scale", ""))
    return {
        "groups": [
            (one, [cards.card(hit, not (number and page.request.then)) for number, hit in enumerate(one.hits)])
            for one in page.found
        ],
        "zero": cards.zero,
        "by_video": page.request.finds_videos,
        "scored": cards.scored,
        "status": _status(page),
        "notes": [
            note for note in page.notes if note not in (NOTHING, APART.format(page.request.within))
        ],  # which the status says
        "more": asked.link(add=[("token", page.next), ("scale", scale)]) if page.next else "",
        "weights": page.weights,
        "before": page.weights_before,
        "top": max([1.0, *page.weights.values(), *page.weights_before.values()]),
    }


def _status(page: Page) -> str:
    """How much was found, and in which order; or what to do."""
    wanted, noun = page.request, "video" if page.request.finds_videos else "moment"
    sequence = f" with this sequence within {wanted.within:g} s" if wanted.then else ""
    if not page.count and wanted.offset:
        return f"No more {noun}s{sequence}"
    if not page.count and wanted.then and wanted.min_score is None:
        why = APART.format(wanted.within)
        return f"{why[0].upper()}{why[1:]}, or take a filter or a stream away"
    if not page.count:
        return f"No {noun} fits: take a filter or a stream away, or use other words"
    last = page.first + len(page.found) - 1
    ranked = "by their best moment" if wanted.by_video and not wanted.then else "best first"
    order = ORDERS.get(wanted.sort, ranked if wanted.asks else "by time")
    best = f"the {'next' if wanted.offset else 'best'} " if page.count == wanted.top and wanted.asks else ""
    part = f"{last:,} of {best}" if last < page.count else best.capitalize()
    return f"{part}{count(page.count, noun)}{sequence}, {order}"


async def _facets(service: Service, library: Library, wanted: index.Request) -> list[index.Facet]:
    """Values to filter by. They follow from the filter alone, and are kept while the library is what is served."""
    key = (wanted.where, wanted.video, wanted.said, wanted.written, wanted.like, tuple(wanted.refused))
    if key not in library.facets:
        found = await service.run(lambda searcher: index.facets(searcher.video_index, wanted, most=VALUES))
        if len(library.facets) >= KEPT:
            library.facets.clear()
        shown = [facet for facet in found if facet.column not in HIDDEN]
        shown.sort(key=lambda facet: FIRST.index(facet.column) if facet.column in FIRST else -1)
        library.facets[key] = shown
    return library.facets[key]


async def _library(request: Request) -> Library:
    """What is served, counted once a generation of the index; nothing yet where there is no index."""
    service: Service = request.app.state.service
    held: tuple[Any, Library] | None = getattr(request.app.state, "library", None)
    try:
        if request.app.state.settings.progress is not None:
            await service.run(lambda searcher: None)  # a turn, which looks for changes
        if held is None or held[0] is not service.need().video_index.snapshot:
            held = request.app.state.library = await service.run(_counted)
    except NotYet:
        return Library(0, 0, [], [])
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
        rows = range(0, len(table), max(len(snapshot) // SHOWN, 1))[: SHOWN - len(first)]
        some = table.select(["clip_id", "video", "start_s", "end_s"]).take(pa.array(rows, pa.int64())).to_pylist()
        first += [Hit(0, row["clip_id"], row["video"], row["start_s"], row["end_s"], 0.0, {}) for row in some]
    streams = [Stream(name, colour, have[name]) for name, colour in colours(names).items()]
    return snapshot, Library(len(snapshot), len(videos), streams, first, offered(searcher))
