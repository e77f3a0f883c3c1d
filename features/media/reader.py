"""Reader: a media file in, clips out, one at a time. Which reader serves a file, and which files are media."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from importlib import import_module
from pathlib import Path
from typing import ClassVar

from features.errors import InputError
from features.media.clip import Clip, Need
from features.media.cutting import Cutting
from features.media.limits import DEFAULT_LIMITS, Limits

IMAGE_SUFFIXES = frozenset((".jpg", ".jpeg", ".png", ".webp"))
_VIDEO = ("mp4", "m4v", "mov", "mkv", "webm", "avi", "mpg", "mpeg", "ts", "mts", "wmv", "flv", "3gp", "ogv")
VIDEO_SUFFIXES = frozenset(f".{suffix}" for suffix in _VIDEO)
READERS = {"pyav": "features.media.pyav_reader:PyavReader", "decord": "features.media.decord_reader:DecordReader"}
IMAGE_READER = "features.media.image_reader:ImageReader"


class Reader(ABC):
    """Decodes the union of all needs once, forward, and hands over clips."""

    name: ClassVar[str]

    @abstractmethod
    def read(
        self, path: Path, video: str, needs: Sequence[Need], cutting: Cutting, limits: Limits = DEFAULT_LIMITS
    ) -> Iterator[Clip]:
        """Clips in order of time; memory holds one clip, however long the file.

        Args:
            path: the file.
            video: its path below the library's folder, with forward slashes; clip ids start with it.
            needs: what the extractors want; equal needs are met once.
            cutting: how long clips are.
            limits: how long and how large the file may be.

        Raises:
            MediaError: before the first clip, where the file cannot be read at all or exceeds the limits.
        """


def is_media(path: Path) -> bool:
    """Whether the suffix, in upper or lower case, is that of a video or a still image."""
    return path.suffix.lower() in VIDEO_SUFFIXES | IMAGE_SUFFIXES


def open_reader(name: str, path: Path) -> Reader:
    """The reader for one file: still images have their own, whatever the name.

    Raises:
        InputError: no reader bears this name, or it is not installed.
    """
    if name not in READERS:
        raise InputError(f"no reader is called '{name}'; there are {', '.join(READERS)}")
    place = IMAGE_READER if path.suffix.lower() in IMAGE_SUFFIXES else READERS[name]
    module, _, attribute = place.partition(":")
    reader = getattr(import_module(module), attribute)()
    assert isinstance(reader, Reader)
    return reader
