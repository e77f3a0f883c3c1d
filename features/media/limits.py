"""Limits: how long and how large a file may be before it is refused, so that one file cannot hold up a job."""

from __future__ import annotations

import math
from dataclasses import dataclass

from features.errors import MediaError


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What is refused, with one sentence that names the flag. ``max_seconds=None``: no file is too long."""

    max_seconds: float | None = None  # of pictures or sound that are really there, whatever the header says
    max_megapixels: float = 100.0  # of one picture

    def __post_init__(self) -> None:
        if self.max_seconds is not None and not 0 < self.max_seconds < math.inf:
            raise ValueError(f"max-seconds must be positive, got {self.max_seconds}")
        if not 0 < self.max_megapixels < math.inf:
            raise ValueError(f"max-megapixels must be positive, got {self.max_megapixels}")

    @property
    def max_pixels(self) -> int:
        """Of one picture."""
        return int(self.max_megapixels * 1e6)

    def check_seconds(self, seconds: float) -> None:
        """Raises MediaError where a file lasts longer."""
        if self.max_seconds is not None and seconds > self.max_seconds:
            raise MediaError(f"it is too long: more than {self.max_seconds:g} s (--max-seconds)")

    def check_pixels(self, width: int, height: int) -> None:
        """Raises MediaError where a picture is larger."""
        if width * height > self.max_pixels:
            raise MediaError(
                f"its pictures are too large: {width} x {height} pixels, more than {self.max_megapixels:g} "
                "megapixels (--max-megapixels)"
            )


DEFAULT_LIMITS = Limits()
