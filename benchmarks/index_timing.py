"""Sides that take turns: what each call takes, of the clock and of the processor.

    ratio = CPU seconds of the reference's block / CPU seconds of the side's block, of the same round

Every round gives every side a block of calls, so that what else the machine does meets all.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.int64]


class Side(ABC):
    """One way to find the ten best clips of the case's queries."""

    name: str
    scanned: int = 0  # bytes that one query has to read; 0: not known beforehand
    held: int = 0  # bytes that it keeps on disk or in memory

    @abstractmethod
    def one(self, query: int) -> Any:
        """Answer one query."""

    @abstractmethod
    def many(self) -> Any:
        """Answer all of them together."""

    def numbers(self, answer: Any) -> Numbers:
        """(Q, 10) numbers of the clips in what `one` or `many` gave; -1 where there are no more."""
        return np.asarray(answer, np.int64).reshape(-1, np.shape(answer)[-1])


@final
@dataclass
class Times:
    """Of one side, a list a round."""

    wall: list[list[float]] = field(default_factory=list)  # seconds a call
    processor: list[list[float]] = field(default_factory=list)

    def quantile(self, share: float) -> float:
        """Seconds of the clock that this share of the calls stays within."""
        return float(np.quantile(np.concatenate(self.wall), share))

    @property
    def processor_median(self) -> float:
        """Seconds of the processor of the middle call."""
        return float(np.median(np.concatenate(self.processor)))

    def faster_than(self, reference: Times) -> dict[str, float]:
        """How many times, over the rounds: lowest, median, highest."""
        ratios = [sum(its) / sum(own) for its, own in zip(reference.processor, self.processor)]
        return {"min": min(ratios), "median": float(np.median(ratios)), "max": max(ratios)}


def one_by_one(sides: list[Side], queries: int, rounds: int, calls: int) -> dict[str, Times]:
    """Time `calls` single queries a side and round, after some that do not count."""
    times = {side.name: Times() for side in sides}
    for turn in range(rounds + 1):
        asked = [(turn * calls + number) % queries for number in range(calls)]
        for side in sides:
            if turn == 0:
                for query in asked[-5:]:
                    side.one(query)
                continue
            _block(times[side.name], [partial(side.one, query) for query in asked])
    return times


def together(sides: list[Side], rounds: int) -> dict[str, Times]:
    """Time all queries at once, a call a side and round, after one that does not count."""
    times = {side.name: Times() for side in sides}
    for turn in range(rounds + 1):
        for side in sides:
            _block(times[side.name] if turn else Times(), [side.many])
    return times


def _block(times: Times, calls: list[Callable[[], Any]]) -> None:
    wall, processor = [], []
    for call in calls:
        begun, used = time.perf_counter(), time.process_time()
        call()
        processor.append(time.process_time() - used)
        wall.append(time.perf_counter() - begun)
    times.wall.append(wall)
    times.processor.append(processor)
