"""Shared by the benchmarks: sides that take turns, their times and ratios, processes, tables, the machine.

    ratio = seconds of the reference / seconds of the side, both of the same round      above 1: the side is faster

In each round every side runs once, each round starting with another side, so that other load affects all of them.
Under each table stand the processor, the instruction sets that the libraries really use, and the threads. With
`--isa avx2` every benchmark starts again with the libraries limited to AVX2: a processor with AVX-512 then stands
for an ordinary one. `python -m benchmarks.timing` prints the machine alone.
"""

from __future__ import annotations

import argparse
import json
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
from functools import cache
from itertools import chain
from pathlib import Path
from typing import Any, Literal, TypeVar, final

import numpy as np
import tyro

T = TypeVar("T")
Ratio = dict[str, float]  # min, median, max
# What each library reads when it is loaded: faiss the level of a build with several instruction sets, or which of
# several builds to load; MKL heeds its limit on Intel's processors, and uses no AVX-512 on others.
LIMITS = {
    "avx2": {
        "ATEN_CPU_CAPABILITY": "avx2",
        "ONEDNN_MAX_CPU_ISA": "AVX2",
        "MKL_ENABLE_INSTRUCTIONS": "AVX2",
        "FAISS_SIMD_LEVEL": "AVX2",
        "FAISS_OPT_LEVEL": "AVX2",
        "OPENBLAS_CORETYPE": "Haswell",
        "NPY_DISABLE_CPU_FEATURES": "X86_V4 AVX512F AVX512_SKX AVX512_ICL AVX512_SPR",
    }
}
# Run in a process of its own; with ONEDNN_VERBOSE and MKL_VERBOSE those two say on stdout what they use.
PROBE = """
import json, numpy, threadpoolctl, torch
used = {"torch": torch.backends.cpu.get_cpu_capability()}
x = torch.ones(64, 64)
(x @ x).to_mkldnn()
try:
    import faiss
    found = [name for name in ("avx512_spr", "avx512", "avx2") if hasattr(faiss, "swigfaiss_" + name)]
    used["faiss"] = faiss.SIMDConfig.get_level_name() if hasattr(faiss, "SIMDConfig") else (found + ["generic"])[0]
except ImportError:
    pass
used["numpy"] = ["baseline", *numpy.show_config(mode="dicts")["SIMD Extensions"]["found"]][-1]
kinds = {pool["architecture"] for pool in threadpoolctl.threadpool_info() if pool["internal_api"] == "openblas"}
used["OpenBLAS"] = " and ".join(sorted(kinds))
print(json.dumps(used))
"""


def arguments(kind: type[T], about: str | None, argv: Sequence[str] | None = None) -> T:
    """Turn argv into a dataclass: its fields are the flags; with --isa, start the program again with limits."""
    if argv is None:
        first = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
        first.add_argument("--isa", choices=LIMITS)
        given, argv = first.parse_known_args()
        limits = LIMITS.get(given.isa, {})
        if any(os.environ.get(name) != value for name, value in limits.items()):
            os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], {**os.environ, **limits})
    about = f"{about or ''}\n--isa avx2 (of every benchmark): all libraries limited to AVX2"
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


@cache
def instruction_sets() -> dict[str, str]:
    """What each library uses, as it says itself."""
    command, asked = [sys.executable, "-c", PROBE], {**os.environ, "ONEDNN_VERBOSE": "1", "MKL_VERBOSE": "1"}
    said = subprocess.run(command, stdout=subprocess.PIPE, text=True, env=asked, check=True).stdout
    used: dict[str, str] = json.loads(said.splitlines()[-1])
    for library, words in {"oneDNN": "cpu,isa:(?:Intel )?(.*)", "MKL": "64 architecture (.*) processors"}.items():
        if found := re.search(words, said):
            used[library] = found[1].replace("Intel(R) Architecture", "for any processor")
    return used


def processor_kind() -> str:
    """Of the processor as the libraries use it: what a published figure names."""
    used = instruction_sets()
    if all(os.environ.get(name) == value for name, value in LIMITS["avx2"].items()):
        return "AVX2 (emulated: libraries limited to it)"
    reduced = re.search("bfloat16|AMX|BF16", used.get("oneDNN", ""))
    return used["torch"].replace("AVX512", "AVX-512") + (" and bf16" if reduced else "")


def machine(threads: int | None = None) -> dict[str, Any]:
    """Facts that figures depend on; `threads`: of each side, where this process has others."""
    import torch

    commit = subprocess.run(["git", "describe", "--always", "--dirty"], capture_output=True, text=True)
    names = re.findall("model name.*: (.*)", _text("/proc/cpuinfo")) or [platform.machine()]
    return {
        "processor": names[0],
        "instructions": processor_kind(),
        "in use": ", ".join(f"{library} {used}" for library, used in instruction_sets().items()),
        "threads": f"{threads or torch.get_num_threads()} of {len(os.sched_getaffinity(0))} cores",
        "torch": torch.__version__,
        "commit": commit.stdout.strip(),
        "load": round(os.getloadavg()[0], 1),
    }


def _text(path: str) -> str:
    return Path(path).read_text() if Path(path).exists() else ""


def print_table(
    columns: Mapping[str, str], rows: Iterable[Mapping[str, Any]], width: int = 26, threads: int | None = None
) -> None:
    """Print rows as they come, and the machine below; cells whose key the row lacks stay empty.

    `columns`: head -> key and format of the cell, as in `{p50_s:.2f}`; `width` is that of the first column;
    `threads`: of each side, where this process has others.
    """
    keys = {head: re.split(r"[:\[]", form.strip("{}"))[0] for head, form in columns.items()}
    widths = [f"<{width}", *(f">{len(head)}" for head in list(columns)[1:])]
    shown = ([form.format_map(row) if keys[head] in row else "" for head, form in columns.items()] for row in rows)
    for place, cells in enumerate(chain([columns], shown)):
        print("|", " | ".join(map(format, cells, widths)), "|", flush=True)
        if place == 0:
            print("|---" * len(columns) + "|", flush=True)
    print("\n" + "; ".join(f"{key}: {value}" for key, value in machine(threads).items()), flush=True)


if __name__ == "__main__":
    arguments(dict, __doc__)
    print(*(f"{key}: {value}" for key, value in machine().items()), sep="\n")
