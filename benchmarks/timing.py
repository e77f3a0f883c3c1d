"""Shared by the benchmarks: sides that take turns, their times and ratios, separate processes, and tables.

    ratio = seconds of the reference / seconds of the side, both of the same round      above 1: the side is faster

In each round every side runs once, each round starting with another side, so that other load affects all of them.
"""

from __future__ import annotations

import multiprocessing
import os
import platform
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from itertools import chain
from typing import Any, Literal, TypeVar, final

import numpy as np
import tyro

T = TypeVar("T")
Ratio = dict[str, float]  # min, median, max


def arguments(kind: type[T], about: str | None, argv: Sequence[str] | None = None) -> T:
    """Turn argv into a dataclass: its fields are the flags."""
    return tyro.cli(kind, description=about, args=argv, config=(tyro.conf.FlagCreatePairsOff,))


def say(what: str) -> None:
    """Print progress."""
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
    """Seconds of one side: a list a round, of each call."""

    wall: list[list[float]] = field(default_factory=list)
    processor: list[list[float]] = field(default_factory=list)  # of this process's threads

    def time(self, calls: Iterable[Callable[[], object]]) -> None:
        """Another round."""
        for seconds, of_round in zip((self.wall, self.processor), zip(*map(seconds_of, calls))):
            seconds.append(list(of_round))

    def quantile(self, share: float, of: Literal["wall", "processor"] = "wall") -> float:
        """Seconds that this share of the calls stays within."""
        return float(np.quantile(np.concatenate(getattr(self, of)), share))


def seconds_of(call: Callable[[], object]) -> tuple[float, float]:
    """Seconds of the clock, and of this process's threads."""
    begun, used = time.perf_counter(), time.process_time()
    call()
    return time.perf_counter() - begun, time.process_time() - used


def ratios(reference: Iterable[Any], own: Iterable[Any]) -> Ratio:
    """Of the rounds' seconds, or of the sums of their calls' seconds."""
    return spread([np.sum(one) / np.sum(other) for one, other in zip(reference, own, strict=True)])


def spread(values: Sequence[float]) -> Ratio:
    """Lowest, median, highest."""
    return {"min": float(min(values)), "median": float(np.median(values)), "max": float(max(values))}


def apart(task: Callable[..., T], *given: object) -> T:
    """The result of a call in a new process."""
    with own_process() as process:
        return process.submit(task, *given).result()


def apart_in_turns(task: Callable[..., T], sides: Mapping[str, Sequence[Any]], rounds: int) -> dict[str, list[T]]:
    """The results of calls with each side's arguments, round by round, each in a new process."""
    found: dict[str, list[T]] = {side: [] for side in sides}
    for _, side in in_turns(sides, rounds):
        found[side].append(apart(task, *sides[side]))
    return found


def own_process() -> ProcessPoolExecutor:
    """A single new process."""
    return ProcessPoolExecutor(1, multiprocessing.get_context("spawn"))


def machine() -> dict[str, Any]:
    """Facts that figures depend on."""
    import torch

    commit = subprocess.run(["git", "describe", "--always", "--dirty"], capture_output=True, text=True)
    return {
        "machine": f"{platform.machine()}, {len(os.sched_getaffinity(0))} cores",
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "torch": torch.__version__,
        "commit": commit.stdout.strip(),
        "load": round(os.getloadavg()[0], 1),
    }


def print_table(columns: Mapping[str, str], rows: Iterable[Mapping[str, Any]], width: int = 26) -> None:
    """Print rows as they come; cells whose key the row lacks stay empty.

    `columns`: head -> key and format of the cell, as in `{p50_s:.2f}`; `width` is that of the first column.
    """
    keys = {head: re.split(r"[:\[]", form.strip("{}"))[0] for head, form in columns.items()}
    widths = [f"<{width}", *(f">{len(head)}" for head in list(columns)[1:])]
    shown = ([form.format_map(row) if keys[head] in row else "" for head, form in columns.items()] for row in rows)
    for place, cells in enumerate(chain([columns], shown)):
        print("|", " | ".join(map(format, cells, widths)), "|", flush=True)
        if place == 0:
            print("|---" * len(columns) + "|", flush=True)
