"""Atomic writes: a file is there with all of its content, or not at all.

A file being written is called .<name>.<process> until it is synced, and is then renamed; the folder's entry is
synced too, so that the file outlives a power cut.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


def write_whole(path: Path, content: bytes) -> None:
    """Write a file of this content; an error leaves nothing."""
    with _renamed(path) as file:
        file.write(content)


@contextmanager
def whole_file(path: Path) -> Iterator[BinaryIO]:
    """A file to write piece by piece; an error leaves nothing; what a killed process left goes the next time."""
    for left in path.parent.glob(f".{path.name}.*"):
        if left.suffix[1:].isdecimal() and _is_abandoned(left):
            left.unlink(missing_ok=True)
    with _renamed(path) as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield file


def link_whole(source: Path, path: Path) -> bool:
    """Put a file that will never be changed in a second place: a hard link, or (True) a copy where that fails."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = _aside(path)
    aside.unlink(missing_ok=True)
    try:
        os.link(source, aside)
    except OSError:  # another file system, one without links, a file of somebody else; what is gone raises again
        write_whole(path, source.read_bytes())
        return True
    os.replace(aside, path)
    aside.unlink(missing_ok=True)  # it stays where both are one file already
    _sync_folder(path.parent)
    return False


@contextmanager
def _renamed(path: Path) -> Iterator[BinaryIO]:
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = _aside(path)
    try:
        with aside.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
            os.replace(aside, path)
    except BaseException as error:
        aside.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.errno and error.filename is None:
            error.filename = str(path)  # a full disk does not say which
        raise
    _sync_folder(path.parent)


def _aside(path: Path) -> Path:
    return path.with_name(f".{path.name}.{os.getpid()}")


def _is_abandoned(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:  # somebody writes it, or it is gone
        return False
    return True


def _sync_folder(folder: Path) -> None:
    entry = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(entry)
    finally:
        os.close(entry)
