"""The API: searches, facts and exports as JSON.

An answer is written in one go, by hand: no model is validated while a search waits. `schema` documents what comes.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import fields
from itertools import islice
from typing import Any, TypeVar
from urllib.parse import parse_qsl

from fastapi import APIRouter, HTTPException, Request
from fastapi.responses import Response

import index
from index import Hit, Searcher, VideoHits
from mee.errors import InputError, name_id
from scripts.serve import media, schema
from scripts.serve.keys import key_of, name_of
from scripts.serve.schema import parameter, request_of, request_of_json
from scripts.serve.service import TOP, Page, Service

router = APIRouter(prefix="/api")
Result = TypeVar("Result")
Pairs = Sequence[tuple[str, str]]
AROUND, MARKED = 9, 1000  # clips around a clip by default, clips of an export at most
EXPORTS = {  # of each form its media type, and the ending of the file
    "csv": ("text/csv; charset=utf-8", "csv"),
    "json": ("application/json", "json"),
    "edl": ("text/plain; charset=utf-8", "edl"),
    "otio": ("application/json", "otio"),
    "ffmpeg": ("text/plain; charset=utf-8", "ffconcat"),
}
DEFAULTS = {field.name: field.default for field in fields(index.Request)} | {"weights": {}, "top": TOP}
QUERY = schema.parameters()
CLIP = parameter("clip", "key of a clip", needed=True)
COUNT = parameter("count", "how many clips", type="integer", minimum=1, maximum=TOP, default=AROUND)
FORM = parameter("form", "how it is written", needed=True, enum=[*EXPORTS])
MARKS = parameter("key", "keys of clips, in place of a query", type="array", items={"type": "string"})
COLUMNS = parameter("column", "columns; default: all of few values", type="array", items={"type": "string"})
FILE: dict[str, Any] = {"content": {kind.partition(";")[0]: {"schema": {}} for kind, _ in EXPORTS.values()}}
SENT = "application/x-www-form-urlencoded"
SENT_FIELDS = {"type": "object", "properties": {each["name"]: each["schema"] for each in (FORM, MARKS, *QUERY)}}


def documented(answer: Any, *statuses: int, query: Sequence[Any] = (), **more: Any) -> dict[str, Any]:
    """How a route is documented: its answer, what else it may answer, and its parameters."""
    good = answer if isinstance(answer, dict) else {"model": answer}
    return {
        "responses": {200: good, **{status: {} for status in statuses}},
        "openapi_extra": {"parameters": [*query], **more},
    }


def as_json(content: Any) -> Response:
    """JSON without NaN."""
    text = json.dumps(content, allow_nan=False, separators=(",", ":"))
    return Response(text, media_type="application/json")


async def unless_gone(request: Request, work: Awaitable[Result]) -> Result:
    """What is awaited; it is cancelled if the client goes first."""

    async def watch() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass

    doing, watching = asyncio.ensure_future(work), asyncio.ensure_future(watch())
    try:
        await asyncio.wait((doing, watching), return_when=asyncio.FIRST_COMPLETED)
        if not doing.done():
            raise HTTPException(499, "the client has gone")
        return doing.result()
    finally:
        doing.cancel()
        watching.cancel()


async def run(request: Request, work: Callable[[Searcher], Result]) -> Result:
    """The same of work with the searcher, in its thread."""
    return await unless_gone(request, request.app.state.service.run(work))


def taken(pairs: Iterable[tuple[str, str]], *names: str) -> tuple[Pairs, list[list[str]]]:
    """The pairs without some names, and the values of each of these."""
    given = [*pairs]
    return [pair for pair in given if pair[0] not in names], [[v for n, v in given if n == name] for name in names]


# ---- searches


@router.get(
    "/search", **documented(schema.Answer, 404, 503, query=[*QUERY, parameter("token", "of a page, alone")])
)
async def search(request: Request) -> Response:
    """Find moments, or videos; the token of an answer gives its following page, which is not ranked again."""
    pairs, (tokens,) = taken(request.query_params.multi_items(), "token")
    if tokens:
        if pairs or len(tokens) > 1:
            raise InputError("a token comes alone: it names a page of a search that was made")
        service: Service = request.app.state.service
        return _answer(request, await service.page(tokens[0]))
    return await _searched(request, *request_of(pairs))


@router.post(
    "/search",
    **documented(schema.Answer, 408, 413, 503, **schema.body("application/json", schema.Search)),
)
async def search_by_body(request: Request) -> Response:
    """The same of a JSON body."""
    return await _searched(request, *request_of_json(await request.body()))


async def _searched(request: Request, wanted: index.Request, size: int) -> Response:
    return _answer(request, await unless_gone(request, request.app.state.service.search(wanted, size=size)))


def _answer(request: Request, page: Page) -> Response:
    asked = {name: getattr(page.request, name) for name, value in DEFAULTS.items()}
    asked = {name: value for name, value in asked.items() if value != DEFAULTS[name]}
    if page.request.also:
        asked["also"] = [{"weight": weight, "sentence": sentence} for weight, sentence in page.request.also]
    write = _Writer(request)
    found: dict[str, Any] = {}
    if page.request.by_video:
        found["videos"] = [write.video(each) for each in page.found if isinstance(each, VideoHits)]
    else:
        found["hits"] = [write.hit(each) for each in page.found if isinstance(each, Hit)]
    places = {"count": page.count, "first": page.first, "next": page.next, "before": page.before}
    return as_json({"query": asked, **places, "weights": {**page.weights}, "notes": [*page.notes], **found})


class _Writer:
    """Hits as plain containers, made field by field: `Hit.to_dict` copies each container of them."""

    def __init__(self, request: Request) -> None:
        self.experts = request.app.state.service.searcher.modalities
        self.pictures = request.app.state.settings.videos is not None

    def hit(self, hit: Hit) -> dict[str, Any]:
        """A hit."""
        scored = {
            name: {
                "weight": share.weight,
                "similarity": share.similarity,
                "offset": share.offset,
                "contribution": share.contribution,
            }
            for name, share in hit.experts.items()
        }
        return {
            "rank": hit.rank,
            **self.clip(hit.clip_id, hit.video, hit.start_s, hit.end_s),
            "score": hit.score,
            "offset": hit.offset,
            "experts": scored,
            "words": {name: vars(said) for name, said in hit.words.items()},
            "missing": [name for name in self.experts if name not in scored] if scored else None,
        }

    def video(self, found: VideoHits) -> dict[str, Any]:
        """A video with its best moments."""
        moments = [self.hit(hit) for hit in found.hits]
        about = {"rank": found.rank, "video": found.video, "key": key_of(found.video)}
        return {**about, "score": found.score, "moments": moments}

    def clip(self, clip_id: str, video: str, start_s: float, end_s: float) -> dict[str, Any]:
        """A clip, with its addresses."""
        key = key_of(clip_id)
        found = {"clip_id": clip_id, "video": video, "start_s": start_s, "end_s": end_s, "key": key}
        found["video_key"] = key_of(video)
        if self.pictures:
            found |= {"thumb": f"/api/clips/{key}/thumb", "strip": f"/api/clips/{key}/strip"}
        return found


@router.get("/explain", **documented(schema.Hit, 404, 503, query=[*QUERY, CLIP]))
async def explain(request: Request) -> Response:
    """A clip as a hit of a search, whatever its rank."""
    pairs, (keys,) = taken(request.query_params.multi_items(), "clip")
    (wanted, _), name = request_of(pairs), name_of(_one("clip", keys))
    hit = await run(request, lambda searcher: searcher.explain(wanted, _known(searcher, name)))
    return as_json(_Writer(request).hit(hit))


# ---- facts


@router.get("/info", **documented(schema.Info, 503))
async def info(request: Request) -> Response:
    """What is served."""
    settings = request.app.state.settings

    def told(searcher: Searcher) -> dict[str, Any]:
        layout, columns = searcher.video_index.layout, searcher.video_index.snapshot.columns
        hidden = ("pattern", "offset", "version")
        return {
            "title": settings.title,
            "clips": len(searcher.video_index),
            "experts": [*layout.names],
            "words": [*layout.words],
            "columns": {each.name: str(each.type) for each in columns if each.name not in hidden},
            "playable": settings.videos is not None,
            "top": TOP,
        }

    return as_json(await run(request, told))


@router.get("/clips/{key}", **documented(schema.Facts, 404, 503))
async def clip(key: str, request: Request) -> Response:
    """What is known of a clip, and how it is played."""
    name, write = name_of(key), _Writer(request)
    facts = await run(request, lambda searcher: searcher.video_index.facts(_known(searcher, name)))
    found = {**write.clip(*(facts.pop(each) for each in ("clip_id", "video", "start_s", "end_s"))), **facts}
    if write.pictures:
        found["play"] = await media.play_of(request.app, key)
    return as_json(found)


@router.get(
    "/videos/{key}/clips", **documented(schema.Moments, 404, 503, query=[{**CLIP, "name": "around"}, COUNT])
)
async def clips(key: str, request: Request) -> Response:
    """The clips of a video in order of time, from the first, or around one."""
    rest, (around, count) = taken(request.query_params.multi_items(), "around", "count")
    video, name = name_of(key), name_of(around[0]) if around else None
    most = _number("count", count)
    if rest:
        raise InputError(f"there is no parameter {name_id(rest[0][0])}; name around and count")
    try:
        moments = await run(request, lambda searcher: searcher.video_index.clips_of(video))
    except InputError as error:
        raise HTTPException(404, str(error)) from None
    ids = [moment.clip_id for moment in moments]
    if name is not None and name not in ids:
        raise HTTPException(404, "there is no such clip in this video any more; search again")
    first = max(0, min(ids.index(name) - most // 2, len(ids) - most)) if name is not None else 0
    write, shown = _Writer(request), islice(moments, first, first + most)
    found = [{**write.clip(*moment[:4]), "streams": [*moment.streams]} for moment in shown]
    return as_json({"video": video, "count": len(ids), "first": first + 1, "clips": found})


@router.get("/facets", **documented(schema.Facets, 503, query=[*QUERY, COLUMNS]))
async def facets(request: Request) -> Response:
    """Values of columns with their counts, among the clips that a search may find; a search is not needed."""
    pairs, (columns,) = taken(request.query_params.multi_items(), "column")
    if all(name != "q" or not value for name, value in pairs):
        pairs = [*pairs, ("q", "anything")]
    wanted, _ = request_of(pairs)
    if len(columns) > schema.NAMES:
        raise InputError(f"at most {schema.NAMES} columns can be named, got {len(columns)}")
    found = await run(request, lambda searcher: index.facets(searcher.video_index, wanted, columns))
    return as_json({"facets": [each.to_dict() for each in found]})


@router.get("/export", **documented(FILE, 404, 503, query=[FORM, MARKS, *QUERY]))
async def export(request: Request) -> Response:
    """What a search finds, or some clips, as a list of cuts for other programs."""
    return await _exported(request, request.query_params.multi_items())


@router.post("/export", **documented(FILE, 404, 408, 413, 503, **schema.body(SENT, SENT_FIELDS)))
async def export_marked(request: Request) -> Response:
    """The same of a form."""
    return await _exported(request, parse_qsl((await request.body()).decode("utf-8", "replace")))


async def _exported(request: Request, given: Iterable[tuple[str, str]]) -> Response:
    pairs, (forms, keys) = taken(given, "form", "key")
    if (form := _one("form", forms)) not in EXPORTS:
        raise InputError(f"form must be one of {', '.join(EXPORTS)}, got {name_id(form)}")
    if len(keys) > MARKED:
        raise InputError(f"at most {MARKED:,} clips can be named, got {len(keys):,}; send fewer at a time")
    names, title = [*map(name_of, keys)], "marked moments"
    if not keys:
        page = await unless_gone(request, request.app.state.service.search(request_of(pairs)[0], size=TOP))
        title = page.request.sentence or "moments"
        hits = (hit for each in page.found for hit in (each.hits if isinstance(each, VideoHits) else (each,)))
        names = [hit.clip_id for hit in hits]

    settings = request.app.state.settings
    folder = None if settings.token or settings.videos is None else settings.videos.resolve()  # not told to others

    def listed(searcher: Searcher) -> str:
        moments = searcher.video_index.moments([_known(searcher, name) for name in names])
        return index.cut_list(moments, form, title=title, folder=folder)

    kind, ending = EXPORTS[form]
    headers = {"Content-Disposition": f'attachment; filename="moments.{ending}"'}
    return Response(await run(request, listed), headers=headers, media_type=kind)


def _known(searcher: Searcher, name: str) -> str:
    """The id of a clip that is there; a 404 if none is."""
    if searcher.video_index.snapshot.find(name) is None:
        raise HTTPException(404, "there is no such clip any more; search again")
    return name


def _one(name: str, values: Sequence[str]) -> str:
    if len(values) != 1:
        raise InputError(f"{name} must be given once, and is given {len(values)} times")
    return values[0]


def _number(name: str, values: Sequence[str]) -> int:
    text = _one(name, values or [str(AROUND)])
    if not (text.isascii() and text.isdigit() and len(text) < 5 and 1 <= int(text) <= TOP):
        raise InputError(f"{name} must be a number from 1 to {TOP}, got {name_id(text)}")
    return int(text)
