"""What the benchmarks share: sides that take turns, their times and ratios, processes of their own, and tables.

    ratio = seconds of the reference / seconds of the side, both of the same round      above 1: the side is faster

Every round gives every side its turn and begins with another side than the one before, so that what else the
machine does meets all of them.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar, final

import numpy as np
import tyro

T = TypeVar("T")
Ratio = dict[str, float]  # min, median, max


def arguments(kind: type[T], about: str | None, argv: Sequence[str] | None) -> T:
    """Turn argv into a dataclass: its fields are the flags."""
    return tyro.cli(kind, description=about, args=argv, config=(tyro.conf.FlagCreatePairsOff,))


def say(what: str) -> None:
    """Progress."""
    print(what, file=sys.stderr, flush=True)


def in_turns(sides: Iterable[T], rounds: int) -> Iterator[tuple[int, T]]:
    """(round, side): every side once a round."""
    order = list(sides)
    for number in range(rounds):
        yield from ((number, side) for side in order)
        order.append(order.pop(0))


@final
@dataclass
class Times:
    """Of one side: a list a round, of what each call took."""

    wall: list[list[float]] = field(default_factory=list)  # seconds of the clock
    processor: list[list[float]] = field(default_factory=list)  # seconds of this process's threads

    def time(self, calls: Iterable[Callable[[], object]]) -> None:
        """Another round."""
        self.wall.append([])
        self.processor.append([])
        for call in calls:
            begun, used = time.perf_counter(), time.process_time()
            call()
            self.processor[-1].append(time.process_time() - used)
            self.wall[-1].append(time.perf_counter() - begun)

    def quantile(self, share: float, of: Literal["wall", "processor"] = "wall") -> float:
        """Seconds that this share of the calls stays within."""
        return float(np.quantile(np.concatenate(getattr(self, of)), share))


def ratios(reference: Iterable[Any], own: Iterable[Any]) -> Ratio:
    """Of the rounds' seconds, or of the sums of their calls' seconds."""
    return spread([np.sum(theirs) / np.sum(its) for theirs, its in zip(reference, own, strict=True)])


def spread(values: Sequence[float]) -> Ratio:
    """Lowest, median, highest."""
    return {"min": float(min(values)), "median": float(np.median(values)), "max": float(max(values))}


def apart(task: Callable[..., T], *given: object) -> T:
    """What a call gives in a new process, which ends with it."""
    with own_process() as process:
        return process.submit(task, *given).result()


def apart_in_turns(task: Callable[..., T], sides: Mapping[str, Sequence[Any]], rounds: int) -> dict[str, list[T]]:
    """What calls with each side's arguments give, round by round, each in a process of its own."""
    found: dict[str, list[T]] = {side: [] for side in sides}
    for _, side in in_turns(sides, rounds):
        found[side].append(apart(task, *sides[side]))
    return found


def own_process() -> ProcessPoolExecutor:
    """A single process that begins without anything of this one's."""
    return ProcessPoolExecutor(1, multiprocessing.get_context("spawn"))


def machine() -> dict[str, Any]:
    """What figures depend on."""
    import torch

    commit = subprocess.run(["git", "describe", "--always", "--dirty"], capture_output=True, text=True)
    return {
        "machine": f"{platform.machine()}, {len(os.sched_getaffinity(0))} cores",
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "torch": torch.__version__,
        "commit": commit.stdout.strip(),
        "load": round(os.getloadavg()[0], 1),
    }


@final
class Table:
    """Prints rows as they come."""

    def __init__(self, columns: Mapping[str, str], width: int = 26) -> None:
        """`columns`: head -> key and format of the cell, as in `{p50_s:.2f}`; `width` is that of the first."""
        self.columns, self.width = columns, width
        self._print(columns)
        print("|---" * len(columns) + "|", flush=True)

    def row(self, row: Mapping[str, Any]) -> None:
        self._print([_cell(form, row) for form in self.columns.values()])

    def _print(self, cells: Iterable[str]) -> None:
        first, *others = zip(cells, self.columns)
        padded = [f"{first[0]:{self.width}}", *(f"{cell:>{len(head)}}" for cell, head in others)]
        print("|", " | ".join(padded), "|", flush=True)


def _cell(form: str, row: Mapping[str, Any]) -> str:
    try:
        return form.format_map(row)
    except KeyError:
        return ""


def print_json(row: Mapping[str, Any]) -> None:
    """One object, a line."""
    print(json.dumps(row, default=float), flush=True)
