"""Shards: an index in several folders, each an index by itself, that is opened as one.

    INDEX/shards.json    {"format": 1, "shards": ["shard-0", "shard-1", ...]}
    INDEX/shard-0/       the clips of some videos, by a hash of the video's name
    INDEX/text-...       the text side of the model (manifest.py), once

A clip's score does not depend on others, so the whole is searched as one index would be. Where all shards are made
again, the new ones are written beside those that are searched, as shard-0-2, shard-1-2, ... of version 2, and
shards.json is replaced. It counts where there is an index.json, too: the index is changing its form.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

from index.storage.manifest import SHARD, SHARDS_FILE, reading
from mee.errors import InputError
from mee.files import parse_json, read_file

FORMAT, MOST_SHARDS = 1, 1000


def share_of(video: str, count: int) -> int:
    """The number of a video's shard, of so many."""
    return int.from_bytes(hashlib.sha256(video.encode()).digest()[:8]) % count


def shard_names(count: int, version: int) -> list[str]:
    """The names of the folders of shards."""
    return [f"shard-{number}" + (f"-{version}" if version > 1 else "") for number in range(count)]


def version_of(names: Sequence[str]) -> int:
    """The highest version in names of shards; 0: there are none."""
    found = [SHARD.fullmatch(name) for name in names]
    return max((int(match[2] or 1) for match in found if match), default=0)


def shard_folders(directory: Path) -> list[Path]:
    """The folders of the shards of an index; []: it is not in shards.

    Raises:
        InputError: the list of shards is damaged, or of another version.
    """
    path = directory / SHARDS_FILE
    if not path.is_file():
        return []
    with reading(path):
        content = parse_json(read_file(path))
        if content["format"] == FORMAT:
            names = content["shards"]
            if not (isinstance(names, list) and 0 < len(names) <= MOST_SHARDS and isinstance(names[0], str)):
                raise ValueError(f"it names no shards, or more than {MOST_SHARDS:,}")
            if names != shard_names(len(names), version_of(names[:1])):
                raise ValueError("it names other folders than shard-0, shard-1 and so on")
            folders = [directory / name for name in names]
            if links := [folder for folder in folders if folder.is_symlink()]:
                raise ValueError(f"'{links[0].name}' is a link")
            return folders
    raise InputError(f"'{path}' is of format {content['format']!r:.80}, and this version of mee reads {FORMAT}")
