"""A clip in memory: the frames and the sound that its extractors asked for.

An extractor declares needs; a reader decodes their union once and hands over clips. Every time is in
seconds since the file's first picture (since its first sound, where it has no picture).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

OK, DEGRADED, NO_PICTURE, NO_SOUND = "ok", "degraded", "no picture", "no sound"
FAILED, TIMED_OUT = "failed", "timed out"


@dataclass(frozen=True, kw_only=True)
class SourceFacts:
    """The whole file, for the store's record of where streams come from; None: no such track, or not said."""

    file_seconds: float  # from the first picture on, by the packets, not by the header; 0 for a still image
    width: int | None = None  # upright, with square pixels
    height: int | None = None
    fps: float | None = None  # pictures a second, in the mean
    video_codec: str | None = None  # ffmpeg's name: "h264", "vp9"; for a still image "jpeg", "png" or "webp"
    audio_codec: str | None = None
    audio_rate: int | None = None  # samples a second, as stored


@dataclass(frozen=True, kw_only=True)
class FrameNeed:
    """The frames on display at ``start_s + i / fps``, RGB, grouped into windows of neighbours."""

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
        """(W, window) positions among ``count`` frames; a clip too short for one repeats its last frame.

        Where windows that are ``stride`` apart leave the last frames out, one more ends with the clip.
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


Need = FrameNeed | SoundNeed


@dataclass(frozen=True, kw_only=True)
class Span:
    """Which part of which file a clip is: the unit that is retrieved."""

    clip_id: str
    video: str  # the file's path below the library's folder, with forward slashes
    start_s: float
    end_s: float  # equal to start_s for a still image


@dataclass(frozen=True, kw_only=True)
class Frames:
    """Decoded frames with the times they were asked for."""

    pixels: NDArray[np.uint8]  # (T, H, W, 3) RGB, upright
    times: NDArray[np.float64]  # (T,) seconds


@dataclass(frozen=True, kw_only=True)
class Clip:
    """What one span holds. A need that the file cannot meet has no entry: no track, no sound."""

    span: Span
    reader: str  # which reader served it: "pyav", "decord", "image"
    frames: Mapping[FrameNeed, Frames] = field(default_factory=dict)
    sound: Mapping[SoundNeed, NDArray[np.float32]] = field(default_factory=dict)  # (N,) in [-1, 1]
    verdict: str = OK
    note: str = ""  # what the verdict rests on: "3 bad packets", "9.2 of 60.0 s could be decoded"
    source: SourceFacts | None = None  # the whole file
