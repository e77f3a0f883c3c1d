"""A precompute job as a process of its own, with an eye on its memory and its children; Linux only."""

import os
import subprocess
import sys
import time
from pathlib import Path

SHARD = "import features.store.writer as w; w.SHARD_CLIPS = {}; "  # small: a job of some seconds writes many
RUN = "import sys; from scripts.precompute import main; sys.exit(main(sys.argv[1:]))"


def start(root: Path, site: Path, said: Path, *words, shard_clips: int | None = None) -> subprocess.Popen:
    """Start `mee precompute` with these words.

    Args:
        root: of the project.
        site: a folder of third-party extractors.
        said: a file for what it prints; added to.
        words: the command line.
        shard_clips: the most clips of a shard.
    """
    environment = {**os.environ, "PYTHONPATH": str(site), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", (SHARD.format(shard_clips) if shard_clips else "") + RUN, *map(str, words)]
    with said.open("ab") as log:
        return subprocess.Popen(command, cwd=root, env=environment, stdout=log, stderr=subprocess.STDOUT)


def family(process: int) -> list[int]:
    """A process and all that descend from it."""
    members = [process]
    try:
        for task in os.listdir(f"/proc/{process}/task"):
            for child in Path(f"/proc/{process}/task/{task}/children").read_text().split():
                members += family(int(child))
    except OSError:  # it ended just now
        pass
    return members


def memory(process: int) -> int:
    """Bytes that a process and its descendants hold; what several share is counted once."""
    total = 0
    for member in family(process):
        try:
            lines = Path(f"/proc/{member}/smaps_rollup").read_text().splitlines()
        except OSError:
            continue
        total += sum(int(line.split()[1]) << 10 for line in lines if line.startswith("Pss:"))
    return total


def peak_memory(job: subprocess.Popen) -> int:
    """Let a job end, and see how many bytes it held at most."""
    most = 0
    while job.poll() is None:
        most = max(most, memory(job.pid))
        time.sleep(0.2)
    return most


def alive(process: int) -> bool:
    """Whether it runs; one that has ended and is not fetched yet does not."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def wait_until(condition, seconds: float = 30.0) -> bool:
    """Whether something comes true in time."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.01)
    return True
