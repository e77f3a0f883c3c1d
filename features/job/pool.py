"""A pool of worker processes that may crash, hang or run out of memory at the cost of one task each.

    main process                      worker process, spawned, with its own pipe
    task                    -->       work(task) yields message, message, ...
    Received(task, message) <--       each is sent as it is made; a full pipe blocks the worker: back-pressure
    Lost(task, how)                   it crashed, ran out of memory, or exceeded the time limit and was killed
    Idle                              no worker has anything to report just now, or for the last second

A process is recycled after TASKS_A_WORKER tasks. One process a task, forked from a server with everything loaded,
takes 25 % longer on clips of two seconds: caches and memory are cold in each.

Installable pools (pebble, concurrent.futures) return the result of a whole task, so all clips of a film would lie
in memory and the model would wait for the last one; and their workers share one queue, which a worker that is
killed in the middle of a message corrupts for all. Here it corrupts its own pipe.
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
from typing import Any, Generic, Literal, Self, TypeVar, final

from features.errors import InputError
from features.job.process import VARIABLES, Sent, StartFailed, Status, Work, serve

log = logging.getLogger(__name__)

TICK_S = 1.0  # Idle comes at least this often while nothing is received
START_S = 300.0  # time limit for the start of a worker
STARTS = 3  # failures to start, one after the other, that end the job
TASKS_A_WORKER = 200  # then it is recycled, so that memory leaked by decoders does not add up
MESSAGE_S = 60.0  # time limit for receiving one message
END_S = 5.0  # that a worker has to exit by itself once its pipe is closed
_STARTING = threading.Lock()  # the environment is that of the whole process
STOPS = {signal.SIGINT, signal.SIGTERM}  # blocked in workers: only the main process ends them

Task = TypeVar("Task")
How = Literal["crashed", "out of memory", "timed out"]


@dataclass(frozen=True)
class Received(Generic[Task]):
    """One message of a task."""

    task: Task
    message: Any


@dataclass(frozen=True)
class Lost(Generic[Task]):
    """A task whose worker has ended; no further message of it comes."""

    task: Task
    how: How
    exit_code: int = 0  # where it crashed; minus the number of the signal that ended it


@dataclass(frozen=True)
class Idle:
    """No worker has anything to report."""


@final
class WorkerPool(Generic[Task]):
    """A context manager; every worker process has ended when it is left."""

    def __init__(self, setup: Callable[[], Work[Task]], workers: int, timeout: float) -> None:
        """Nothing is started yet. ``setup`` is called once in each process; it makes what is called with a task.

        ``timeout``: seconds that a worker may work on one task, not counting those that it waits for us.
        """
        self._setup, self._limit, self._timeout = setup, workers, timeout
        self._tasks: deque[Task] = deque()
        self._workers: list[_Worker[Task]] = []
        self._failed_starts = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self._workers:
            worker.process.kill()
        for worker in list(self._workers):
            self._remove(worker)

    def submit(self, task: Task) -> None:
        """Put a task at the end of the queue, also while `events` runs."""
        self._tasks.append(task)

    def events(self) -> Iterator[Received[Task] | Lost[Task] | Idle]:
        """What happens, until no task is left. A slow consumer blocks the workers."""
        while self._tasks or any(worker.task is not None for worker in self._workers):
            self._start_workers()
            self._hand_out()
            reporting = self._wait(0)
            if not reporting:
                yield Idle()
                due = min((worker.deadline(self._timeout) for worker in self._workers), default=float("inf"))
                reporting = self._wait(max(0.0, min(TICK_S, due - time.monotonic())))
            for worker in reporting:
                yield from self._receive(worker)
            yield from self._kill_overdue()

    def _start_workers(self) -> None:
        busy = sum(worker.task is not None for worker in self._workers)
        while len(self._workers) < min(self._limit, busy + len(self._tasks)):
            try:
                self._workers.append(_Worker(self._setup))
            except OSError as error:
                raise InputError(f"no worker process can be started ({error}); try fewer (--workers)") from error

    def _hand_out(self) -> None:
        for worker in [worker for worker in self._workers if worker.ready and worker.task is None]:
            if self._tasks and worker.give(self._tasks[0]):
                self._tasks.popleft()
                self._failed_starts = 0
            elif self._tasks:
                self._lose_idle(worker)

    def _wait(self, seconds: float) -> list[_Worker[Task]]:
        """Workers that sent something, or have died."""
        places: dict[Any, _Worker[Task]] = {worker.connection: worker for worker in self._workers}
        places |= {worker.process.sentinel: worker for worker in self._workers}
        return list(dict.fromkeys(places[place] for place in wait(list(places), seconds)))

    def _receive(self, worker: _Worker[Task]) -> Iterator[Received[Task] | Lost[Task]]:
        task, received = worker.task, worker.receive()
        match received:
            case Status.READY:
                worker.ready = True
            case StartFailed(reason, hopeless):
                if hopeless:
                    raise InputError(reason)
                self._lose_idle(worker, reason)
            case _ if task is None:
                self._lose_idle(worker)
            case Sent(message):
                yield Received(task, message)
            case Status.DONE:
                worker.task, worker.started = None, True
            case Status.LAST_DONE:
                self._remove(worker)
            case Status.OUT_OF_MEMORY:
                self._remove(worker)
                yield Lost(task, "out of memory")
            case _:
                yield Lost(task, "crashed", self._remove(worker, END_S))

    def _kill_overdue(self) -> Iterator[Lost[Task]]:
        """Kill workers beyond their time limit; one that has sent something is only waiting for us."""
        now = time.monotonic()
        for worker in [w for w in self._workers if w.deadline(self._timeout) <= now and not w.connection.poll()]:
            if worker.task is None:
                self._lose_idle(worker, f"not ready after {START_S:g} s")
            else:
                self._remove(worker)
                yield Lost(worker.task, "timed out")

    def _lose_idle(self, worker: _Worker[Task], reason: str = "") -> None:
        """A worker without a task has ended. Several in a row that never did one end the job."""
        exit_code = self._remove(worker, 0.0 if reason else END_S)
        self._failed_starts += not worker.started
        if self._failed_starts >= STARTS:
            raise InputError(
                f"the worker processes end before they read a file ({reason or f'exit code {exit_code}'}); give "
                "them more memory (--memory), or try fewer (--workers)"
            )

    def _remove(self, worker: _Worker[Task], patience: float = 0.0) -> int:
        """Remove a worker from the list and end it; returns its exit code."""
        self._workers.remove(worker)
        worker.process.join(patience)
        worker.process.kill()
        worker.process.join(END_S)
        worker.connection.close()
        exit_code = worker.process.exitcode
        if exit_code is None:
            log.warning("worker process %s cannot be killed; it may wait for a disk", worker.process.pid)
            return 0
        worker.process.close()
        return exit_code


class _Worker(Generic[Task]):
    """One process, seen from the main process."""

    def __init__(self, setup: Callable[[], Work[Task]]) -> None:
        context = multiprocessing.get_context("spawn")
        self.connection, theirs = context.Pipe()
        arguments = (theirs, setup, os.getpid(), TASKS_A_WORKER)
        self.process = context.Process(target=serve, args=arguments, daemon=True)
        with theirs, _STARTING, _environment_of_workers():  # closed here: only the worker is to hold its end
            self.process.start()
        self.task: Task | None = None
        self.ready = self.started = False  # started: it has done a task
        self._since, self._spent = time.monotonic(), 0.0

    def give(self, task: Task) -> bool:
        """Send a task; False where the process has died."""
        try:
            self.connection.send(task)
        except OSError:
            return False
        self.task, self._since, self._spent = task, time.monotonic(), 0.0
        return True

    def receive(self) -> Any:
        """The next message; None where the process has died, possibly in the middle of one."""
        watch = threading.Timer(MESSAGE_S, self.process.kill)  # a process stopped in the middle would block us
        watch.daemon = True  # a stop signal may come while it starts; the end of the process does not wait for it
        try:
            watch.start()
            received = self.connection.recv() if self.connection.poll() else None
        except (EOFError, OSError):
            return None
        finally:
            watch.cancel()
        self._since = time.monotonic()
        if isinstance(received, Sent):
            self._spent = received.spent
        return received

    def deadline(self, timeout: float) -> float:
        """When it exceeds its time limit, by time.monotonic; infinite where it has nothing to do."""
        if self.task is None:
            return float("inf") if self.ready else self._since + START_S
        return self._since + timeout - self._spent


@contextmanager
def _environment_of_workers() -> Iterator[None]:
    """What a child inherits at its start: stop signals blocked, and one thread for each numerical library.

    Libraries that start their threads when they are loaded take address space for each.
    """
    resource_tracker.ensure_running()  # if it were started later, it would unblock the signals
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, STOPS)
    before = {name: os.environ[name] for name in VARIABLES if name in os.environ}
    os.environ.update(dict.fromkeys(VARIABLES, "1"))
    try:
        yield
    finally:
        for name in VARIABLES:
            del os.environ[name]
        os.environ.update(before)
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
