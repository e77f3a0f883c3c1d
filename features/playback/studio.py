"""Studio: work on media files for a server, in a few worker processes that last; asked from an event loop.

    ask -> queue -> a free process -> result          the asker is cancelled: its work leaves the queue,
                                                      or the process that does it is killed and replaced

A crash, a hang or a lack of memory costs one request. The processes start with the first work, and end with the
studio, or with the program, whatever ends it.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path
from threading import Event
from typing import Any, Self, TypeVar, final

from features.errors import MediaError
from features.files import open_inside
from features.job import IsolatedCalls

WAITING = 256

Result = TypeVar("Result")


class StudioBusy(Exception):
    """Too much waits for a process already."""


@final
class Studio:
    """An async context manager, used in one event loop."""

    def __init__(self, workers: int = 2, *, timeout: float, memory: float = 3.0, waiting: int = WAITING) -> None:
        """``timeout``: seconds that work may take; ``memory``: GB of address space; ``waiting``: at most."""
        self._all = [IsolatedCalls(timeout=timeout, memory=memory) for _ in range(workers)]
        self._free: asyncio.LifoQueue[IsolatedCalls] = asyncio.LifoQueue()  # the last used first: few are started
        for process in self._all:
            self._free.put_nowait(process)
        self._running: dict[asyncio.Future[Any], tuple[Event, IsolatedCalls]] = {}
        self._threads = ThreadPoolExecutor(workers, "studio")
        self._waiting, self._most, self._closed = 0, waiting, False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        """Kill the processes; those who still ask get a MediaError."""
        self._closed = True
        for unwanted, _process in self._running.values():
            unwanted.set()
        await asyncio.to_thread(self._threads.shutdown)
        for each in self._all:
            each.close()

    async def ask(self, work: Callable[..., Result], *arguments: Any) -> Result:
        """What a function of a module returns in a worker process; all is pickled.

        Raises:
            MediaError: it failed there; the message is a part of a sentence.
            StudioBusy: the queue is full.
        """
        if self._waiting >= self._most:
            raise StudioBusy
        self._waiting += 1
        try:
            process = await self._free.get()
        finally:
            self._waiting -= 1
        if self._closed:
            self._free.put_nowait(process)
            raise MediaError("the server is stopping")
        unwanted = Event()
        loop = asyncio.get_running_loop()
        done = loop.run_in_executor(self._threads, process.call, unwanted, work, *arguments)
        self._running[done] = unwanted, process
        done.add_done_callback(self._finish)
        try:
            result: Result = await asyncio.shield(done)
        except asyncio.CancelledError:
            unwanted.set()
            raise
        return result

    def _finish(self, done: asyncio.Future[Any]) -> None:
        self._free.put_nowait(self._running.pop(done)[1])
        if not done.cancelled():
            done.exception()  # nobody may be left to see it


def work_inside(folder: Path, name: str, links: Path, work: Callable[..., Result], *arguments: Any) -> Result:
    """Work on a file below a folder in a worker process, by `open_inside`; ``work`` gets a path to the open file.

    ``links``: a folder for this path, a link that has the ending of the name, and is the same the next time.
    """
    with open_inside(folder, name) as file:
        opened = Path("/proc/self/fd", str(file.fileno()))
        if not opened.exists():  # only Linux has it
            return work(folder / name, *arguments)
        link = links / f"{os.getpid()}-{sha256(name.encode()).hexdigest()}{Path(name).suffix[:16]}"
        link.unlink(missing_ok=True)  # that of a killed process of this number
        link.symlink_to(opened)
        try:
            return work(link, *arguments)
        finally:
            link.unlink()
