"""Pictures, moments and files of clips: reached by the clip alone, and inside the library's folder.

    key -> row of the index -> file below --videos, opened and then checked -> sent, or made playable in the cache

`lifespan(app)` is for the app's start and end: it ends the processes that decode. Nothing is started before the
first picture is asked for.
"""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from email.utils import formatdate
from io import BufferedReader
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Lock
from typing import Any, TypeVar

from fastapi import APIRouter, FastAPI, HTTPException, Request, Response
from fastapi.responses import FileResponse
from starlette.types import Receive, Scope, Send

from features.errors import InputError, MediaError
from features.files import open_inside
from features.media import IMAGE_SUFFIXES, NO_PICTURE
from features.playback import (
    LONGEST_S,
    FileCache,
    Playable,
    Studio,
    StudioBusy,
    default_folder,
    film_strip,
    name_in_cache,
    playable,
    thumbnail,
    work_inside,
    write_moment,
)
from scripts.serve.asked import name_of
from scripts.serve.metrics import Metrics

FORMAT = 1  # of what is in the cache; raised when it is made in another way
PICTURE_S, MOMENT_S = 20.0, 120.0  # that work may take
KNOWN = 10_000  # files of which is remembered how they play
RANGE = re.compile(r"bytes=(?P<first>[0-9]{0,18})-(?P<last>[0-9]{0,18})(?<!=-)")  # one
MIME = re.compile(r"(video|audio|image)/[a-z0-9.+-]+")
NO_VIDEOS = "start mee serve with --videos FOLDER to see and play clips"
Result = TypeVar("Result")
_MAKING = Lock()  # routes ask from several threads

RESPONSES: dict[int | str, dict[str, Any]] = {
    206: {"description": "a part of the file"},
    304: {"description": "the file is as it was"},
    **{status: {} for status in (404, 416, 503)},
}

router = APIRouter(prefix="/api/clips", responses=RESPONSES)
EMPTY: dict[int | str, dict[str, Any]] = {204: {"description": "the file has no picture"}}


def _of(mime: str) -> dict[int | str, dict[str, Any]]:
    return {200: {"content": {mime: {}}, "description": "the file"}}


@dataclass(frozen=True)
class Source:
    """A clip's file, open."""

    file: BufferedReader
    start_s: float
    end_s: float
    stamp: tuple[str, int, int]  # its name, and what changes with its content


@dataclass
class Media:
    """What the routes share."""

    videos: Path
    cache: FileCache
    metrics: Metrics
    pictures: Studio = field(default_factory=lambda: Studio(timeout=PICTURE_S))
    links: TemporaryDirectory[str] = field(default_factory=lambda: TemporaryDirectory(prefix="mee-"))
    moments: Studio = field(default_factory=lambda: Studio(timeout=MOMENT_S))
    playable: dict[tuple[str, int, int], Playable] = field(default_factory=dict)

    @staticmethod
    def of(app: FastAPI) -> Media:
        """That of an app; an HTTPException where it has no folder of videos."""
        settings, state = app.state.settings, app.state
        if settings.videos is None:
            raise HTTPException(404, NO_VIDEOS)
        with _MAKING:
            if not hasattr(state, "media"):
                try:
                    cache = FileCache(settings.cache or default_folder(), settings.cache_bytes)
                except InputError as error:
                    raise _refusal(error) from None
                state.media = Media(settings.videos.absolute(), cache, state.service.metrics)
        media: Media = state.media
        return media

    def on(self, source: Source, work: Callable[..., Any]) -> tuple[Any, ...]:
        """What a studio is asked for, but for further arguments."""
        return work_inside, self.videos, source.stamp[0], Path(self.links.name), work

    async def how_played(self, source: Source) -> Playable:
        """Raises MediaError where the file cannot be read."""
        if source.stamp not in self.playable:
            if len(self.playable) >= KNOWN:
                self.playable.clear()
            self.playable[source.stamp] = await self.pictures.ask(*self.on(source, playable))
        return self.playable[source.stamp]

    async def made(self, source: Source, work: Callable[..., Any]) -> tuple[BufferedReader, str]:
        """A picture or an MP4 of a clip, and its name in the cache."""
        span = source.start_s, source.end_s
        name = name_in_cache(
            "mp4" if work is write_moment else "jpg", FORMAT, work.__name__, str(self.videos), *source.stamp, *span
        )

        async def make(path: Path) -> None:
            outcome = "undone"  # it failed, or nobody waits for it any more
            try:
                if work is write_moment:
                    await self.moments.ask(*self.on(source, work), *span, path)
                else:
                    made = await self.pictures.ask(*self.on(source, work), *span)
                    await asyncio.to_thread(path.write_bytes, made)
                outcome = "done"
            finally:
                self.metrics.count("mee_conversions_total", kind=work.__name__, outcome=outcome)

        return await self.cache.get(name, make), name


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """At the app's end the processes are ended; they start when the first picture is asked for."""
    yield
    media: Media | None = getattr(app.state, "media", None)
    if media is not None:
        for studio in (media.pictures, media.moments):
            await studio.__aexit__()
        media.links.cleanup()


def source_of(app: FastAPI, key: str) -> Source:
    """The open file of a clip; an HTTPException with a sentence where it cannot be had."""
    videos = Media.of(app).videos
    try:
        clip_id = name_of(key)
        clip_id.encode()
    except ValueError:  # the InputError of another package, or no Unicode
        raise HTTPException(404, "this address names no clip; follow a link of a hit") from None
    snapshot = app.state.service.need().video_index.snapshot
    snapshot.check()
    if (place := snapshot.find(clip_id)) is None:
        raise HTTPException(404, "the index has no such clip any more; search again")
    (row,) = snapshot.segments[place[0]].table.arrow.slice(place[1], 1).to_pylist()
    video = row["video"]
    try:
        file = open_inside(videos, video)
    except OSError:
        said = f"{video!r:.200} is not in the folder of videos; put it back"
        if not videos.is_dir():
            said = "the folder of videos is not there at this moment; connect its drive, and play the moment again"
        raise HTTPException(404, said) from None
    except InputError:
        said = f"{video!r:.200} is no file inside the folder of videos; give --videos the folder that was indexed"
        raise HTTPException(404, said) from None
    status = os.fstat(file.fileno())
    if isinstance(recorded := row.get("file_bytes"), int) and recorded != status.st_size:
        file.close()
        then = "run mee precompute and mee index again"
        if app.state.settings.progress is not None:
            then = "it is read again, so search again in a moment"
        said = f"{video!r:.200} has changed since it was indexed; {then}"
        raise HTTPException(404, said)
    stamp = video, status.st_size, status.st_mtime_ns
    return Source(file, float(row["start_s"]), float(row["end_s"]), stamp)


async def play_of(app: FastAPI, key: str) -> dict[str, Any]:
    """How a clip can be played: {"kind", "url", "direct", "mime", "start_s", "end_s", "why"}.

    ``url`` plays from the moment on, ``start_s`` and ``end_s`` are on the time line of what it gives; ``kind`` is
    "none" where it cannot be played, and ``why`` then says in a sentence what to do.
    """
    try:
        source = await asyncio.to_thread(source_of, app, key)
        with source.file:
            how = await Media.of(app).how_played(source)
    except (HTTPException, StudioBusy, InputError) as error:
        return {"kind": "none", "why": _refusal(error).detail}
    url, start, end = f"/api/clips/{key}/moment.mp4", 0.0, min(source.end_s - source.start_s, LONGEST_S)
    if how.direct:
        start, end = source.start_s + how.zero_s, source.end_s + how.zero_s
        url = f"/api/clips/{key}/media" + (f"#t={start:.3f},{end:.3f}" if how.kind != "image" else "")
    why = how.why
    if not how.direct and source.end_s - source.start_s > LONGEST_S:
        why += f", and only the first {LONGEST_S:g} s of this clip are"
    facts = {"kind": how.kind, "direct": how.direct, "mime": how.mime, "why": why}
    return facts | {"url": url, "start_s": start, "end_s": end}


@router.head("/{key}/thumb", include_in_schema=False)
@router.get("/{key}/thumb", response_class=FileResponse, responses=_of("image/jpeg") | EMPTY)
async def thumb(request: Request, key: str) -> Response:
    """A picture of the clip."""
    return await _picture(request, key, thumbnail)


@router.head("/{key}/strip", include_in_schema=False)
@router.get("/{key}/strip", response_class=FileResponse, responses=_of("image/jpeg") | EMPTY)
async def strip(request: Request, key: str) -> Response:
    """Eight pictures of the clip, side by side."""
    return await _picture(request, key, film_strip)


@router.head("/{key}/moment.mp4", include_in_schema=False)
@router.get("/{key}/moment.mp4", response_class=FileResponse, responses=_of("video/mp4"))
async def moment(request: Request, key: str) -> Response:
    """The clip as an MP4 that browsers play."""
    return await _made(request, key, "video/mp4", write_moment)


@router.head("/{key}/media", include_in_schema=False)
@router.get("/{key}/media", response_class=FileResponse, responses=_of("*/*"))
async def media(request: Request, key: str) -> Response:
    """The clip's whole file, where browsers play it as it is."""
    source = await asyncio.to_thread(source_of, request.app, key)
    how = await _answered(request, Media.of(request.app).how_played(source))
    if not how.direct:
        source.file.close()
        raise HTTPException(404, f"browsers do not play this file as it is ({how.why}); ask for moment.mp4")
    return _send(request, source.file, f"{source.stamp[2]:x}-{source.stamp[1]:x}", how.mime, "private, no-cache")


async def _picture(request: Request, key: str, work: Callable[..., Any]) -> Response:
    """A picture; nothing, which is no error, of a file that has none, such as one of sound alone."""
    try:
        return await _made(request, key, "image/jpeg", work)
    except HTTPException as error:
        if str(error.__cause__) != NO_PICTURE:
            raise
        return Response(status_code=204)


async def _made(request: Request, key: str, mime: str, work: Callable[..., Any]) -> Response:
    """From the cache, or made now."""
    source = await asyncio.to_thread(source_of, request.app, key)
    with source.file:
        if work is write_moment and Path(source.stamp[0]).suffix.lower() in IMAGE_SUFFIXES:
            raise HTTPException(404, "a picture is shown as it is; ask for media")
        file, name = await _answered(request, Media.of(request.app).made(source, work))
    return _send(request, file, name, mime, "private, max-age=3600")


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


async def _answered(request: Request, work: Awaitable[Result]) -> Result:
    """The same of work on a file, or an HTTPException."""
    try:
        return await unless_gone(request, work)
    except (StudioBusy, InputError) as error:
        raise _refusal(error) from error


def _refusal(error: Exception) -> HTTPException:
    if isinstance(error, HTTPException):
        return error
    if isinstance(error, MediaError):
        return HTTPException(404, f"this file cannot be shown: {error}")
    busy = isinstance(error, StudioBusy)
    said = "too much is converted at once; ask again" if busy else str(error)
    return HTTPException(503, said, {"Retry-After": "2" if busy else "60"})


def _send(request: Request, file: BufferedReader, tag: str, mime: str, keep: str) -> Response:
    """A file, or a part of it, by RFC 9110; several ranges at once, and what is no range, get the whole."""
    status, asked = os.fstat(file.fileno()), request.headers
    headers = {
        "ETag": f'"{tag}"',
        "Last-Modified": formatdate(status.st_mtime, usegmt=True),
        "Cache-Control": keep,
    }
    headers |= {"X-Content-Type-Options": "nosniff"}
    if (known := asked.get("if-none-match")) is not None:
        fresh = known.strip() == "*" or headers["ETag"] in re.findall(r'"[^"]*"', known)
    else:
        fresh = asked.get("if-modified-since") == headers["Last-Modified"]
    if fresh:
        file.close()
        return Response(status_code=304, headers=headers)
    found = RANGE.fullmatch(asked.get("range", ""))
    if found is not None and asked.get("if-range", tag) in (tag, headers["ETag"], headers["Last-Modified"]):
        first, last = (int(found[name] or -1) for name in ("first", "last"))
        if first >= status.st_size or (first < 0 and not (last > 0 and status.st_size)):
            file.close()
            size = {"Content-Range": f"bytes */{status.st_size}"}
            raise HTTPException(416, f"the file has {status.st_size} bytes; ask for some of these", size)
        found = None if 0 <= last < first else found
    return _OpenFile(
        file, mime if MIME.fullmatch(mime) else "application/octet-stream", headers, found is not None
    )


class _OpenFile(FileResponse):
    """An open file: what was checked is what is sent, whatever its name leads to meanwhile."""

    def __init__(self, file: BufferedReader, mime: str, headers: dict[str, str], in_part: bool) -> None:
        path, status = f"/dev/fd/{file.fileno()}", os.fstat(file.fileno())
        super().__init__(path, headers=headers, media_type=mime, stat_result=status)
        self._file, self._in_part = file, in_part

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with self._file:
            headers = [each for each in scope["headers"] if self._in_part or each[0] != b"range"]
            await super().__call__({**scope, "headers": headers}, receive, send)
