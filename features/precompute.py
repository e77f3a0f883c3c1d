"""The precompute job: videos x extractors -> store. It resumes, isolates, and says what failed.

Decoding and extraction run in worker processes with a time and a memory limit; this process only hands out files
and writes shards. A file that fails costs one row.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, TimeoutError, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from multiprocessing import resource_tracker
from pathlib import Path

from pebble import ProcessExpired, ProcessPool

from features.clip import DEGRADED, FAILED, TIMED_OUT
from features.config import PrecomputeConfig
from features.errors import InputError, MediaError
from features.manifest import declare
from features.media_library import Library
from features.record import ClipRecord
from features.registry import make_extractor
from features.store import FeatureStore
from features.store_writer import StoreWriter, clear_overwritten
from features.worker import FileTask, extract_file, start_worker

log = logging.getLogger(__name__)


@dataclass(frozen=True)
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
        return self.verdict in (FAILED, TIMED_OUT)


@dataclass
class JobReport:
    """What a job did."""

    files: int  # in the library
    already: int  # of these, done before the job began
    outcomes: list[Outcome] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)  # done before, but the file has another size now

    @property
    def clips(self) -> int:
        """Clips that were extracted."""
        return sum(outcome.clips for outcome in self.outcomes)

    @property
    def seconds(self) -> float:
        """Seconds of video that were read."""
        return sum(outcome.seconds for outcome in self.outcomes)

    @property
    def failures(self) -> list[Outcome]:
        """Files that gave no clips."""
        return [outcome for outcome in self.outcomes if outcome.failed]

    @property
    def degraded(self) -> list[Outcome]:
        """Files that could be read in part."""
        return [outcome for outcome in self.outcomes if outcome.verdict == DEGRADED]


class Job:
    """A library, a store and settings, ready to run."""

    def __init__(self, library: Library, directory: Path, config: PrecomputeConfig) -> None:
        """Prepare the store and find out what is left to do.

        Raises:
            InputError: an extractor or reader is unknown, or the store does not take these streams.
        """
        self.config = config
        fingerprints = {stream: make_extractor(stream).fingerprint for stream in config.streams}
        self.manifest = declare(directory, fingerprints, config.clip_seconds, overwrite=config.overwrite)
        if config.overwrite:
            clear_overwritten(directory, self.manifest)
        self.directory = directory
        store = FeatureStore(directory)
        self.tasks = list(_left_to_do(library, store, config))
        self.report = JobReport(len(library.videos), len(library.videos) - len(self.tasks))
        self.report.changed = _changed(library, store, {task.video for task in self.tasks})

    def run(self, on_file: Callable[[JobReport], None]) -> JobReport:
        """Do what is left.

        Whatever ends it, a KeyboardInterrupt too, the clips that are done are in the store afterwards.

        Args:
            on_file: called after each file with the report so far.

        Raises:
            InputError: worker processes end although no file is to blame.
        """
        with StoreWriter(self.directory, self.manifest) as writer:  # it also clears what a killed job left
            for task, future in self._extracted() if self.tasks else ():
                records = _records_of(task, future, self.config)
                writer.add(records)
                self.report.outcomes.append(_outcome(task, records))
                on_file(self.report)
        return self.report

    def _extracted(self) -> Iterator[tuple[FileTask, Future[list[ClipRecord]]]]:
        """Tasks with their finished futures, in order of finishing; a few are under way at a time."""
        workers = min(self.config.workers or os.cpu_count() or 1, len(self.tasks))
        pool = ProcessPool(
            max_workers=workers,
            initializer=start_worker,
            initargs=(self.config.reader, self.config.memory, os.getpid()),
            context=multiprocessing.get_context("spawn"),
        )
        try:
            _start(pool)
            under_way: dict[Future[list[ClipRecord]], FileTask] = {}
            waiting = iter(self.tasks)
            while True:
                while len(under_way) < 2 * workers and (task := next(waiting, None)):
                    under_way[pool.schedule(extract_file, args=[task], timeout=self.config.timeout)] = task
                if not under_way:
                    break
                for future in wait(under_way, return_when=FIRST_COMPLETED).done:
                    if isinstance(broken := future.exception(), BrokenProcessPool):
                        raise broken
                    yield under_way.pop(future), future
        except RuntimeError as error:  # of the pool: it takes no more tasks, or lost a worker that had none
            raise InputError(
                "the worker processes end before they read a file; give them more memory (--memory), or try fewer "
                "(--workers)"
            ) from error
        finally:
            pool.stop()  # type: ignore[no-untyped-call]
            pool.join()


def _start(pool: ProcessPool) -> None:
    """Start the workers with SIGINT blocked, so that Ctrl-C in a terminal reaches this process alone.

    They inherit the mask, and so do the pool's threads, which start those that take the place of dead ones.
    """
    resource_tracker.ensure_running()  # started later, it would lift the mask
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        if not pool.active:
            raise RuntimeError("the pool did not start")
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _left_to_do(library: Library, store: FeatureStore, config: PrecomputeConfig) -> Iterator[FileTask]:
    done = {stream: store.done(stream) for stream in config.streams}
    for video in library.videos:
        streams = tuple(stream for stream in config.streams if video not in done[stream])
        if streams:
            yield FileTask(library.root / video, video, streams, config.reader, config.clip_seconds)


def _changed(library: Library, store: FeatureStore, to_do: set[str]) -> list[str]:
    """Videos that are done, but whose file has another size than then."""
    then = dict(zip(store.rows["video"], store.rows["file_bytes"]))
    return [
        video
        for video in library.videos
        if video not in to_do and (library.root / video).stat().st_size != then[video]
    ]


def _records_of(task: FileTask, future: Future[list[ClipRecord]], config: PrecomputeConfig) -> list[ClipRecord]:
    """What the worker sent; where it failed, the one record that says why."""
    try:
        return future.result()
    except TimeoutError:
        return [_failure(task, TIMED_OUT, f"gave no result within {config.timeout:g} s (--timeout)")]
    except MemoryError:
        return [_failure(task, FAILED, f"needs more than {config.memory:g} GB of memory (--memory)")]
    except ProcessExpired as error:
        return [_failure(task, FAILED, f"its worker process crashed (exit code {error.exitcode})")]
    except (MediaError, OSError) as error:
        return [_failure(task, FAILED, str(error))]
    except Exception as error:
        log.exception("an extractor failed on %s", task.path)
        return [_failure(task, FAILED, " ".join(f"{type(error).__name__}: {error}".split()))]


def _failure(task: FileTask, verdict: str, reason: str) -> ClipRecord:
    size = task.path.stat().st_size if task.path.exists() else 0
    return ClipRecord(
        clip_id=task.video,
        video=task.video,
        start_s=0.0,
        end_s=0.0,
        verdict=verdict,
        note=reason,
        reader="",
        clips_of_video=0,
        file_bytes=size,
    )


def _outcome(task: FileTask, records: Sequence[ClipRecord]) -> Outcome:
    """One file's verdict: that of its worst clip."""
    worst = next((r for r in records if r.verdict in (FAILED, TIMED_OUT, DEGRADED)), records[0])
    clips = 0 if worst.verdict in (FAILED, TIMED_OUT) else len(records)
    return Outcome(task.video, worst.verdict, worst.note, clips, sum(r.end_s - r.start_s for r in records))
