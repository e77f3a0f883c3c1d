"""A job on two Ray nodes of this machine, beside the plain job: its cost, and that killed nodes change nothing.

example:
  python -m benchmarks.scale.ray_job
  python -m benchmarks.scale.ray_job --files 100 --seconds 20

Files of moving pictures are generated (320 x 240, sound), one in twenty hostile: cut short, garbage, or empty.

  plain    mee precompute --workers 2
  ray      the same on two nodes of one CPU each
  killed   the same, but at a third of the files a raylet and all below it get SIGKILL, and another at two
           thirds; a new node comes in for each

Processor seconds are those of the command and of all that it or the cluster starts, read from /proc five times a
second. Decoding is the same work on all sides, and what it takes shows how even the machine was; Ray's servers
take as much on a node of one CPU as on a large one. The stores must be equal: rows, arrays and failures.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from benchmarks.timing import arguments, print_table
from features.store import FeatureStore
from tests.features.media_files import tone, write

STREAMS = ("appearance", "motion", "audio")
SAMPLE_S = 0.2
TIME_COLUMNS = ["written_at"]
COLUMNS = {
    "": "{side}",
    "seconds": "{seconds:.1f}",
    "CPU s": "{cpu_s:.1f}",
    "decoding": "{decode:.1f}",
    "Ray's servers": "{servers:.1f}",
    "nodes killed": "{killed}",
    "as the first store": "{equal}",
}


@dataclass(frozen=True, kw_only=True)
class Args:
    """How large the library is."""

    files: int = 400
    seconds: float = 8.0  # of a file
    rounds: int = 2  # of plain and ray
    seed: int = 0


def main(argv: Sequence[str] | None = None) -> None:
    """Measure."""
    args = arguments(Args, __doc__, argv)
    place = Path(tempfile.mkdtemp(prefix="rj", dir="/tmp"))  # the paths of Ray's sockets must be short
    os.environ |= {
        "RAY_TMPDIR": str(place),
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_agent_register_timeout_ms": "120000",
    }
    os.environ["PYTHONPATH"] = os.getcwd()
    make_library(place / "videos", args)
    try:
        print_table(COLUMNS, measured(place, args))
    finally:
        shutil.rmtree(place, ignore_errors=True)


def measured(place: Path, args: Args) -> Iterator[dict[str, Any]]:
    """A row of each run; stores are compared with the first one."""
    wanted = None
    for number, side in enumerate((*("plain", "ray") * args.rounds, "killed")):
        store = place / f"store{number}"
        with cluster(side) as nodes, processor_seconds() as (used, kinds):
            start = time.monotonic()
            killed = run(place / "videos", store, side, args.files, nodes)
            row = {"side": side, "seconds": time.monotonic() - start, "killed": killed}
        found = contents(store)
        wanted = wanted or found
        its = {kind: sum(used[pid] for pid in used if kinds[pid] == kind) for kind in ("decode", "job", "servers")}
        row |= {"cpu_s": sum(its.values()), **its}
        yield row | {"equal": "yes" if found == wanted else "NO"}


def make_library(folder: Path, args: Args) -> None:
    """Every twentieth file is hostile."""
    draw = np.random.default_rng(args.seed)
    folder.mkdir()
    for number in range(args.files):
        path = folder / f"v{number:05d}.mp4"
        if number % 20 == 19 and number // 20 % 3 != 0:
            path.write_bytes(draw.bytes(50_000) if number // 20 % 3 == 1 else b"")
            continue
        big = np.kron(draw.integers(0, 255, (12, 16, 3)), np.ones((20, 20, 1))).astype(np.uint8)
        frames = [np.roll(big, 7 * step, axis=1) for step in range(int(args.seconds * 10))]
        write(path, frames, sounds=[(0.0, tone(args.seconds, 200.0 + number))])
        if number % 20 == 19:
            path.write_bytes(path.read_bytes()[:-2000])


@contextmanager
def cluster(side: str) -> Iterator[Any]:
    """Two nodes of one CPU each; where some are killed, beside a head without CPUs, which is not."""
    if side == "plain":
        yield None
        return
    from ray.cluster_utils import Cluster

    head = 1 if side == "ray" else 0
    nodes = Cluster(initialize_head=True, head_node_args={"num_cpus": head, "include_dashboard": False})
    for _ in range(2 - head):
        join(nodes)
    try:
        yield nodes
    finally:
        nodes.shutdown()


def join(nodes: Any) -> None:
    """One more node; on a busy machine it may take Ray several attempts, of 30 s each."""
    for attempt in range(6):
        try:
            nodes.add_node(num_cpus=1, object_store_memory=80 << 20)
            return
        except Exception:  # Ray has no other
            if attempt == 5:
                raise


@contextmanager
def processor_seconds() -> Iterator[tuple[dict[int, float], dict[int, str]]]:
    """Of all processes below this one and of those that they leave, without this one; and what each is for."""
    used: dict[int, float] = {}
    kinds: dict[int, str] = {}
    stop, ours = threading.Event(), psutil.Process()
    before = {each.pid: sum(each.cpu_times()[:2]) for each in ours.children(recursive=True)}

    def sample() -> None:
        known: dict[int, psutil.Process] = {}
        while not stop.wait(SAMPLE_S):
            known |= {each.pid: each for each in ours.children(recursive=True)}
            for pid, process in list(known.items()):
                try:
                    used[pid] = sum(process.cpu_times()[:2]) - before.get(pid, 0.0)
                    decodes = "multiprocessing.spawn" in " ".join(process.cmdline())
                    kinds[pid] = "servers" if pid in before else "decode" if decodes else kinds.get(pid, "job")
                except psutil.Error:
                    kinds.setdefault(pid, "job")
                    del known[pid]

    thread = threading.Thread(target=sample)
    thread.start()
    try:
        yield used, kinds
    finally:
        stop.set()
        thread.join()


def run(videos: Path, store: Path, side: str, files: int, nodes: Any) -> int:
    """The command; returns how many nodes were killed meanwhile."""
    how = ("--workers", "2") if nodes is None else ("--ray", nodes.address)
    words = ("precompute", videos, store, "--streams", *STREAMS, *how)
    command = subprocess.Popen([sys.executable, "-m", "scripts.cli", *map(str, words)], stdout=subprocess.DEVNULL)
    killed = 0
    while command.poll() is None:
        time.sleep(0.5)
        if side != "killed" or killed == 2 or not (store / "parts").is_dir():
            continue
        if in_store(store) >= (killed + 1) * files / 3:
            victim = next(iter(nodes.worker_nodes))
            raylet = psutil.Process(victim.all_processes["raylet"][0].process.pid)
            for process in (raylet, *raylet.children(recursive=True)):
                process.kill()
            nodes.remove_node(victim, allow_graceful=False)
            join(nodes)
            killed += 1
    assert command.returncode == 3, f"exit code {command.returncode}"
    return killed


def in_store(directory: Path) -> int:
    """How many files are in a store that is being filled."""
    return len(set(FeatureStore(directory).rows["video"]))


def contents(directory: Path) -> tuple[Any, ...]:
    """Rows and arrays, without what differs from run to run."""
    store = FeatureStore(directory)
    arrays = [a if a is None else a.tobytes() for name in STREAMS for a in store.read(name, store.clips.index)]
    rows = store.rows.drop(columns=TIME_COLUMNS, errors="ignore").sort_index()
    return rows.astype(str).to_csv(), arrays


if __name__ == "__main__":
    main()
