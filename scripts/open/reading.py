"""Reading: the process that reads a library. Terminal: what is said of it there.

its stdout: one JSON object a line -> Progress -> the page, and a line in the terminal
its stdin: it ends in order when this is closed, which the system does, too, when this process is killed
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, final

from mee.errors import count
from mee.files import parse_json
from scripts.console import LINE_S, clock, progress_console, say, shown

if TYPE_CHECKING:
    from scripts.serve import Progress

CHILD = ("-m", "scripts.open.conductor")
LONGEST = 16 << 20  # bytes of a message
TRIES, WITHIN_S, PAUSE_S = 5, 600.0, 1.0  # how often it is started again, within which time, and after how long
STOP_S = 15.0  # that it may take to end in order


@final
class Reading:
    """The process that reads; within `with`, at whose end it is killed if it still runs."""

    def __init__(self, words: Sequence[str], log: Path, lock: int) -> None:
        """words: its arguments; log: its stderr, from now on; lock: a handle that it holds as long as it runs."""
        self._words, self._log, self._lock, self._stopping = words, log, lock, False
        log.unlink(missing_ok=True)
        self._child = self._started()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._kill()

    def _started(self) -> subprocess.Popen[bytes]:
        # it imports what was imported here, and nothing that lies in the working directory
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW
        with os.fdopen(os.open(self._log, flags, 0o600), "ab") as log:
            return subprocess.Popen(
                [sys.executable, "-P", *CHILD, *self._words],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env=environment,
                pass_fds=[self._lock],
                start_new_session=True,  # Ctrl-C is for this process alone
            )

    async def follow(self, progress: Progress, on_message: Callable[[], None]) -> None:
        """Apply what it says until `stop`; start it again where it ends, or says something else."""
        ends: deque[float] = deque(maxlen=TRIES + 1)
        again = False

        def take(message: Any) -> None:
            nonlocal again
            if again:  # it knows nothing of what the one before has said
                progress.apply({"dropped": [*progress.files]})
            again = False
            progress.apply(message)
            on_message()

        while True:
            with suppress(ValueError, TypeError, AttributeError):
                await self._read(take)
            self._kill()
            ends.append(time.monotonic())
            if len(ends) > TRIES and ends[-1] - ends[0] < WITHIN_S and not self._stopping:
                why = f"the videos are not read any more: the process that reads them fails{self._reason()}"
                stopped = {"step": "reading has stopped", "left_s": None, "problem": why}
                take({"status": asdict(progress.status) | stopped})
                return
            await asyncio.sleep(0 if self._stopping else PAUSE_S)
            if self._stopping:
                return
            self._child, again = self._started(), True

    async def _read(self, take: Callable[[Any], None]) -> None:
        """Hand over its messages until it ends."""
        reader = asyncio.StreamReader(limit=LONGEST)
        pipe, _ = await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), self._child.stdout
        )
        try:
            while line := await reader.readline():
                take(parse_json(line))
        finally:
            pipe.close()

    def _reason(self) -> str:
        """The last line that it wrote to stderr, and where the others are."""
        written = self._log.read_bytes()[-4000:].decode("utf-8", "replace") if self._log.exists() else ""
        last = f" ({lines[-1].strip():.200})" if (lines := written.strip().splitlines()) else ""
        return f"{last}; see '{self._log}', and run mee open again"

    def stop(self) -> None:
        """Let it end in order."""
        self._stopping = True
        if self._child.stdin is not None:
            self._child.stdin.close()

    def _kill(self) -> None:
        """End it, and the processes that it has started."""
        if self._child.returncode is None:  # else its number may be that of another process
            with suppress(OSError):
                os.killpg(self._child.pid, signal.SIGKILL)
            self._child.wait()
        for pipe in (self._child.stdin, self._child.stdout):
            if pipe is not None:
                pipe.close()


@final
class Terminal:
    """What is said of the progress on stderr: a live line on a terminal, elsewhere a plain one now and then."""

    def __init__(self) -> None:
        from rich.progress import BarColumn, Progress, TextColumn

        step, about = (TextColumn(text, markup=False) for text in ("{task.description}", "{task.fields[about]}"))
        console = progress_console()
        self._bar = Progress(
            step, BarColumn(), about, console=console, transient=True, disable=not console.is_terminal,
            refresh_per_second=2, redirect_stdout=False,
        )  # fmt: skip
        self._row = self._bar.add_task("", total=1.0, about="")
        self._step, self._note, self._problem, self._done, self._next = "", "", "", False, 0.0

    @contextmanager
    def aside(self) -> Iterator[None]:
        """Without the live line, for what is printed to stdout, whether or not anybody reads that."""
        self._bar.stop()
        with suppress(BrokenPipeError):
            yield
        self._bar.start()

    def close(self) -> None:
        """Take the live line away."""
        self._bar.stop()

    def show(self, progress: Progress) -> None:
        """Say what has changed."""
        status, now = progress.status, time.monotonic()
        for sentence, known in ((status.note, self._note), (status.problem, self._problem)):
            if sentence and sentence != known:
                say(sentence)
        if status.done and not self._done:
            say(_all_read(progress))
            say("new and changed files are read as they come; Ctrl-C ends")
        about = _about(progress)
        self._bar.update(
            self._row, completed=status.share, description=shown(status.step), about=about, visible=not status.done
        )
        if self._bar.disable and not status.done and (status.step != self._step or now >= self._next):
            say(f"{status.step}: {about}")
            self._next = now + LINE_S
        self._step, self._note, self._problem = status.step, status.note, status.problem
        self._done |= status.done


def so_far(progress: Progress) -> tuple[int, int]:
    """How many files can be searched, at least in part, and how many there are."""
    counts = progress.counts
    return counts["reading"] + counts["done"], len(progress.files) - counts["gone"]


def _about(progress: Progress) -> str:
    status, (found, of) = progress.status, so_far(progress)
    parts = [f"{found} of {count(of, 'file')} can be searched"]
    parts += [count(status.clips, "moment")] if status.clips else []
    parts += [] if status.left_s is None else [f"{clock(status.left_s, 0)} left"]
    problems = progress.counts["problem"]
    return ", ".join([*parts, *([f"{count(problems, 'file')} with problems"] if problems else [])])


def _all_read(progress: Progress) -> str:
    (_, of), problems = so_far(progress), progress.found(state="problem")
    text = f"all is read: {count(of, 'file')}, {count(progress.status.clips, 'moment')}"
    if problems:
        text += f"; {len(problems)} could not be read, such as '{problems[0].video}' ({problems[0].why})"
    return text
