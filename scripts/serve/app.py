"""The app: page, API and media over one service, behind one guard; every error is one sentence."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from fastapi import APIRouter, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import PlainTextResponse, Response
from fastapi.staticfiles import StaticFiles
from starlette.exceptions import HTTPException

from features.errors import InputError as FeaturesInputError
from mee.errors import InputError, Unavailable
from scripts.example import Uploads
from scripts.serve import answers, api, clip_page, media, page, schema, security
from scripts.serve.progress import Progress
from scripts.serve.rendering import rendered
from scripts.serve.service import Busy, Gone, Service

ABOUT = (
    "Searches of an index of videos. An address asks as the command line does: q is the sentence, "
    "also=0.5*at night, less=a cat, weights=audio=0.7. Clips and videos are named by the keys of hits."
)
LOOPBACK = ("localhost", "127.0.0.1", "[::1]")
SENTENCES = {
    404: "there is nothing at this address; start at /, or read /docs",
    405: "this address is asked in another way; /docs says how",
}
EXAMPLES = {  # of routes, for /docs
    "GET /api/search": "/api/search?q=a+dog&also=0.5*at+night&less=a+cat&size=3",
    "POST /api/search": '{"sentence": "a dog", "also": [{"weight": -1, "sentence": "a cat"}], "size": 3}',
    "GET /api/map": "/api/map?q=a+dog&fold=1",
    "GET /api/explain": "/api/explain?q=a+dog&clip=KEY",
    "GET /api/facets": "/api/facets?where=duration+%3C+30&column=video",
    "GET /api/export": "/api/export?form=edl&q=a+dog&top=20",
    "POST /api/export": "form=csv&key=KEY",
    "GET /api/videos/{key}/clips": "/api/videos/VIDEO_KEY/clips?around=KEY&count=5",
}
router = APIRouter()


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How it is served."""

    videos: Path | None = None  # the library's folder; None: nothing can be played
    token: str | None = None  # that every request must bring; None: none
    hosts: tuple[str, ...] = LOOPBACK  # names under which it may be asked
    cache: Path | None = None  # folder for converted moments and pictures; None: in the user's cache directory
    cache_bytes: int = 2 << 30
    title: str = "MEE"
    progress: Progress | None = None  # of a library that is read while it is served; None: it is not


class App(FastAPI):
    """FastAPI with its OpenAPI document told as it is."""

    def openapi(self) -> dict[str, Any]:
        """The document; made once."""
        if self.openapi_schema is None:
            document = answers.completed(super().openapi())
            if self.state.settings.token is not None:
                document["components"]["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
                document["security"] = [{"token": []}]
        assert self.openapi_schema is not None
        return self.openapi_schema


def create_app(service: Service, settings: Settings) -> FastAPI:
    """The app over a service."""
    plain: dict[str, Any] = dict.fromkeys(("docs_url", "redoc_url", "openapi_url"))  # they need a CDN
    plain |= {"redirect_slashes": False, "lifespan": _lifespan}
    app = App(title=settings.title, description=ABOUT, version="1", **plain)
    app.state.service, app.state.settings, app.state.uploads = service, settings, Uploads()
    for part in (api, media, page, clip_page, security):
        app.include_router(part.router)
    app.include_router(router)
    app.mount("/static", StaticFiles(directory=str(files("scripts.serve") / "static")))
    app.add_middleware(security.Guard, hosts=settings.hosts, token=settings.token)
    for kind in (InputError, FeaturesInputError, RequestValidationError, HTTPException, Busy):
        app.add_exception_handler(kind, _sentence)
    return app


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    """At the app's end what makes examples and pictures is ended."""
    async with media.lifespan(app):
        yield
        await app.state.uploads.close()


async def _sentence(request: Request, error: Exception) -> Response:
    """What is wrong, as one sentence."""
    status, sentence, headers = 400, str(error), {}
    if isinstance(error, Busy):
        wait = max(1, round(error.retry_s))
        status, sentence, headers = 503, f"{error}; ask again in {wait} s", {"Retry-After": str(wait)}
    elif isinstance(error, HTTPException):
        status, headers = error.status_code, dict(error.headers or {})
        sentence = (
            SENTENCES.get(status, "") if error.detail in ("Not Found", "Method Not Allowed") else error.detail
        )
    elif isinstance(error, RequestValidationError):
        first = error.errors()[0]
        sentence = schema.sentence_of(first, first["loc"][1:])
    elif isinstance(error, Gone):
        status = 404
    elif isinstance(error, Unavailable):
        status, headers = 503, {"Retry-After": "2"}
    return security.refusal(request.scope, status, sentence, **headers)


@router.get("/healthz", responses={200: {"model": answers.Health}, 503: {}})
async def health(request: Request) -> Response:
    """Whether searches are answered; needs no token."""
    found = request.app.state.service.health()
    if not found["ok"]:
        raise HTTPException(503, found["why"], {"Retry-After": "5"})
    return api.as_json({"ok": True})


@router.get("/metrics", response_class=PlainTextResponse)
async def metrics(request: Request) -> Response:
    """What the server did, for Prometheus."""
    return Response(
        request.app.state.service.metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8"
    )


@router.get("/api/openapi.json", responses={200: {"content": {"application/json": {}}}})
async def openapi(request: Request) -> Response:
    """This document."""
    return Response(json.dumps(request.app.openapi()), media_type="application/json")


@router.get("/docs", include_in_schema=False)
async def docs(request: Request) -> Response:
    """The document as a page."""
    return rendered("docs.html.j2", document=request.app.openapi(), examples=EXAMPLES, **page.live(request))
