"""SourceFacts: what the file of a clip was, for the store's record of where streams come from."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class SourceFacts:
    """The whole file, not one clip of it. None where it has no such track, or does not say."""

    file_seconds: float  # from the first picture on, by the packets, not by the header; 0 for a still image
    width: int | None = None  # upright, with square pixels
    height: int | None = None
    fps: float | None = None  # pictures a second, in the mean
    video_codec: str | None = None  # ffmpeg's name: "h264", "vp9"; for a still image "jpeg", "png" or "webp"
    audio_codec: str | None = None
    audio_rate: int | None = None  # samples a second, as stored
