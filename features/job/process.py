"""The inside of a worker process: it sets itself up once, then takes tasks from its pipe until that ends.

    setup() -> work          Ready, or StartFailed
    work(task) -> messages   Sent, Sent, ..., Done; OutOfMemory, and this process is no more

One thread a process: the processes are the parallelism, and several pools of threads on few cores mostly wait for
each other in busy loops.

The address space is limited. Libraries say in many ways that memory is used up, and decoders often do not say it
at all: the picture that they had no room for counts as damaged. So a file with damage during which the process
came NEAR its limit is taken for one that needs more memory, not for a damaged one. The system tells how near a
process ever came, not when: one that came near must not do another file.
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
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, TypeVar, final

from features.errors import InputError

VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
LEAST_GB = 0.5  # that a worker must have left when it opens its first file; more than NEAR
NEAR = 320 << 20  # bytes; a decoder asks for one picture at a time: 100 megapixels of three bytes
CV2_NO_MEMORY = -4  # OpenCV's Error::StsNoMem
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
    spent: float  # seconds of work on the task so far; not those it waited for the main process to take a message


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


def limit_memory(memory_gb: float) -> None:
    """Bound this process's address space; what is loaded by now counts."""
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
    """Whether this process has ever had nearly as much as it may."""
    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    return sys.platform == "linux" and limit != resource.RLIM_INFINITY and _address_space("VmPeak") > limit - NEAR


def is_memory_error(error: Exception) -> bool:
    """Whether an error says, in whichever library's way, that memory is used up."""
    if isinstance(error, OSError) and error.errno == errno.ENOMEM:
        return True
    return isinstance(error, MemoryError) or getattr(error, "code", None) == CV2_NO_MEMORY


def _address_space(name: str) -> int:
    match = re.search(rf"^{name}:\s*(\d+) kB$", Path("/proc/self/status").read_text(), re.MULTILINE)
    return int(match[1]) << 10 if match else 0


def use_one_thread() -> None:
    """Limit the numerical libraries of this process, those that are loaded and those still to come."""
    for variable in VARIABLES:
        os.environ[variable] = "1"
    import cv2
    from threadpoolctl import threadpool_limits

    cv2.setNumThreads(1)
    threadpool_limits(limits=1)
