"""`mee open` as a process with a cache of its own: asked over HTTP, and what it takes of memory and CPU.

server, conductor, workers    `mee open` itself, `python -m scripts.open.conductor`, other processes below them
memory                        proportional set size: a page that several processes map counts in parts
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final
from urllib.parse import urlencode
from urllib.request import urlopen

import psutil  # a dependency of accelerate

ROLES = ("server", "conductor", "workers")


@final
@dataclass(frozen=True)
class Opened:
    """A running `mee open`."""

    process: subprocess.Popen[bytes]
    cache: Path  # XDG_CACHE_HOME
    begun: float  # time.time() when it was started

    @property
    def state(self) -> Path:
        """The folder of its library's state; it may not be there yet."""
        return next(self.cache.glob("mee/libraries/*/"), self.cache / "none")

    def get(self, path: str, **asked: object) -> Any:
        """The JSON of an answer, or its text where it is none; None: it does not answer, or not with 200.

        Raises:
            SystemExit: the process has ended.
        """
        if self.process.poll() is not None:
            said = (self.cache / "said").read_text(errors="replace")
            raise SystemExit(f"mee open ended with {self.process.returncode}:\n{said[-2000:]}")
        with suppress(OSError, ValueError):  # no address yet, nobody there, or an error's status
            address = json.loads((self.state / "address.json").read_text())["address"].rstrip("/")
            with urlopen(f"{address}{path}?{urlencode(asked)}", timeout=60) as answer:
                body = answer.read().decode()
                return json.loads(body) if "json" in answer.headers["content-type"] else body
        return None

    def processes(self) -> Iterator[tuple[str, psutil.Process]]:
        """Each with its role."""
        own = psutil.Process(self.process.pid)
        yield "server", own
        for child in own.children(recursive=True):
            with suppress(psutil.Error):  # it has ended
                leads = child.ppid() == own.pid and "scripts.open.conductor" in child.cmdline()
                yield "conductor" if leads else "workers", child

    def memory(self) -> dict[str, float]:
        """MB by role."""
        used = dict.fromkeys(ROLES, 0.0)
        for role, process in self.processes():
            with suppress(psutil.Error):
                used[role] += process.memory_full_info().pss / 1e6
        return used

    def processor(self) -> float:
        """CPU seconds so far of all processes, with those of children that have ended."""
        spent = 0.0
        for _, process in self.processes():
            with suppress(psutil.Error):
                spent += sum(process.cpu_times()[:4])  # user and system, own and of children
        return spent


@contextmanager
def opened(videos: Path, cache: Path) -> Iterator[Opened]:
    """Start `mee open VIDEOS --no-browser --preset offline` with its state in a cache; Ctrl-C ends it."""
    command = [sys.executable, "-m", "scripts.cli", "open", str(videos), "--no-browser", "--preset", "offline"]
    environment = {**os.environ, "XDG_CACHE_HOME": str(cache), "HF_HUB_OFFLINE": "1"}
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / "said").open("ab") as out:
        begun = time.time()
        process = subprocess.Popen(command, stdout=out, stderr=out, stdin=subprocess.DEVNULL, env=environment)
    try:
        yield Opened(process, cache, begun)
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
        process.wait(60)


def pacing(step_s: float, timeout_s: float = 3600) -> Iterator[float]:
    """Seconds since the start, every so often; a late turn comes at once, and none is made up for.

    Raises:
        SystemExit: the time is over.
    """
    begun = time.monotonic()
    while (now := time.monotonic() - begun) < timeout_s:
        yield now
        time.sleep(max(0.0, step_s - (time.monotonic() - begun - now)))
    raise SystemExit(f"it was not done within {timeout_s:.0f} s")
