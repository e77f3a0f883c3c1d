"""The page, rendered by the server; without scripts it still searches and plays."""

from __future__ import annotations

from fastapi import APIRouter
from fastapi.responses import HTMLResponse

router = APIRouter(include_in_schema=False)


@router.get("/")
async def home() -> HTMLResponse:
    """The page."""
    return HTMLResponse("<!doctype html><title>MEE</title>")
