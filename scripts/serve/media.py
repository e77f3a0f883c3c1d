"""Pictures, moments and files of clips: reached by the clip alone, and inside the library's folder."""

from __future__ import annotations

from fastapi import APIRouter

router = APIRouter(prefix="/api/clips")
