"""Who is writing a store: one lock file a job, held while it lives.

    writers/<writer>.lock    empty, or the names of other writers' shards that this one brings in or takes out

A later job that gets hold of a dead writer's lock takes away what that writer left unfinished: files without a
part.
"""

from __future__ import annotations

import fcntl
import os
import socket
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, final

from features.store.part import WRITERS, part_paths, shard_of, stream_files


@final
class WriterLock:
    """Held from its making to its release."""

    def __init__(self, directory: Path) -> None:
        self.name = f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:8]}"
        self._path = directory / WRITERS / f"{self.name}.lock"
        self._file = self._take()

    def claim(self, shard: str) -> None:
        """Say that files of this shard, which is called after another writer, are going to come or go."""
        self._file.write(f"{shard}\n".encode())
        self._file.flush()

    def release(self) -> None:
        """Nothing of this writer is unfinished."""
        self._path.unlink()
        self._file.close()

    def _take(self) -> IO[bytes]:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        while True:
            lock = self._path.open("wb")
            fcntl.flock(lock, fcntl.LOCK_EX)
            if os.fstat(lock.fileno()).st_nlink:
                return lock
            lock.close()  # another job took us for dead before we held it


def clear_dead_writers(directory: Path, streams: Iterable[str], own: str) -> None:
    """Remove what writers that no longer live left without a part."""
    folders = list(streams)
    for path in (directory / WRITERS).glob("*.lock"):
        if path.stem == own:
            continue
        with _held_if_dead(path) as lock:
            if lock is not None and os.fstat(lock.fileno()).st_nlink:  # else another job clears it, or has done so
                clear_unfinished(directory, folders, claimed(path))
                path.unlink(missing_ok=True)


def claims(directory: Path) -> dict[str, bool]:
    """Beginnings of names of shards that somebody has been writing -> whether that writer lives."""
    found: dict[str, bool] = {}
    for path in (directory / WRITERS).glob("*.lock"):
        with _held_if_dead(path) as lock:
            for beginning in claimed(path):
                found[beginning] = found.get(beginning, False) or lock is None
    return found


def claimed(lock: Path) -> list[str]:
    """What the names of a writer's shards begin with."""
    try:
        return [f"{lock.stem}-", *lock.read_text(errors="replace").split()]
    except FileNotFoundError:  # it ended just now
        return []


def clear_unfinished(directory: Path, streams: Iterable[str], beginnings: Iterable[str]) -> None:
    """Remove the files of shards, by the beginnings of their names, that have no part."""
    whole = {path.stem for path in part_paths(directory)}
    for beginning in beginnings:
        for stream in streams:
            for path in stream_files(directory, stream, beginning):
                if shard_of(path) not in whole:
                    path.unlink(missing_ok=True)
        for aside in directory.glob(f"*/.{beginning}*"):
            aside.unlink(missing_ok=True)


@contextmanager
def _held_if_dead(path: Path) -> Iterator[IO[bytes] | None]:
    """The lock of a writer that does not live, held; None where it lives, or is gone."""
    try:
        lock: IO[bytes] = path.open("r+b")  # network file systems lock only what is open for writing
    except PermissionError:
        lock = path.open("rb")
    except FileNotFoundError:
        yield None
        return
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield None
        else:
            yield lock
