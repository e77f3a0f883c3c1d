"""Shards: an index in several folders, each an index by itself, that is opened as one.

    INDEX/shards.json    {"format": 1, "shards": ["shard-0", "shard-1", ...]}
    INDEX/shard-0/       the clips of some videos, by a hash of the video's name

A clip's score does not depend on others, so the whole is searched as one index would be.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from index.storage.manifest import reading
from mee.errors import InputError
from mee.files import parse_json, read_file

SHARDS_FILE, FORMAT = "shards.json", 1


def share_of(video: str, count: int) -> int:
    """The number of a video's shard, of so many."""
    return int.from_bytes(hashlib.sha256(video.encode()).digest()[:8]) % count


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
            if not names or names != [f"shard-{number}" for number in range(len(names))]:
                raise ValueError("it names other folders than shard-0, shard-1 and so on")
            folders = [directory / name for name in names]
            if links := [folder for folder in folders if folder.is_symlink()]:
                raise ValueError(f"'{links[0].name}' is a link")
            return folders
    raise InputError(f"'{path}' is of format {content['format']!r}, and this version of mee reads {FORMAT}")
