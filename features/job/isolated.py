"""Work on files from anywhere, such as decoding, in worker processes with limits: a crash costs one file.

run_isolated(work, tasks)   ->   (task, message), (task, message), ..., (task, Failed) where the rest is lost
IsolatedCalls().call(_, function, *arguments)  ->  what it returns, from a process that stays for the next call
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from threading import Event
from typing import Any, NamedTuple, TypeVar, final

from features.errors import InputError, MediaError
from features.job.pool import Lost, Received, WorkerPool
from features.job.process import limit_memory, reason_of, use_one_thread
from features.media import load_reader

TIMEOUT_S = 300.0  # that a worker may work on one task
MEMORY_GB = 3.0  # of address space that a worker may take

Task = TypeVar("Task")


class Failed(NamedTuple):
    """No further message of a task comes."""

    reason: str  # a part of a sentence: "the decoder crashed"


@dataclass(frozen=True)
class _Setup:
    """What a worker is started with; the limit of memory comes last."""

    work: Callable[[Any], Iterable[Any]]
    memory: float

    def __call__(self) -> Callable[[Any], Iterator[Any]]:
        use_one_thread()
        load_reader("pyav")
        limit_memory(self.memory)
        return self._messages

    def _messages(self, task: Any) -> Iterator[Any]:
        try:
            yield from self.work(task)
        except Exception as error:
            yield Failed(reason_of(error))


def run_isolated(
    work: Callable[[Task], Iterable[Any]],
    tasks: Iterable[Task],
    *,
    workers: int = 1,
    timeout: float = TIMEOUT_S,
    memory: float = MEMORY_GB,
) -> Iterator[tuple[Task, Any]]:
    """Call `work` with each task in worker processes; without tasks none is started.

    Args:
        work: yields what it makes of a task; a function of a module that loads little. All is pickled.
        tasks: in the order in which they are begun.
        workers: processes at a time.
        timeout: seconds that a worker may work on one task.
        memory: GB of address space that a worker may take.

    Returns:
        Each task with each of its messages as it is made; `Failed` is the last one where something went wrong.
    """
    with WorkerPool(_Setup(work, memory), workers, timeout) as pool:
        for task in tasks:
            pool.submit(task)
        for event in pool.events():
            if isinstance(event, Received):
                yield event.task, event.message
            elif isinstance(event, Lost):
                yield event.task, _failed(event, timeout, memory)


def _failed(lost: Lost[Any], timeout: float, memory: float) -> Failed:
    how = {"crashed": "the decoder crashed", "timed out": f"not done after {timeout:g} s"}
    return Failed(how.get(lost.how, f"it needs more than {memory:g} GB of memory"))


def _call(task: tuple[Callable[..., Any], tuple[Any, ...]]) -> Iterator[Any]:
    function, arguments = task
    yield function(*arguments)


@final
class IsolatedCalls:
    """One worker process, started by the first call, that stays for the next one.

    The thread that calls must live as long: the system ends a process with the thread that started it.
    """

    def __init__(self, *, timeout: float = TIMEOUT_S, memory: float = MEMORY_GB) -> None:
        """Limits as of `run_isolated`."""
        self._limits, self._setup = (timeout, memory), _Setup(_call, memory)
        self._pool: WorkerPool[Any] = WorkerPool(self._setup, 1, timeout)

    def call(self, unwanted: Event, function: Callable[..., Any], *arguments: Any) -> Any:
        """What a function of a module returns there.

        ``unwanted``: set by another thread, it ends the call and its process, within a second.

        Raises:
            MediaError: it failed, crashed, exceeded a limit, or is unwanted; the message is the reason.
            InputError: no process can be started.
        """
        self._pool.submit((function, arguments))
        result: Any = None
        try:
            for event in self._pool.events():
                if unwanted.is_set():
                    raise MediaError("nobody waits for it any more")
                if isinstance(event, Received):
                    result = event.message
                elif isinstance(event, Lost):
                    result = _failed(event, *self._limits)
        except InputError:  # MediaError, too
            self.close()
            raise
        if isinstance(result, Failed):
            raise MediaError(result.reason)
        return result

    def close(self) -> None:
        """End the process; another call starts another one."""
        self._pool.__exit__()
        self._pool = WorkerPool(self._setup, 1, self._limits[0])
