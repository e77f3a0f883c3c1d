"""Small pictures of a moment, from key frames."""

from __future__ import annotations

from pathlib import Path


def thumbnail(path: Path, at_s: float, *, width: int = 320) -> bytes:
    """A JPEG of the key frame on display at, or nearest before, a time."""
    raise NotImplementedError


def film_strip(path: Path, start_s: float, end_s: float, *, count: int = 8, width: int = 160) -> bytes:
    """A JPEG of `count` pictures side by side, evenly spread over a span."""
    raise NotImplementedError
