"""The app: page, API and media over one service."""

from __future__ import annotations

from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path

from fastapi import FastAPI
from fastapi.staticfiles import StaticFiles

from scripts.serve import api, media, page
from scripts.serve.service import Service


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How it is served."""

    videos: Path | None = None  # the library's folder; None: nothing can be played
    token: str | None = None  # that every request must bring; None: none
    hosts: tuple[str, ...] = ("localhost", "127.0.0.1", "[::1]")  # names under which it may be asked
    cache: Path | None = None  # folder for converted moments and pictures; None: a temporary one
    cache_bytes: int = 2 << 30
    title: str = "MEE"
    extra: dict[str, str] = field(default_factory=dict)


def create_app(service: Service, settings: Settings) -> FastAPI:
    """The app over a service."""
    app = FastAPI(
        title="MEE", docs_url=None, redoc_url=None, openapi_url="/api/openapi.json", lifespan=media.lifespan
    )
    app.state.service, app.state.settings = service, settings
    for part in (api, media, page):
        app.include_router(part.router)
    app.mount("/static", StaticFiles(directory=str(files("scripts.serve") / "static")))
    return app
