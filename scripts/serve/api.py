"""The API: searches, facts and exports as JSON."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request

router = APIRouter(prefix="/api")


@router.get("/info")
async def info(request: Request) -> dict[str, Any]:
    """What is served."""
    searcher = request.app.state.service.searcher
    return {"clips": len(searcher.video_index), "experts": list(searcher.modalities)}
