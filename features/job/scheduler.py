"""Files -> records of all their clips: workers decode, models run here, and a file comes out when it is whole.

One thread: it hears a clip from each worker that has one, runs the models over what it has heard once the batch is
full or nobody has anything to say, and meanwhile the workers decode. A slow consumer blocks the workers.
"""

from __future__ import annotations

import logging
import signal
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import final

from features.extractors import Extractor
from features.job.batches import ModelBatches, WaitingClip
from features.job.config import PrecomputeConfig
from features.job.pool import Idle, Lost, Told, WorkerPool
from features.job.report import JobReport
from features.job.worker import ClipPart, FileEnd, FileFailure, FileTask, WorkerSetup
from features.media import FAILED, TIMED_OUT, size_of
from features.store import ClipRecord

log = logging.getLogger(__name__)

Records = list[ClipRecord]


@final
@dataclass
class _File:
    """What is known of one file."""

    records: dict[str, ClipRecord | None] = field(default_factory=dict)  # in order of time; None: expected
    done: int = 0  # of these, complete
    end: FileEnd | None = None


@final
class PendingFiles:
    """Files of which some clips are done; a file leaves when all are, or when it is given up."""

    def __init__(self) -> None:
        self._files: dict[FileTask, _File] = {}

    def __contains__(self, task: FileTask) -> bool:
        """Whether some clips of the file are there, and it is not whole."""
        return task in self._files

    def ended(self, task: FileTask) -> bool:
        """Whether all clips of a file are known."""
        return task in self._files and self._files[task].end is not None

    def expect(self, task: FileTask, clip_id: str) -> None:
        """A clip of the file exists; its record will follow."""
        self._files.setdefault(task, _File()).records[clip_id] = None

    def add(self, task: FileTask, record: ClipRecord) -> Iterator[Records]:
        """A clip that was expected is complete; gives the file's records where that makes it whole."""
        file = self._files[task]
        file.records[record.clip_id] = record
        file.done += 1
        yield from self._whole(task, file)

    def end(self, task: FileTask, end: FileEnd) -> Iterator[Records]:
        """No more clips are to be expected; gives the file's records where it is whole."""
        file = self._files[task]
        file.end = end
        yield from self._whole(task, file)

    def give_up(self, task: FileTask) -> None:
        """Forget a file."""
        self._files.pop(task, None)

    def _whole(self, task: FileTask, file: _File) -> Iterator[Records]:
        """All records of a file in order of time, once they are complete; it leaves."""
        if file.end is not None and file.done == file.end.clips:
            del self._files[task]
            sha256 = file.end.sha256
            yield [
                replace(record, clips_of_video=file.done, file_sha256=sha256)
                for record in file.records.values()
                if record is not None
            ]


@final
class Extraction:
    """One run over some files."""

    def __init__(
        self,
        extractors: Mapping[str, Extractor],
        setup: WorkerSetup,
        workers: int,
        report: JobReport,
    ) -> None:
        """Nothing is started yet.

        Args:
            extractors: by stream; the shared ones among them run here.
            setup: what workers are told; they make the others.
            workers: processes that decode.
            report: whose counts of clips so far, and of retries, are kept up to date.
        """
        self._shared = {stream: extractor for stream, extractor in extractors.items() if extractor.shared}
        self._pool: WorkerPool[FileTask] = WorkerPool(setup, workers, setup.config.timeout)
        self._models = ModelBatches(self._shared, setup.config.run.batch_size)
        self._files = PendingFiles()
        self._given_up: set[FileTask] = set()  # failed here, while a worker still sends their clips
        self._config, self._report = setup.config, report

    def records(self, tasks: Iterable[FileTask]) -> Iterator[Records]:
        """All records of one file together, as files finish; a failed file has one, that says why.

        Now and then, at least every second while no model runs, nothing: an empty list.
        """
        with self._pool as pool:
            for task in tasks:
                pool.submit(task)
            for event in pool.events():
                yield from self._after(event)
            yield from self._run_models()

    def _after(self, event: Told[FileTask] | Lost[FileTask] | Idle) -> Iterator[Records]:
        match event:
            case Idle():
                yield from self._run_models()
                yield []
            case Told(task, ClipPart() as part) if task not in self._given_up:
                yield from self._take(task, part)
            case Told(task, FileEnd() as end) if task not in self._given_up:
                yield from self._files.end(task, end)
            case Told(task, FileFailure() as failure) if task not in self._given_up:
                if failure.trace:
                    log.error("an extractor failed on %s\n%s", task.path, failure.trace)
                yield self._fail(task, FAILED, failure.reason)
            case Lost(task) if task not in self._given_up:
                yield from self._lose(task, event)
        if isinstance(event, Lost) or (isinstance(event, Told) and not isinstance(event.message, ClipPart)):
            self._given_up.discard(event.task)  # its worker has told all

    def _take(self, task: FileTask, part: ClipPart) -> Iterator[Records]:
        self._files.expect(task, part.record.clip_id)
        if part.clip is None:
            yield from self._complete(task, part.record)
            return
        lacking = tuple(stream for stream in task.streams if stream in self._shared)
        self._models.add(WaitingClip(task, part.record, part.clip, lacking))
        if self._models.full:
            yield from self._run_models()

    def _run_models(self) -> Iterator[Records]:
        for task, result in self._models.run():
            if task not in self._files:  # given up for an earlier clip of this batch
                continue
            if isinstance(result, ClipRecord):
                yield from self._complete(task, result)
            else:
                if not self._files.ended(task):
                    self._given_up.add(task)
                yield self._fail(task, FAILED, result)

    def _complete(self, task: FileTask, record: ClipRecord) -> Iterator[Records]:
        self._report.clips_so_far += 1
        self._report.seconds_so_far += record.end_s - record.start_s
        yield from self._files.add(task, record)

    def _lose(self, task: FileTask, lost: Lost[FileTask]) -> Iterator[Records]:
        reason = _reason(lost, self._config)
        if task.attempt <= self._config.retries:
            log.info("%s %s; it is tried again when the others are done", task.path, reason)
            self._forget(task)
            self._report.retried += 1
            self._pool.submit(replace(task, attempt=task.attempt + 1))
        else:
            yield self._fail(task, TIMED_OUT if lost.how == "timed out" else FAILED, reason)

    def _fail(self, task: FileTask, verdict: str, reason: str) -> Records:
        """The one record of a failed file."""
        self._forget(task)
        return [
            ClipRecord(
                clip_id=task.video,
                video=task.video,
                start_s=0.0,
                end_s=0.0,
                verdict=verdict,
                note=reason,
                reader="",
                clips_of_video=0,
                file_bytes=size_of(task.path) or 0,
            )
        ]

    def _forget(self, task: FileTask) -> None:
        self._files.give_up(task)
        self._models.drop(task)


def _reason(lost: Lost[FileTask], config: PrecomputeConfig) -> str:
    if lost.how == "timed out":
        return f"gave no result within {config.timeout:g} s (--timeout)"
    if lost.how == "out of memory":
        return f"needs more than {config.memory:g} GB of memory (--memory)"
    code = lost.exit_code
    name = f", {signal.Signals(-code).name}" if -code in set(signal.Signals) else ""
    return f"its worker process crashed (exit code {code}{name})"
