"""Files made for a page, kept in a folder: the least recently used go first, by bytes.

    <digest>.jpg  <digest>.mp4   of what they were made from; the time of change is that of the last use
    .making-*                    folders in which files are being made; a killed process leaves its own
    .bytes                       how much is kept, at least; locked while a file is added or removed

Other files are neither read nor counted nor removed. Several processes may use one folder. (diskcache keeps values
pickled in a database, evicts late, and does not know that a second client waits for the same file.)
"""

from __future__ import annotations

import asyncio
import errno
import fcntl
import hashlib
import json
import os
import re
import shutil
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from tempfile import mkdtemp
from typing import final

from features.errors import InputError, MediaError
from features.files import open_file

NAME = re.compile(r"[0-9a-f]{64}\.(jpg|mp4)")
BYTES = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW
ROOM = 8  # a full folder is emptied by one part of so many
SPACE = 64 << 20  # bytes of a disk, without which a worker process is taken to have failed for lack of space
STALE_S = 3600.0  # what was begun that long ago, a killed process has left
RETRY_S, FAILURES = 60.0, 4096  # for how long, and how many, failures are remembered
FULL = "the disk of the cache is full; free some space, and ask again"


def default_folder() -> Path:
    """In the user's cache directory."""
    home = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(home) if os.path.isabs(home) else Path.home() / ".cache") / "mee" / "moments"


def name_in_cache(kind: str, *facts: object) -> str:
    """The name of what is made from these facts; ``kind``: "jpg" or "mp4"."""
    return f"{hashlib.sha256(json.dumps(facts).encode()).hexdigest()}.{kind}"


@dataclass
class _Flight:
    """A file that is being made."""

    task: asyncio.Task[BufferedReader]
    clients: int = 0


@final
class FileCache:
    """Used in one event loop."""

    def __init__(self, folder: Path, limit: int) -> None:
        """``limit``: bytes that are kept at most. Raises InputError where there can be no such folder."""
        self._folder, self._limit = folder, limit
        self._flights: dict[str, _Flight] = {}
        self._failed: dict[str, tuple[float, str]] = {}
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            os.close(os.open(folder / ".bytes", BYTES | os.O_CREAT, 0o600))
            for left in folder.glob(".making-*"):
                if left.stat().st_mtime < time.time() - STALE_S:
                    shutil.rmtree(left, ignore_errors=True)
        except OSError as error:
            raise InputError(f"'{folder}' cannot be a cache ({error.strerror}); choose another folder") from error

    def open(self, name: str) -> BufferedReader | None:
        """A file that is kept; None where it is not."""
        with suppress(OSError, InputError):  # whatever else may stand there
            file = open_file(self._folder / name)
            if os.fstat(file.fileno()).st_size:
                _touch(file)
                return file
            file.close()
        return None

    async def get(self, name: str, make: Callable[[Path], Awaitable[object]]) -> BufferedReader:
        """A file that is kept, or made now: once, for all who ask meanwhile, unless all of them are cancelled.

        Args:
            name: of `name_in_cache`.
            make: writes it to this path, in a folder of its own.

        Raises:
            MediaError: it cannot be made, as `make` says, or said less than a minute ago.
            InputError: it cannot be written.
        """
        if (file := self.open(name)) is not None:
            return file
        until, reason = self._failed.get(name, (0.0, ""))
        if time.monotonic() < until:
            raise MediaError(reason)
        if (flight := self._flights.get(name)) is None:
            flight = self._flights[name] = _Flight(asyncio.create_task(self._make(name, make)))
        flight.clients += 1
        try:
            made = await asyncio.shield(flight.task)
            return os.fdopen(os.dup(made.fileno()), "rb")
        finally:
            flight.clients -= 1
            if not flight.clients:
                flight.task.cancel()
                if self._flights.get(name) is flight:  # who asks now, makes it anew
                    del self._flights[name]

    async def _make(self, name: str, make: Callable[[Path], Awaitable[object]]) -> BufferedReader:
        place = None
        try:
            place = Path(mkdtemp(prefix=".making-", dir=self._folder))
            await make(place / name)
            return await asyncio.to_thread(self._keep, place / name)
        except MediaError as error:
            if shutil.disk_usage(self._folder).free < SPACE:
                raise InputError(FULL) from error
            if len(self._failed) >= FAILURES:
                self._failed.clear()
            self._failed[name] = time.monotonic() + RETRY_S, str(error)
            raise
        except OSError as error:
            full = error.errno in (errno.ENOSPC, errno.EDQUOT)
            raise InputError(FULL if full else f"the cache cannot be written ({error.strerror})") from error
        finally:
            if place is not None:
                shutil.rmtree(place, ignore_errors=True)

    def _keep(self, made: Path) -> BufferedReader:
        """Move a file to its place; one that is larger than all that may be kept is only given."""
        file = open_file(made)
        size = os.fstat(file.fileno()).st_size
        if size > self._limit:
            return file
        _touch(file)
        os.fsync(file.fileno())
        with os.fdopen(os.open(self._folder / ".bytes", BYTES), "r+b") as kept:
            fcntl.flock(kept, fcntl.LOCK_EX)
            known = kept.read(32).strip()
            total = int(known) if known.isdigit() else self._limit
            if total + size > self._limit:
                total = self._empty(max(0, self._limit - self._limit // ROOM - size))
            kept.seek(0)
            kept.write(b"%-32d" % (total + size))  # before it is there: a kill makes it too large at most
            kept.flush()
            os.replace(made, self._folder / made.name)
        return file

    def _empty(self, goal: int) -> int:
        """Remove the files used least recently until no more bytes than the goal are kept; how many are."""
        found = []
        with os.scandir(self._folder) as entries:
            for entry in entries:
                with suppress(FileNotFoundError):
                    if NAME.fullmatch(entry.name) and entry.is_file(follow_symlinks=False):
                        status = entry.stat(follow_symlinks=False)
                        found.append((status.st_mtime_ns, Path(entry.path), status.st_size))
        total = sum(size for _, _, size in found)
        for _, path, size in sorted(found):
            if total <= goal:
                break
            path.unlink(missing_ok=True)
            total -= size
        return total


def _touch(file: BufferedReader) -> None:
    os.utime(file.fileno(), ns=(time.time_ns(),) * 2)  # the system's own "now" is some milliseconds old
