"""What a precompute job did, file by file, and what it is doing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import final

from features.media import DEGRADED, FAILED, TIMED_OUT
from features.store import ClipRecord

FAILURES = (FAILED, TIMED_OUT)


@final
@dataclass(frozen=True, slots=True)
class Outcome:
    """How one file went."""

    video: str
    verdict: str
    note: str
    clips: int  # 0 where the file failed
    seconds: float  # of video

    @property
    def failed(self) -> bool:
        """Whether it gave no clips."""
        return self.verdict in FAILURES

    @classmethod
    def of(cls, records: Sequence[ClipRecord]) -> Outcome:
        """One file's verdict, from the records of all its clips: that of its worst clip."""
        worst = next((r for r in records if r.verdict in (*FAILURES, DEGRADED)), records[0])
        clips = 0 if worst.verdict in FAILURES else len(records)
        return cls(records[0].video, worst.verdict, worst.note, clips, sum(r.end_s - r.start_s for r in records))


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
    seconds: float = 0.0  # of video, in these
    clips_so_far: int = 0  # those of pending files, and of files that failed later, too
    seconds_so_far: float = 0.0
    retried: int = 0  # times that a file was put back, to be tried once more

    def add(self, outcome: Outcome) -> None:
        """Count one file."""
        self.outcomes.append(outcome)
        self.clips += outcome.clips
        self.seconds += outcome.seconds
        if outcome.failed:
            self.failures.append(outcome)
        elif outcome.verdict == DEGRADED:
            self.degraded.append(outcome)
