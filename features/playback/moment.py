"""A moment of a file as a small MP4 that every browser plays."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

LONGEST_S = 30.0


@dataclass(frozen=True, kw_only=True)
class Made:
    """What was written."""

    video: Literal["copied", "converted", "none"]
    audio: Literal["copied", "converted", "none"]
    start_s: float  # where the moment begins on the time line of what was written: a copy starts at a key frame


def write_moment(path: Path, start_s: float, end_s: float, out: Path) -> Made:
    """Write a moment, at most LONGEST_S of it, as MP4.

    Raises:
        MediaError: the file cannot be read, or has neither pictures nor sound there.
    """
    raise NotImplementedError
