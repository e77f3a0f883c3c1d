"""Files and folders that outlive a power cut: synced, and then given their name."""

from __future__ import annotations

import hashlib
import os
import shutil
from contextlib import suppress
from pathlib import Path

BLOCK = 1 << 24  # bytes that are read or written at a time


def replace_file(path: Path, content: bytes) -> None:
    """Write a file whole, in the place of what was there; an error leaves what was there."""
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with aside.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(aside, path)
    except BaseException:
        with suppress(OSError):
            aside.unlink(missing_ok=True)
        raise
    sync(path.parent)


def sync(path: Path) -> None:
    """See that a file's content, or a folder's entries, are on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def place_folder(aside: Path, path: Path) -> None:
    """Sync a folder of files, and give it its name."""
    for file in aside.iterdir():
        sync(file)
    sync(aside)
    os.rename(aside, path)
    sync(path.parent)


def discard(path: Path) -> None:
    """Take a file or a folder away, if it is there and that can be; else a later writer tries again."""
    with suppress(OSError):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def digest_of(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
