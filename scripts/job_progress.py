"""How a job is getting on: a live line on a terminal, and a plain one now and then everywhere else.

precompute  ━━━━━━━╸━━━  120/1003  3.2 clips/s, 31.4 x real time, 4:36:10 left, 2 failed
"""

from __future__ import annotations

import time
from types import TracebackType
from typing import TYPE_CHECKING, Self, final

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from scripts.console import progress_console, say

if TYPE_CHECKING:
    from features.job_report import JobReport

LINE_S = 30.0  # from one plain line to the next: a log is read afterwards


@final
class JobProgress:
    """A context manager; `show` is called with the report whenever it may have changed."""

    def __init__(self, files: int) -> None:
        """``files``: that are left to do."""
        self._files, self._begun = files, time.monotonic()
        self._next_line = self._begun + LINE_S
        console = progress_console()
        self._live = console.is_terminal
        columns = (TextColumn("precompute"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[pace]}"))
        self._bar = Progress(*columns, console=console, disable=not (files and self._live))
        self._row = self._bar.add_task("files", total=files, pace="starting workers")

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    @property
    def took(self) -> float:
        """Seconds since the beginning."""
        return time.monotonic() - self._begun

    def show(self, report: JobReport) -> None:
        """Bring the line up to date; a plain one is written at most every LINE_S seconds."""
        done = len(report.outcomes)
        if self._live:
            self._bar.update(self._row, completed=done, pace=self._pace(report))
        elif time.monotonic() >= self._next_line:
            self._next_line = time.monotonic() + LINE_S
            say(f"{done} of {self._files} files, {self._pace(report)}")

    def _pace(self, report: JobReport) -> str:
        took, done = max(self.took, 1e-3), len(report.outcomes)
        left = duration(took / done * (self._files - done)) + " left" if done else "? left"
        speed = f"{report.clips_so_far / took:.1f} clips/s, {report.seconds_so_far / took:.1f} x real time"
        return f"{speed}, {left}, {len(report.failures)} failed"


def duration(seconds: float) -> str:
    """Seconds as 4:36:10, without leading zeros: 0:07."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
