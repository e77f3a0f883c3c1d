"""A library: the media files below a folder, or a single one; and the limits beyond which a file is refused."""

from __future__ import annotations

import math
import os
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from features.errors import InputError, MediaError

IMAGE_SUFFIXES = frozenset((".jpg", ".jpeg", ".png", ".webp", ".gif"))
_VIDEO = ("mp4", "m4v", "mov", "mkv", "webm", "avi", "mpg", "mpeg", "ts", "mts", "wmv", "flv", "3gp", "ogv")
SUBTITLES = {".srt": "srt", ".vtt": "webvtt"}  # suffix -> ffmpeg's name of the format
VIDEO_SUFFIXES = frozenset(f".{suffix}" for suffix in _VIDEO)


def is_media(path: Path) -> bool:
    """Whether the suffix, in upper or lower case, is that of a video or a still image."""
    return path.suffix.lower() in VIDEO_SUFFIXES | IMAGE_SUFFIXES


@dataclass(frozen=True)
class Library:
    """Which files there are."""

    root: Path
    videos: tuple[str, ...]  # paths below root with forward slashes, sorted
    ignored: Counter[str]  # endings that are no media, folders not entered


def find_media(path: Path) -> Library:
    """Search a folder and its subfolders for media files, of which there is one; what is hidden is skipped."""
    if path.is_file():
        if not is_media(path):
            raise InputError(f"'{path}' is neither a video nor a still image, going by its ending")
        return Library(path.parent, (path.name,), Counter())
    if not path.is_dir():
        raise InputError(f"there is nothing at '{path}'; name a folder of videos, or one video")
    videos: list[str] = []
    ignored: Counter[str] = Counter()
    for folder, below, names in os.walk(path, onerror=lambda _: ignored.update(["unreadable folder"])):
        below[:] = sorted(name for name in below if not name.startswith("."))
        if links := sum(Path(folder, name).is_symlink() for name in below):  # not entered: might lead in a circle
            ignored["linked folder"] += links
        for name in names:
            file = Path(folder, name)
            if name.startswith("."):
                continue
            if any("\ud800" <= letter <= "\udfff" for letter in str(file)):  # it cannot be stored or printed
                ignored["name that is not Unicode"] += 1
            elif is_media(file):
                videos.append(file.relative_to(path).as_posix())
            elif file.suffix.lower() not in SUBTITLES:  # these are read with their videos
                ignored[file.suffix.lower() or "no ending"] += 1
    if not videos:
        found = ", ".join(f"{count} x {suffix}" for suffix, count in ignored.most_common(5))
        raise InputError(f"no videos or still images in '{path}': {f'only {found}' if found else 'it is empty'}")
    return Library(path, tuple(sorted(videos)), ignored)


def size_of(path: Path) -> int | None:
    """Bytes of a file; None where it does not exist or cannot be accessed."""
    try:
        return path.stat().st_size
    except OSError:  # Path.exists raises some of these: no permission, a failing disk
        return None


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Longer and larger files are refused, in a message that names the flag."""

    max_seconds: float | None = None  # of actual pictures or sound, whatever the header says; None: no limit
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
