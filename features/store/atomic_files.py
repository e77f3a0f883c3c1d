"""Atomic writes: a file exists with all of its content, or not at all.

A file is written as .<name>.<process>, synced and renamed; the folder's entry is synced too, so that the file
survives a power cut.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


def write_whole(path: Path, content: bytes) -> None:
    """Write a file of this content; after an error nothing remains."""
    with _renamed(path) as file:
        file.write(content)


@contextmanager
def whole_file(path: Path) -> Iterator[BinaryIO]:
    """A file to write in pieces; after an error nothing remains. Removes temporary files of killed processes."""
    for temporary in path.parent.glob(f".{path.name}.*"):
        if temporary.suffix[1:].isdecimal():
            try:
                with temporary.open("rb") as file:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:  # another process writes it, or it is gone
                continue
            temporary.unlink(missing_ok=True)
    with _renamed(path) as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield file


def link_whole(source: Path, path: Path) -> bool:
    """Hard-link a file that never changes to a second path; where that fails, copy it and return True."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = _temporary(path)
    temporary.unlink(missing_ok=True)
    try:
        os.link(source, temporary)
    except OSError:  # another file system, one without links, another owner; a missing source raises again below
        write_whole(path, source.read_bytes())
        return True
    os.replace(temporary, path)
    temporary.unlink(missing_ok=True)  # it remains where both are one file already
    _sync_folder(path.parent)
    return False


@contextmanager
def _renamed(path: Path) -> Iterator[BinaryIO]:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = _temporary(path)
    try:
        with temporary.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
            os.replace(temporary, path)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.errno and error.filename is None:
            error.filename = str(path)  # the error of a full disk names no file
        raise
    _sync_folder(path.parent)


def _temporary(path: Path) -> Path:
    return path.with_name(f".{path.name}.{os.getpid()}")


def _sync_folder(folder: Path) -> None:
    entry = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(entry)
    finally:
        os.close(entry)
