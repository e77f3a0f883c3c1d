"""Files -> results: workers decode, models run here, and a file comes out when all its clips are complete.

One thread: it receives a clip from each worker that has one, and runs the models over those received once the
batch is full or no worker has anything to report; meanwhile the workers decode. A slow consumer blocks them.
"""

from __future__ import annotations

import logging
import signal
from collections.abc import Generator, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import final

from features.extractors import Extractor
from features.job.batches import ModelBatches
from features.job.config import PrecomputeConfig
from features.job.pool import Idle, Lost, Received, WorkerPool
from features.job.result import ClipResult, FileResult, FileTask, JobReport
from features.job.worker import FileEnd, FileFailure, WorkerSetup
from features.media import FAILED, TIMED_OUT

log = logging.getLogger(__name__)


@final
class Extraction:
    """One run over some files."""

    def __init__(
        self, extractors: Mapping[str, Extractor], setup: WorkerSetup, workers: int, report: JobReport
    ) -> None:
        """Shared extractors run here, others in the workers; the report's clips and retries are kept current."""
        self._shared = {stream: extractor for stream, extractor in extractors.items() if extractor.shared}
        self._pool: WorkerPool[FileTask] = WorkerPool(setup, workers, setup.config.timeout)
        self._models = ModelBatches(self._shared, setup.config.run.batch_size)
        self._in_flight: dict[FileTask, FileResult] = {}  # whose workers still send
        self._config, self._report = setup.config, report

    def results(self, tasks: Iterable[FileTask]) -> Generator[FileResult | None]:
        """Each file as it is complete or has failed; None at least every second while no model runs."""
        with self._pool as pool:
            for task in tasks:
                pool.submit(task)
            for event in pool.events():
                if isinstance(event, Idle):
                    yield from self._run_models()
                    yield None
                else:
                    yield from self._after(event)
            yield from self._run_models()

    def _after(self, event: Received[FileTask] | Lost[FileTask]) -> Iterator[FileResult]:
        file = self._in_flight.setdefault(event.task, FileResult(event.task))
        message = event.message if isinstance(event, Received) else event
        if not isinstance(message, ClipResult):
            file.decoded = True
            del self._in_flight[event.task]
        if file.failed:  # here, while its worker went on
            return
        match message:
            case ClipResult():
                file.clips.append(message)
                if self._shared.keys().isdisjoint(file.task.streams):
                    self._count(message)
                    return
                file.pending += 1
                self._models.add(file, message)
                if self._models.full:
                    yield from self._run_models()
            case FileEnd():
                file.stamp, file.sha256 = message
                if file.complete:
                    yield file
            case FileFailure(reason, trace):
                if trace:
                    log.error("an extractor failed on %s\n%s", file.task.path, trace)
                yield self._fail(file, FAILED, reason)
            case Lost():
                yield from self._retry(file, message)

    def _run_models(self) -> Iterator[FileResult]:
        for file, clip, reason in self._models.run():
            if file.failed:  # for an earlier clip of this batch
                continue
            if reason:
                yield self._fail(file, FAILED, reason)
                continue
            file.pending -= 1
            self._count(clip)
            if file.complete:
                yield file

    def _count(self, clip: ClipResult) -> None:
        self._report.clips_so_far += 1
        self._report.seconds_so_far += clip.clip.span.end_s - clip.clip.span.start_s

    def _retry(self, file: FileResult, lost: Lost[FileTask]) -> Iterator[FileResult]:
        """Put a file whose worker is lost back at the end of the queue, or let it fail."""
        task, reason = file.task, _reason(lost, self._config)
        if task.attempt > self._config.retries:
            yield self._fail(file, TIMED_OUT if lost.how == "timed out" else FAILED, reason)
            return
        log.info("%s %s; it is tried again when the others are done", task.path, reason)
        self._models.drop(file)
        self._report.retried += 1
        self._pool.submit(replace(task, attempt=task.attempt + 1))

    def _fail(self, file: FileResult, verdict: str, reason: str) -> FileResult:
        self._models.drop(file)
        file.fail(verdict, reason)
        return file


def _reason(lost: Lost[FileTask], config: PrecomputeConfig) -> str:
    if lost.how == "timed out":
        return f"gave no result within {config.timeout:g} s (--timeout)"
    if lost.how == "out of memory":
        return f"needs more than {config.memory:g} GB of memory (--memory)"
    code = lost.exit_code
    name = f", {signal.Signals(-code).name}" if -code in set(signal.Signals) else ""
    return f"its worker process crashed (exit code {code}{name})"
