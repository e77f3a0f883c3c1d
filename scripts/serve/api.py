"""The API: searches, facts and exports as JSON.

An answer is written in one go, by hand: no model is validated while a search waits. `answers` documents it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, fields
from typing import Annotated, Any, Literal, TypeVar, get_args
from urllib.parse import parse_qsl

from fastapi import APIRouter, HTTPException, Query, Request
from fastapi.responses import Response

import index
from index import Hit, Searcher, VideoHits
from mee.errors import InputError
from scripts.example import keep, offered
from scripts.serve import answers, media, schema
from scripts.serve.answers import REF, documented
from scripts.serve.asked import TOP, key_of, name_of
from scripts.serve.page import FILES, listed, mapped, progress_of
from scripts.serve.progress import State
from scripts.serve.schema import request_of, request_of_json
from scripts.serve.service import Page

router = APIRouter(prefix="/api")
Result = TypeVar("Result")
AROUND, MARKED = 9, 1000  # clips around a clip by default, clips of an export at most
TEXT, JSON = "text/plain; charset=utf-8", "application/json"  # media types
EXPORTS = {"csv": "text/csv; charset=utf-8", "json": JSON, "edl": TEXT, "otio": JSON, "ffmpeg": TEXT}
FILE: dict[str, Any] = {"content": {kind.partition(";")[0]: {"schema": {}} for kind in EXPORTS.values()}}
BODY = {JSON: {"$ref": REF.format(model="Search")}}
FORM = {
    "application/x-www-form-urlencoded": {
        "type": "object",
        "required": ["form"],
        "properties": {"form": {"enum": [*EXPORTS]}, "key": {"type": "array", "items": {"type": "string"}}}
        | {each["name"]: each["schema"] for each in schema.parameters()},
    }
}
EXAMPLE = {"application/octet-stream": {"type": "string", "format": "binary"}}
NO_STORE = "no file can be an example here: the feature store of the index is not on this machine"
DEFAULTS = {field.name: field.default for field in fields(index.Request)} | {"weights": {}, "top": TOP}
Form = Annotated[Literal["csv", "json", "edl", "otio", "ffmpeg"], Query(description="how it is written")]
Marks = Annotated[list[str], Query(description="keys of clips, in place of a search", max_length=MARKED)]
Columns = Annotated[list[str], Query(description="default: all of few values", max_length=schema.NAMES)]


def as_json(content: Any) -> Response:
    """JSON without NaN."""
    text = json.dumps(content, allow_nan=False, separators=(",", ":"))
    return Response(text, media_type=JSON)


async def run(request: Request, work: Callable[[Searcher], Result]) -> Result:
    """Work with the searcher in its thread; it is left undone if the client goes first."""
    return await media.unless_gone(request, request.app.state.service.run(work))


# ---- searches


@router.get("/search", **documented(answers.Answer, 404, 503, query=True))
async def search(
    request: Request, token: Annotated[str, Query(description="of a page of an answer; it comes alone")] = ""
) -> Response:
    """Find moments, or videos; the tokens of an answer give its other pages, which are not ranked again."""
    pairs = request.query_params.multi_items()
    if not token:
        return await _searched(request, *request_of(pairs))
    if len(pairs) > 1:
        raise InputError("a token comes alone: it names a page of a search that was made")
    return _answer(request, await request.app.state.service.page(token))


@router.post("/search", **documented(answers.Answer, 408, 413, 503, body=BODY))
async def search_by_body(request: Request) -> Response:
    """The same of a JSON body."""
    return await _searched(request, *request_of_json(await request.body()))


async def _searched(request: Request, wanted: index.Request, size: int) -> Response:
    return _answer(request, await media.unless_gone(request, request.app.state.service.search(wanted, size=size)))


def _answer(request: Request, page: Page) -> Response:
    asked = {name: getattr(page.request, name) for name, value in DEFAULTS.items()}
    asked = {name: value for name, value in asked.items() if value != DEFAULTS[name]}
    if page.request.also:
        asked["also"] = [{"weight": weight, "sentence": sentence} for weight, sentence in page.request.also]
    write = _Writer(request)
    found: dict[str, Any] = {}
    if page.request.finds_videos:
        found["videos"] = [write.video(each) for each in page.found if isinstance(each, VideoHits)]
    else:
        found["hits"] = [write.hit(each) for each in page.found if isinstance(each, Hit)]
    first, weights = page.request.offset + page.first, {"weights": {**page.weights}}
    places = {"count": page.count, "first": first, "next": page.next, "before": page.before}
    if page.weights_before:
        weights["weights_before"] = {**page.weights_before}
    partial = {"partial": True, "missing_shards": [*page.missing]} if page.missing else {}
    return as_json({"query": asked, **places, **weights, **partial, "notes": [*page.notes], **found})


@router.get("/map", **documented(answers.Map, 404, 503, query=True))
async def arranged(request: Request) -> Response:
    """Find moments, or videos, and arrange all on a grid that is nearly square, alike ones side by side."""
    wanted, _ = request_of(request.query_params.multi_items())
    service = request.app.state.service
    columns, page = await mapped(service, await media.unless_gone(request, service.search(wanted, size=TOP)))
    keys = [key_of(hit.clip_id) for one in page.found for hit in one.hits[:1]]
    cells = [dict(zip(("key", "row", "column"), (key, *divmod(n, columns)))) for n, key in enumerate(keys)]
    return as_json({"columns": columns, "cells": cells})


class _Writer:
    """Hits as plain containers, with addresses."""

    def __init__(self, request: Request) -> None:
        self.experts = request.app.state.service.need().modalities
        self.pictures = request.app.state.settings.videos is not None

    def hit(self, hit: Hit) -> dict[str, Any]:
        """A hit."""
        found = hit.to_dict() | self.clip(hit.clip_id, hit.video, hit.start_s, hit.end_s)
        lacks = [name for name in self.experts if name not in hit.experts]
        return {**found, "missing": lacks if hit.experts else None}

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


@router.get("/explain", **documented(answers.Hit, 404, 503, query=True))
async def explain(request: Request, clip: Annotated[str, Query(description="key of a clip")]) -> Response:
    """A clip as a hit of a search, whatever its rank."""
    (wanted, _), name = request_of(request.query_params.multi_items(), others=("clip",)), name_of(clip)
    hit = await run(request, lambda searcher: searcher.explain(wanted, _known(searcher, name)))
    return as_json(_Writer(request).hit(hit))


@router.post("/examples", **documented(answers.Example, 404, 408, 413, 503, body=EXAMPLE))
async def give_example(
    request: Request, name: Annotated[str, Query(description="what the file is called", max_length=1000)] = ""
) -> Response:
    """Take a picture, or 60 s of video or sound at most, to find clips like it; only its vectors are kept."""
    app, content = request.app, await request.body()
    if not await run(request, offered):
        raise HTTPException(404, NO_STORE)
    of = app.state.service.need()
    made = await media.unless_gone(request, app.state.uploads.make(of, content, name))
    key = await run(request, lambda searcher: keep(searcher, of, made, name, content))
    return as_json({"example": key, "streams": made.streams, "missing": made.missing, "notes": made.notes})


# ---- facts


@router.get("/library", **documented(answers.Reading, 404))
async def library(
    request: Request,
    name: Annotated[str, Query(description="only files with these words in their name")] = "",
    state: Annotated[str, Query(description="only files in this state: " + ", ".join(get_args(State)))] = "",
    page: Annotated[str, Query(description=f"of {FILES} files, from 1")] = "1",
) -> Response:
    """How far a library is read that mee open serves, and its files: problems first, then by name."""
    progress = progress_of(request)
    found = listed(progress, {"name": name, "state": state, "page": page})
    shown = {"count": found.count, "page": found.number, "pages": -(-found.count // FILES)}
    files = [asdict(file) for _, file in found.files]
    known = {"folder": progress.folder, "status": asdict(progress.status), "counts": progress.counts}
    return as_json({**known, **shown, "files": files})


@router.get("/info", **documented(answers.Info, 503))
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


@router.get("/clips/{key}", **documented(answers.Facts, 404, 503))
async def clip(key: str, request: Request) -> Response:
    """What is known of a clip, and how it is played."""
    name, write = name_of(key), _Writer(request)
    facts = await run(request, lambda searcher: searcher.video_index.facts(_known(searcher, name)))
    found = {**write.clip(*(facts.pop(each) for each in ("clip_id", "video", "start_s", "end_s"))), **facts}
    if write.pictures:
        found["play"] = await media.unless_gone(request, media.play_of(request.app, key))
    return as_json(found)


@router.get("/videos/{key}/clips", **documented(answers.Moments, 404, 503))
async def clips(
    key: str,
    request: Request,
    around: Annotated[str, Query(description="key of a clip")] = "",
    count: Annotated[int, Query(description="how many", ge=1, le=TOP)] = AROUND,
) -> Response:
    """The clips of a video in order of time, from the first, or around one."""
    video, name = name_of(key), name_of(around) if around else None
    try:
        moments = await run(request, lambda searcher: searcher.video_index.clips_of(video))
    except InputError as error:
        raise HTTPException(404, str(error)) from None
    ids = [moment.clip_id for moment in moments]
    if name is not None and name not in ids:
        raise HTTPException(404, "there is no such clip in this video any more; search again")
    first = max(0, min(ids.index(name) - count // 2, len(ids) - count)) if name is not None else 0
    write = _Writer(request)
    found = [write.clip(*moment[:4]) for moment in moments[first : first + count]]
    return as_json({"video": video, "count": len(ids), "first": first + 1, "clips": found})


@router.get("/facets", **documented(answers.Facets, 503, query=True))
async def facets(request: Request, column: Columns = []) -> Response:  # noqa: B006
    """Values of columns with their counts, among the clips that a search may find; a search is not needed."""
    pairs = [pair for pair in request.query_params.multi_items() if pair[0] != "q"]
    wanted, _ = request_of([("q", "anything"), *pairs], others=("column",))
    found = await run(request, lambda searcher: index.facets(searcher.video_index, wanted, column))
    return as_json({"facets": [each.to_dict() for each in found]})


@router.get("/export", **documented(FILE, 404, 503, query=True))
async def export(request: Request, form: Form, key: Marks = []) -> Response:  # noqa: B006
    """What a search finds, or some clips, as a list of cuts for other programs."""
    return await _exported(request, form, key, request.query_params.multi_items())


@router.post("/export", **documented(FILE, 404, 408, 413, 503, body=FORM))
async def export_marked(request: Request) -> Response:
    """The same of a form."""
    pairs = parse_qsl((await request.body()).decode("utf-8", "replace"))
    form = next((value for name, value in pairs if name == "form"), "")
    keys = [value for name, value in pairs if name == "key"]
    if form not in EXPORTS or len(keys) > MARKED:
        raise InputError(f"form must be one of {', '.join(EXPORTS)}, and key be given {MARKED:,} times at most")
    return await _exported(request, form, keys, pairs)


async def _exported(
    request: Request, form: str, keys: Sequence[str], pairs: Sequence[tuple[str, str]]
) -> Response:
    names, title = [*map(name_of, keys)], "marked moments"
    if not keys:
        wanted, _ = request_of(pairs, others=("form",))
        page = await media.unless_gone(request, request.app.state.service.search(wanted, size=TOP))
        title = wanted.sentence or "moments"
        names = [hit.clip_id for each in page.found for hit in each.hits]
    settings = request.app.state.settings
    folder = None if settings.token or settings.videos is None else settings.videos.resolve()  # not told to others

    def listed(searcher: Searcher) -> str:
        moments = searcher.video_index.moments([_known(searcher, name) for name in names])
        return index.cut_list(moments, form, title=title, folder=folder)

    headers = {"Content-Disposition": f'attachment; filename="moments{index.ENDINGS[form]}"'}
    return Response(await run(request, listed), headers=headers, media_type=EXPORTS[form])


def _known(searcher: Searcher, name: str) -> str:
    """The id of a clip that is there; a 404 if none is."""
    if searcher.video_index.snapshot.find(name) is None:
        raise HTTPException(404, "there is no such clip any more; search again")
    return name
