"""The inside of a worker process: it is set up once, then takes tasks from its pipe until the pipe is closed.

    setup() -> work          READY, or StartFailed
    work(task) -> messages   Sent, Sent, ..., then DONE or LAST_DONE; or OUT_OF_MEMORY, and the process ends

A process has one thread: the processes are the parallelism, and several thread pools on few cores mostly wait for
each other in busy loops.

The address space is limited. Libraries report in many ways that memory is used up, and decoders often do not: a
picture that they could not allocate counts as damaged. So a damaged file during which the process came within NEAR
of its limit is taken for one that needs more memory. The system gives only the peak of a process: once it
came near the limit, the process takes no further file.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import re
import resource
import signal
import sys
import time
from collections.abc import Callable, Iterator
from enum import Enum
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from features.errors import InputError, MediaError

VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
LEAST_GB = 0.5  # that must be free before the first file; more than NEAR
NEAR = 320 << 20  # bytes; a decoder allocates one picture at a time: 100 megapixels of three bytes
CV2_NO_MEMORY = -4  # OpenCV's Error::StsNoMem
PR_SET_PDEATHSIG = 1  # of Linux's prctl: signal this process when its parent dies

Task = TypeVar("Task")
Work = Callable[[Task], Iterator[Any]]


class Status(Enum):
    """What a worker reports beside the messages of its tasks."""

    READY = 1  # for tasks
    DONE = 2  # with the task
    LAST_DONE = 3  # with the task, and the process ends: it is recycled
    OUT_OF_MEMORY = 4  # the task needs more than there is; the process ends, its heap may be spoiled


class StartFailed(NamedTuple):
    """The worker takes no tasks."""

    reason: str
    hopeless: bool  # another one would fail in the same way


class Sent(NamedTuple):
    """One message of the task."""

    message: Any
    spent: float  # seconds of work on the task so far, without those spent waiting for the main process


def serve(connection: Connection, setup: Callable[[], Work[Any]], parent: int, tasks: int) -> None:
    """Be a worker until the pipe is closed, or for so many tasks; ``parent``: id of the process that started it.

    ``setup`` makes `work`, which yields the messages of one task; an error but MemoryError ends the process.
    """
    _die_with(parent)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a hostile library would fill the disk with core files
    most = resource.getrlimit(resource.RLIMIT_DATA)[1]
    resource.setrlimit(resource.RLIMIT_DATA, (most, most))  # a thread of the parent may lower its own just now
    os.dup2(2, 1)  # stdout is for results, not for what a decoder prints
    with contextlib.suppress(EOFError, BrokenPipeError, ConnectionResetError):  # the main process is gone
        try:
            work = setup()
        except Exception as error:
            hopeless = isinstance(error, InputError)
            connection.send(StartFailed(str(error) if hopeless else in_a_line(error), hopeless))
            return
        connection.send(Status.READY)
        for left in reversed(range(tasks)):
            try:
                _send_messages(connection, work(connection.recv()))
            except MemoryError:
                connection.send(Status.OUT_OF_MEMORY)
                return
            if not left or came_near():
                connection.send(Status.LAST_DONE)
                return
            connection.send(Status.DONE)


def _send_messages(connection: Connection, messages: Iterator[Any]) -> None:
    spent, since = 0.0, time.monotonic()
    for message in messages:
        spent += time.monotonic() - since
        connection.send(Sent(message, spent))
        del message  # or a clip would stay in memory while the next is decoded
        since = time.monotonic()


def in_a_line(error: Exception) -> str:
    """Kind and message of an error, for a table."""
    return " ".join(f"{type(error).__name__}: {error}".split()).removesuffix(":")


def reason_of(error: Exception) -> str:
    """Why a file failed, in one line; raises MemoryError where it needs more memory."""
    no_memory = isinstance(error, OSError) and error.errno == errno.ENOMEM
    no_memory |= isinstance(error, MemoryError) or getattr(error, "code", None) == CV2_NO_MEMORY
    if no_memory or (isinstance(error, MediaError) and came_near()):
        raise MemoryError from error
    if isinstance(error, InputError):
        return str(error)
    return f"it cannot be read: {error.strerror or error}" if isinstance(error, OSError) else in_a_line(error)


def _die_with(parent: int) -> None:
    """Be killed when the main process dies, even inside a decoder that never returns."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)


def limit_memory(memory_gb: float) -> None:
    """Limit this process's address space, with what is loaded; raises InputError if too little is free."""
    if sys.platform != "linux":
        return
    taken = _address_space("VmSize") / 2**30
    if memory_gb < taken + LEAST_GB:
        raise InputError(
            f"a worker process takes {taken:.2f} GB before it opens a file; give it at least "
            f"--memory {taken + LEAST_GB + 0.05:.1f}, not {memory_gb:g}"
        )
    limit, hard = int(memory_gb * 2**30), resource.getrlimit(resource.RLIMIT_AS)[1]
    limit = limit if hard == resource.RLIM_INFINITY else min(limit, hard)
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def came_near() -> bool:
    """Whether this process has ever used nearly all the memory that it may."""
    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    return sys.platform == "linux" and limit != resource.RLIM_INFINITY and _address_space("VmPeak") > limit - NEAR


def _address_space(name: str) -> int:
    match = re.search(rf"^{name}:\s*(\d+) kB$", Path("/proc/self/status").read_text(), re.MULTILINE)
    return int(match[1]) << 10 if match else 0


def use_one_thread() -> None:
    """Limit the numerical libraries of this process to one thread, those loaded and those still to come."""
    os.environ.update(dict.fromkeys(VARIABLES, "1"))
    import cv2
    from threadpoolctl import threadpool_limits

    cv2.setNumThreads(1)
    threadpool_limits(limits=1)
