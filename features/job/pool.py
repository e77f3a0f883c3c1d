"""Worker processes that are watched: tasks go out, messages come back one by one, whatever happens to a process.

    main process                      worker process, spawned, with a pipe of its own
    task                    -->       work(task) makes message, message, ...
    Told(task, message)     <--       each goes out as it is made; a full pipe makes the worker wait
    Lost(task, how)                   it died, ran out of memory, or worked longer than it may and was killed
    IDLE                              nothing to hear just now, or for the last second

Pools that one can install (pebble, concurrent.futures) hand a task's result over when the whole task is done, so
all clips of a film would lie in memory and the model would wait for its end; and their workers share one queue,
which a worker that is killed in the middle of a message spoils for all. Here it spoils its own pipe.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import resource_tracker
from multiprocessing.connection import wait
from types import TracebackType
from typing import Any, Final, Generic, Literal, Self, TypeVar, final

from features.errors import InputError
from features.job.process import VARIABLES, Done, OutOfMemory, Ready, Sent, StartFailed, Work, serve

log = logging.getLogger(__name__)

TICK_S = 1.0  # IDLE comes at least this often while nothing is heard
START_S = 300.0  # a worker that is not ready by then never will be
STARTS = 3  # failures to start, one after the other, that end the job
TASKS_A_WORKER = 200  # then a fresh one takes its place: what decoders leak does not add up
MESSAGE_S = 60.0  # that a message may take once it has begun
END_S = 5.0  # that a worker has to end by itself once its pipe is closed
STOPS = {signal.SIGINT, signal.SIGTERM}  # blocked in workers: the main process ends them, and nobody else

Task = TypeVar("Task")
How = Literal["crashed", "out of memory", "timed out"]


@final
@dataclass(frozen=True)
class Told(Generic[Task]):
    """One message about a task."""

    task: Task
    message: Any


@final
@dataclass(frozen=True)
class Lost(Generic[Task]):
    """A task whose worker is no more; nothing further will be told of it."""

    task: Task
    how: How
    exit_code: int = 0  # where it crashed; minus the number of the signal that ended it


@final
@dataclass(frozen=True)
class Idle:
    """Nothing to hear just now."""


IDLE: Final = Idle()


@final
class WorkerPool(Generic[Task]):
    """A context manager; every worker process has ended when it is left."""

    def __init__(self, setup: Callable[[], Work[Task]], workers: int, timeout: float) -> None:
        """Nothing is started yet.

        Args:
            setup: called once in each process; makes what is called with each task. Both are pickled.
            workers: processes at a time.
            timeout: seconds that a worker may work on one task; what it waits for us does not count.
        """
        self._setup, self._limit, self._timeout = setup, workers, timeout
        self._tasks: deque[Task] = deque()
        self._workers: list[_Worker[Task]] = []
        self._failed_starts = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for worker in self._workers:
            worker.process.kill()
        for worker in list(self._workers):
            self._remove(worker)

    def submit(self, task: Task) -> None:
        """Put a task at the end of the queue; while `events` runs, too."""
        self._tasks.append(task)

    def events(self) -> Iterator[Told[Task] | Lost[Task] | Idle]:
        """What happens, until no task is left. A slow consumer blocks the workers."""
        while self._tasks or any(worker.task is not None for worker in self._workers):
            self._staff()
            self._hand_out()
            heard = self._wait(0)
            if not heard:
                yield IDLE
                heard = self._wait(self._patience())
            for worker in heard:
                yield from self._hear(worker)
            yield from self._overdue()

    def _staff(self) -> None:
        """Start workers up to the number that is wanted and has something to do."""
        busy = sum(worker.task is not None for worker in self._workers)
        while len(self._workers) < min(self._limit, busy + len(self._tasks)):
            try:
                self._workers.append(_Worker(self._setup))
            except OSError as error:
                raise InputError(f"no worker process can be started ({error}); try fewer (--workers)") from error

    def _hand_out(self) -> None:
        for worker in [worker for worker in self._workers if worker.ready and worker.task is None]:
            if not self._tasks:
                break
            if worker.give(self._tasks[0]):
                self._tasks.popleft()
                self._failed_starts = 0
            else:
                self._lose_idle(worker)

    def _wait(self, seconds: float) -> list[_Worker[Task]]:
        """Workers that have something to say, or have died."""
        places: dict[Any, _Worker[Task]] = {}
        for worker in self._workers:
            places[worker.connection] = places[worker.process.sentinel] = worker
        return list(dict.fromkeys(places[place] for place in wait(list(places), seconds)))

    def _patience(self) -> float:
        first = min((worker.deadline(self._timeout) for worker in self._workers), default=float("inf"))
        return max(0.0, min(TICK_S, first - time.monotonic()))

    def _hear(self, worker: _Worker[Task]) -> Iterator[Told[Task] | Lost[Task]]:
        task, heard = worker.task, worker.hear()
        match heard:
            case Ready():
                worker.ready = True
            case StartFailed():
                if heard.hopeless:
                    raise InputError(heard.reason)
                self._lose_idle(worker, heard.reason)
            case Sent() if task is not None:
                yield Told(task, heard.message)
            case Done():
                worker.task, worker.tasks = None, worker.tasks + 1
                if heard.worn_out or worker.tasks >= TASKS_A_WORKER:
                    self._remove(worker)
            case OutOfMemory() if task is not None:
                self._remove(worker)
                yield Lost(task, "out of memory")
            case _ if task is None:
                self._lose_idle(worker)
            case _:
                yield Lost(task, "crashed", self._remove(worker, END_S))

    def _overdue(self) -> Iterator[Lost[Task]]:
        """Kill the workers that work for too long; one that has something to say is only waiting for us."""
        now = time.monotonic()
        for worker in [w for w in self._workers if w.deadline(self._timeout) <= now and not w.connection.poll()]:
            task = worker.task
            self._remove(worker)
            if task is None:
                self._failed_start(f"not ready after {START_S:g} s")
            else:
                yield Lost(task, "timed out")

    def _lose_idle(self, worker: _Worker[Task], reason: str = "") -> None:
        """A worker is gone that had no task: nothing is lost, unless it is always so."""
        exit_code = self._remove(worker, END_S)
        if not worker.tasks:
            self._failed_start(reason or f"exit code {exit_code}")

    def _failed_start(self, reason: str) -> None:
        self._failed_starts += 1
        if self._failed_starts >= STARTS:
            raise InputError(
                f"the worker processes end before they read a file ({reason}); give them more memory (--memory), "
                "or try fewer (--workers)"
            )

    def _remove(self, worker: _Worker[Task], patience: float = 0.0) -> int:
        """Take a worker off the list and end it; returns its exit code."""
        self._workers.remove(worker)
        worker.process.join(patience)
        worker.process.kill()
        worker.process.join(END_S)
        worker.connection.close()
        exit_code = worker.process.exitcode
        if exit_code is None:
            log.warning("worker process %s cannot be killed: it waits for a disk, perhaps", worker.process.pid)
            return 0
        worker.process.close()
        return exit_code


@final
class _Worker(Generic[Task]):
    """One process, seen from the main process."""

    def __init__(self, setup: Callable[[], Work[Task]]) -> None:
        context = multiprocessing.get_context("spawn")
        self.connection, theirs = context.Pipe()
        self.process = context.Process(target=serve, args=(theirs, setup, os.getpid()), daemon=True)
        with theirs, _as_in_workers():  # closed here: the worker is to be the only one who holds its end
            self.process.start()
        self.task: Task | None = None
        self.ready, self.tasks, self._since, self._spent = False, 0, time.monotonic(), 0.0

    def give(self, task: Task) -> bool:
        """Send a task; False where the process has died."""
        try:
            self.connection.send(task)
        except OSError:
            return False
        self.task, self._since, self._spent = task, time.monotonic(), 0.0
        return True

    def hear(self) -> Any:
        """The next message; None where the process has died, in the middle of one perhaps."""
        watch = threading.Timer(MESSAGE_S, self.process.kill)  # stopped or frozen in the middle, it would block us
        watch.start()
        try:
            heard = self.connection.recv() if self.connection.poll() else None
        except (EOFError, OSError):
            return None
        finally:
            watch.cancel()
        self._since = time.monotonic()
        if isinstance(heard, Sent):
            self._spent = heard.spent
        return heard

    def deadline(self, timeout: float) -> float:
        """When it will have worked for too long, by time.monotonic; infinite where it has nothing to do.

        What it worked before its last message, it tells; that it waited with that message, it does not count.
        """
        if self.task is None:
            return float("inf") if self.ready else self._since + START_S
        return self._since + timeout - self._spent


@contextmanager
def _as_in_workers() -> Iterator[None]:
    """What a child inherits at its start: stop signals blocked, and one thread for each numerical library.

    Libraries that make their threads when they are loaded take address space for each.
    """
    resource_tracker.ensure_running()  # started later, it would lift the mask
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, STOPS)
    before = {name: os.environ.get(name) for name in VARIABLES}
    os.environ.update(dict.fromkeys(VARIABLES, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
