"""What a job did, file by file, and what it is doing."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import final

from features.media import DEGRADED, FAILED, TIMED_OUT

FAILURES = (FAILED, TIMED_OUT)


@final
@dataclass(frozen=True, slots=True)
class Outcome:
    """How one file went."""

    video: str
    verdict: str
    note: str
    clips: int  # 0 where the file failed


@final
@dataclass
class JobReport:
    """What a job did."""

    files: int  # in the library, or in this job's share of it
    already: int  # of these, done before the job began
    skipped: int = 0  # of these, failed before
    outcomes: list[Outcome] = field(default_factory=list)  # in order of finishing
    failures: list[Outcome] = field(default_factory=list)  # of files that gave no clips
    degraded: list[Outcome] = field(default_factory=list)  # of files that could be read in part
    changed: list[str] = field(default_factory=list)  # done before, but the file has another size now
    clips: int = 0  # that were extracted
    clips_so_far: int = 0  # with those of pending files, and of files that failed later
    seconds_so_far: float = 0.0  # of video, in these
    retried: int = 0  # times that a file was put back, to be tried again

    def add(self, outcome: Outcome) -> None:
        """Count one file."""
        self.outcomes.append(outcome)
        self.clips += outcome.clips
        if outcome.verdict in FAILURES:
            self.failures.append(outcome)
        elif outcome.verdict == DEGRADED:
            self.degraded.append(outcome)
