"""A clip in memory, the frames and sound that extractors need of it, and how a file is cut into clips.

An extractor declares needs; a reader decodes their union once and yields clips. All times are in seconds since the
file's first picture (since its first sound, where it has no picture).

A file is cut into pieces of equal length from time 0; a last piece shorter than half a clip joins the one before.
By default a file of up to 30 s stays whole and a longer one is cut every 10 s. A piece without pictures and sound
is left out.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from features.errors import InputError

WHOLE_S, PIECE_S = 30.0, 10.0
SLACK_S = 0.1  # a file that is three frames longer than 30 s was meant to be 30 s long
SHORTEST_S = 0.1  # clip ids give times to the millisecond

OK, DEGRADED, NO_PICTURE, NO_SOUND = "ok", "degraded", "no picture", "no sound"
FAILED, TIMED_OUT = "failed", "timed out"
FIRST_LOOK = "first look"  # the reader that gives one frame a clip
VERDICTS = (OK, DEGRADED, NO_PICTURE, NO_SOUND, FAILED, TIMED_OUT)


@dataclass(frozen=True, kw_only=True)
class SourceFacts:
    """What the store records of the source file, a column a field; None: no such track, or unknown."""

    file_seconds: float  # from the first picture on, by the packets, not by the header; 0 for a still image
    width: int | None = None  # upright, with square pixels
    height: int | None = None
    fps: float | None = None  # mean pictures a second
    video_codec: str | None = None  # ffmpeg's name: "h264", "vp9"; for a still image "jpeg", "png" or "webp"
    audio_codec: str | None = None
    audio_rate: int | None = None  # samples a second, as stored


@dataclass(frozen=True, kw_only=True)
class FrameNeed:
    """The frames on display at ``start_s + i / fps``, RGB, grouped into windows of consecutive frames."""

    fps: float
    size: int  # short side in pixels
    window: int = 1  # frames a window
    stride: int = 1  # frames from the start of one window to the start of the next

    def __post_init__(self) -> None:
        if not (self.fps > 0 and self.size > 0 and self.window > 0 and self.stride > 0):
            raise ValueError(f"fps, size, window and stride must be positive, got {self}")

    def times(self, start_s: float, end_s: float) -> NDArray[np.float64]:
        """Wanted times in ``[start_s, end_s)``, seconds; ``start_s`` is always one of them."""
        count = max(1, math.ceil((end_s - start_s) * self.fps - 1e-6))
        return start_s + np.arange(count) / self.fps

    def windows(self, count: int) -> NDArray[np.intp]:
        """(W, window) positions among ``count`` frames; a clip shorter than a window repeats its last frame.

        Where windows ``stride`` apart do not cover the last frames, one more window ends with the clip.
        """
        if count == 0:
            return np.empty((0, self.window), dtype=np.intp)
        last = max(0, count - self.window)
        starts = np.arange(0, last + 1, self.stride)
        if starts[-1] + self.window < count:
            starts = np.append(starts, last)
        windows: NDArray[np.intp] = np.minimum(starts[:, None] + np.arange(self.window), count - 1)
        return windows


@dataclass(frozen=True, kw_only=True)
class SoundNeed:
    """The sound track as one channel at ``rate`` samples a second."""

    rate: int

    def __post_init__(self) -> None:
        if self.rate <= 0:
            raise ValueError(f"rate must be positive, got {self.rate}")


@dataclass(frozen=True, kw_only=True)
class SubtitleNeed:
    """The subtitles, preferably of a language: "en"; empty: of any."""

    language: str = ""


Need = FrameNeed | SoundNeed | SubtitleNeed
Cue = tuple[float, float, str]  # of subtitles: start and end in seconds, and the text without markup


@dataclass(frozen=True, kw_only=True)
class Span:
    """Which part of which file a clip is."""

    clip_id: str
    video: str  # the file's path below the library's folder, with forward slashes
    start_s: float
    end_s: float  # equal to start_s for a still image


@dataclass(frozen=True, kw_only=True)
class Frames:
    """Decoded frames and the times they were requested for."""

    pixels: NDArray[np.uint8]  # (T, H, W, 3) RGB, upright
    times: NDArray[np.float64]  # (T,) seconds


@dataclass(frozen=True, kw_only=True)
class Clip:
    """The content of one span. A need that the file cannot meet has no entry: no track, no sound."""

    span: Span
    reader: str  # that decoded it: "pyav", "decord", "image"
    frames: Mapping[FrameNeed, Frames] = field(default_factory=dict)
    sound: Mapping[SoundNeed, NDArray[np.float32]] = field(default_factory=dict)  # (N,) in [-1, 1]
    said: Mapping[SubtitleNeed, tuple[Cue, ...]] = field(default_factory=dict)  # none where nobody speaks
    verdict: str = OK
    note: str = ""  # the reason for the verdict: "3 bad packets", "9.2 of 60.0 s could be decoded"
    source: SourceFacts | None = None  # the whole file


def cut(video: str, held: NDArray[np.float64], clip_seconds: float | None = None) -> list[Span]:
    """Cut one file into spans, in order of time; a span of the whole file has the path itself as its id.

    Args:
        video: the file's path below the library's folder.
        held: (N, 2) seconds from and to which each picture or piece of sound lasts, N at least 1.
        clip_seconds: length of a clip; None: whole up to 30 s, else 10 s.
    """
    if clip_seconds is not None and not SHORTEST_S <= clip_seconds < math.inf:
        raise InputError(f"clip_seconds must be at least {SHORTEST_S}, got {clip_seconds}")
    end = float(held[:, 1].max())
    piece = clip_seconds
    if piece is None:
        piece = max(end, PIECE_S) if end <= WHOLE_S + SLACK_S else PIECE_S
    count = int(end / piece + 1e-9)
    count = max(1, count + (end - count * piece >= piece / 2))
    if count == 1:
        return [Span(clip_id=video, video=video, start_s=0.0, end_s=round(end, 3))]
    spans = []
    for number in _occupied(held, piece, count):
        start, stop = round(number * piece, 3), round(end if number == count - 1 else (number + 1) * piece, 3)
        fragment = f"{video}#t={_decimal(start)},{_decimal(stop)}"  # W3C media fragment
        spans.append(Span(clip_id=fragment, video=video, start_s=start, end_s=stop))
    return spans


def _occupied(held: NDArray[np.float64], piece: float, count: int) -> list[int]:
    """Numbers of the pieces with a picture or sound in them, ascending."""
    first = np.minimum(held[:, 0] / piece + 1e-9, count - 1).astype(np.int64)
    last = np.minimum(np.ceil(held[:, 1] / piece - 1e-9) - 1, count - 1).astype(np.int64)
    numbers = set(first.tolist())
    for begin, stop in {(b, s) for b, s in zip(first.tolist(), last.tolist()) if s > b}:
        numbers.update(range(begin, stop + 1))
    return sorted(numbers)


def _decimal(seconds: float) -> str:
    """The shortest decimal, to the millisecond: 10, 2.5."""
    return f"{seconds:.3f}".rstrip("0").rstrip(".")
