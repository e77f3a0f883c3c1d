"""A library: the media files below a folder, or a single one."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from features.errors import InputError
from features.media.reader import is_media


@dataclass(frozen=True)
class Library:
    """Which files there are."""

    root: Path
    videos: tuple[str, ...]  # paths below root with forward slashes, sorted
    ignored: Counter[str]  # endings that are no media, folders not entered


def find_media(path: Path) -> Library:
    """Look through a folder, its subfolders too; hidden ones and hidden files are left out.

    Raises:
        InputError: there is nothing at this path, or no media file in it.
    """
    if path.is_file():
        if not is_media(path):
            raise InputError(f"'{path}' is neither a video nor a still image, going by its ending")
        return Library(path.parent, (path.name,), Counter())
    if not path.is_dir():
        raise InputError(f"there is nothing at '{path}'; name a folder of videos, or one video")
    videos: list[str] = []
    ignored: Counter[str] = Counter()

    def unreadable(_: OSError) -> None:
        ignored["unreadable folder"] += 1

    for folder, below, names in os.walk(path, onerror=unreadable):
        below[:] = sorted(name for name in below if not name.startswith("."))
        if links := sum(Path(folder, name).is_symlink() for name in below):  # not entered: might lead in a circle
            ignored["linked folder"] += links
        for name in names:
            file = Path(folder, name)
            if name.startswith("."):
                continue
            if not _is_unicode(name) or not _is_unicode(folder):
                ignored["name that is not Unicode"] += 1
            elif is_media(file):
                videos.append(file.relative_to(path).as_posix())
            else:
                ignored[file.suffix.lower() or "no ending"] += 1
    if not videos:
        found = f"only {_listed(ignored)}" if ignored else "it is empty"
        raise InputError(f"no videos or still images in '{path}': {found}")
    return Library(path, tuple(sorted(videos)), ignored)


def size_of(path: Path) -> int | None:
    """Bytes of a file; None where there is none, or nobody may ask."""
    try:
        return path.stat().st_size
    except OSError:  # Path.exists passes some of them on: no permission, a disk that fails
        return None


def _is_unicode(name: str) -> bool:
    """Whether a store and a terminal can hold the name; Linux lets any bytes be one."""
    return not any("\ud800" <= letter <= "\udfff" for letter in name)


def _listed(ignored: Counter[str]) -> str:
    return ", ".join(f"{count} x {suffix}" for suffix, count in ignored.most_common(5))
