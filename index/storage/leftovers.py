"""What lies in an index's directory, by its name: a part of an index, what a killed writer left, or not ours."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator
from pathlib import Path

from index.storage.manifest import KNOWN, LOCK, NAME, SEGMENTS, discard

ASIDE = re.compile(r"segments/\.\d{6,}|\.(index\.json|(removed|queries)-\d{6,}\.safetensors|log-\d{6,})\.\d+")


def parts_in(directory: Path) -> set[str]:
    """Names of all that could be part of an index, as seen from the directory."""
    return {name for name in _names(directory) if KNOWN.fullmatch(name)}


def is_foreign(directory: Path) -> bool:
    """Whether it holds something, and no index, whole or damaged, nor the beginnings of one."""
    parts, names = parts_in(directory), set(_names(directory))
    if NAME in names:
        try:
            content = json.loads((directory / NAME).read_bytes())
            return not (isinstance(content, dict) and {"format", "layout", "origin"} <= content.keys())
        except (OSError, ValueError, RecursionError):
            return not parts
    return any(name not in {*parts, LOCK, SEGMENTS} and not ASIDE.fullmatch(name) for name in names)


def last_number(directory: Path) -> int:
    """The highest in any name; 0 where there is none."""
    found = (re.search(r"\d{6,}", name) for name in parts_in(directory))
    return max((int(match.group()) for match in found if match), default=0)


def clear(directory: Path, kept: Collection[str]) -> None:
    """Take away what an index could have and this one does not; nobody else may be writing it."""
    for name in _names(directory):
        if (KNOWN.fullmatch(name) and name not in kept) or ASIDE.fullmatch(name):
            discard(directory / name)


def clear_format_1(directory: Path, manifest: bytes) -> None:
    """Take away the files of an index of format 1, of which this was the manifest."""
    try:
        content = json.loads(manifest)
        names = [content["clips"], *content["partitions"].values()] if content["format"] == 1 else []
    except (ValueError, KeyError, TypeError, AttributeError):
        return
    for name in names:
        if re.fullmatch(r"clips-\d{6}\.parquet|[01]+-\d{6}\.faiss", str(name)):
            discard(directory / name)


def _names(directory: Path) -> Iterator[str]:
    for path in sorted(directory.iterdir()):
        yield path.name
        if path.name == SEGMENTS and path.is_dir():
            yield from (f"{SEGMENTS}/{folder.name}" for folder in sorted(path.iterdir()))
