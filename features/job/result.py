"""The result of one file, and the report of a job.

worker.py      a ClipResult for each clip, with the streams of the worker's own extractors
batches.py     adds the streams of shared extractors to it
scheduler.py   collects the clips of a file in its FileResult, or the reason why it failed
precompute.py  writes the records of a FileResult, and adds its outcome to the report
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import asdict, dataclass, field
from pathlib import Path

from features.media import DEGRADED, FAILED, TIMED_OUT, Clip, Span, Stamp, stamp_of
from features.store import CheckedStream, ClipRecord

FAILURES = (FAILED, TIMED_OUT)
NO_FILE = Stamp(0, None)


@dataclass(frozen=True, slots=True)
class FileTask:
    """One file, and the streams to extract from it."""

    root: Path  # the library's folder
    video: str  # path below it, with forward slashes
    streams: tuple[str, ...]
    attempt: int = 1

    @property
    def path(self) -> Path:
        """Of the file."""
        return self.root / self.video


@dataclass(eq=False)
class ClipResult:
    """One clip and its streams."""

    clip: Clip  # with the frames and sound that shared extractors still need
    streams: dict[str, CheckedStream | None]  # None: missing

    @property
    def nbytes(self) -> int:
        """Of its frames and sound."""
        frames = sum(frames.pixels.nbytes for frames in self.clip.frames.values())
        return frames + sum(wave.nbytes for wave in self.clip.sound.values())


@dataclass(eq=False)
class FileResult:
    """One file: pending until all its clips are complete, or failed."""

    task: FileTask
    clips: list[ClipResult] = field(default_factory=list)  # in order of time; of a failed file one, that says why
    pending: int = 0  # clips that lack streams of shared extractors
    decoded: bool = False  # its worker has sent everything
    failed: bool = False
    stamp: Stamp = NO_FILE
    sha256: str = ""  # of the file's content, hexadecimal

    @property
    def complete(self) -> bool:
        """Whether all clips are here with all streams."""
        return self.decoded and not self.pending and not self.failed

    def fail(self, verdict: str, reason: str) -> None:
        """Replace the clips by the reason for the failure."""
        span = Span(clip_id=self.task.video, video=self.task.video, start_s=0.0, end_s=0.0)
        self.clips, self.failed = [ClipResult(Clip(span=span, reader="", verdict=verdict, note=reason), {})], True
        self.stamp, self.sha256 = stamp_of(self.task.path) or NO_FILE, ""

    @property
    def outcome(self) -> Outcome:
        """The verdict of its worst clip."""
        clips = [each.clip for each in self.clips]
        worst = next((clip for clip in clips if clip.verdict in (*FAILURES, DEGRADED)), clips[0])
        return Outcome(self.task.video, worst.verdict, worst.note, 0 if self.failed else len(clips))

    def records(self, changed: Collection[str] = ()) -> list[ClipRecord]:
        """The file's rows of the store; of one that changed and failed they end those of before."""
        ended = [ClipRecord.tombstone(self.task.video)] if self.failed and self.task.video in changed else []
        return ended + [
            ClipRecord(
                **asdict(each.clip.span),
                verdict=each.clip.verdict,
                note=each.clip.note,
                reader=each.clip.reader,
                clips_of_video=0 if self.failed else len(self.clips),
                file_bytes=self.stamp.bytes,
                file_sha256=self.sha256,
                file_mtime=self.stamp.mtime,
                source=each.clip.source,
                streams={stream: made and made.rows for stream, made in each.streams.items()},
                times={stream: made.times for stream, made in each.streams.items() if made is not None},
            )
            for each in self.clips
        ]


@dataclass
class Changes:
    """By name of the file as it is now: the video that the store has of its content, and its time of change."""

    changed: set[str] = field(default_factory=set)
    touched: dict[str, tuple[str, float | None]] = field(default_factory=dict)  # under the same name
    taken: dict[str, tuple[str, float | None]] = field(default_factory=dict)  # under another name

    def source(self, video: str) -> str | None:
        """The video of the store that has the streams of a file; None where no video has."""
        return None if video in self.changed else self.taken.get(video, (video,))[0]


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one file went."""

    video: str
    verdict: str
    note: str
    clips: int  # 0 where the file failed


@dataclass
class JobReport:
    """What a job did."""

    files: int  # in the library, or in this job's share of it
    already: int  # of these, done before the job began
    skipped: int = 0  # of these, failed before
    outcomes: list[Outcome] = field(default_factory=list)  # in order of finishing
    failures: list[Outcome] = field(default_factory=list)  # of files that gave no clips
    degraded: list[Outcome] = field(default_factory=list)  # of files that could be read in part
    changes: Changes = field(default_factory=Changes)  # of files that the store knew before
    clips: int = 0  # that were extracted
    clips_so_far: int = 0  # with those of pending files, and of files that failed later
    seconds_so_far: float = 0.0  # of video, in these
    retried: int = 0  # times that a file was put back, to be tried again

    @property
    def todo(self) -> int:
        """How many files are to be extracted."""
        return self.files - self.already - self.skipped

    def add(self, outcome: Outcome) -> None:
        """Count one file."""
        self.outcomes.append(outcome)
        self.clips += outcome.clips
        if outcome.verdict in FAILURES:
            self.failures.append(outcome)
        elif outcome.verdict == DEGRADED:
            self.degraded.append(outcome)
