"""Work on files from anywhere, such as decoding, in worker processes with limits: a crash costs one file.

run_isolated(work, tasks)   ->   (task, message), (task, message), ..., (task, Failed) where the rest is lost
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

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
    how = {"crashed": "the decoder crashed", "timed out": f"not done after {timeout:g} s"}
    with WorkerPool(_Setup(work, memory), workers, timeout) as pool:
        for task in tasks:
            pool.submit(task)
        for event in pool.events():
            if isinstance(event, Received):
                yield event.task, event.message
            elif isinstance(event, Lost):
                yield event.task, Failed(how.get(event.how, f"it needs more than {memory:g} GB of memory"))
