"""The inside of a worker process: it sets itself up once, then takes tasks from its pipe until that ends.

    setup() -> work          Ready, or StartFailed
    work(task) -> messages   Sent, Sent, ..., Done; OutOfMemory, and this process is no more

`Sent.spent` is the time that the worker has worked on the task; what it waited for the main process to take a
message is not in it.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import signal
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any, TypeVar, final

from features.errors import InputError

PR_SET_PDEATHSIG = 1  # of Linux's prctl: signal this process when its parent dies

Task = TypeVar("Task")
Work = Callable[[Task], Iterator[Any]]


@final
@dataclass(frozen=True)
class Ready:
    """The worker takes tasks from now on."""


@final
@dataclass(frozen=True)
class StartFailed:
    """It will take none."""

    reason: str
    hopeless: bool  # the next one would fail in the same way


@final
@dataclass(frozen=True)
class Sent:
    """One message of the task."""

    message: Any
    spent: float  # seconds of work on the task so far


@final
@dataclass(frozen=True)
class Done:
    """That was the last message of the task."""

    worn_out: bool = False  # and of this process: it ends


@final
@dataclass(frozen=True)
class OutOfMemory:
    """The task needs more memory than there is. The process ends: what it holds could spoil the next task."""


@final
class WornOut(Exception):
    """Raised by work at the end of a task: it is done, but this process must not do another."""


def serve(connection: Connection, setup: Callable[[], Work[Any]], parent: int) -> None:
    """Be a worker until the pipe ends.

    Args:
        connection: this process's end of the pipe.
        setup: makes `work`, which gives the messages of one task one by one. What that raises, other than
            MemoryError or WornOut, ends the process.
        parent: id of the process that started this one.
    """
    _end_with(parent)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a hostile library would fill the disk with core files
    os.dup2(2, 1)  # results stand on stdout: what a decoder prints does not belong there
    with contextlib.suppress(EOFError, BrokenPipeError, ConnectionResetError):  # the main process is gone
        try:
            work = setup()
        except Exception as error:
            hopeless = isinstance(error, InputError)
            connection.send(StartFailed(str(error) if hopeless else in_a_line(error), hopeless))
            return
        connection.send(Ready())
        while _work_on(connection.recv(), work, connection):
            pass


def in_a_line(error: Exception) -> str:
    """Kind and message of an error, for a table."""
    return " ".join(f"{type(error).__name__}: {error}".split()).removesuffix(":")


def _work_on(task: Any, work: Work[Any], connection: Connection) -> bool:
    """Do one task; False where this process must not do another."""
    spent, begun = 0.0, time.monotonic()
    try:
        for message in work(task):
            spent += time.monotonic() - begun
            connection.send(Sent(message, spent))
            del message  # or a clip would stay in memory while the next is decoded
            begun = time.monotonic()
    except MemoryError:
        connection.send(OutOfMemory())
        return False
    except WornOut:
        connection.send(Done(worn_out=True))
        return False
    connection.send(Done())
    return True


def _end_with(parent: int) -> None:
    """Die when the main process dies, even in the middle of a decoder that never returns."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)
