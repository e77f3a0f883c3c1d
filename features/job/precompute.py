"""The precompute job: videos x extractors -> store. Resumable, isolated, with a reason for each failed file.

    files --> workers: decode once, run their own extractors --> clips --> shared models, in batches --> store
              limits of time and memory                          here: one process, one thread

Workers decode while models run here. A clip that the models are not ready for stays in its worker's pipe and
blocks the worker. A failed file costs one row; one whose worker is lost is tried again when the others are done.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import final

from features.extractors import make_extractor, resolve
from features.job.changes import Changes, OnFile, find_changes
from features.job.config import PrecomputeConfig
from features.job.result import FileTask, JobReport
from features.job.scheduler import Extraction
from features.job.worker import WorkerSetup
from features.media import Library
from features.store import STORE_FILE, FeatureStore, StoreWriter, Work, are_failures, clear_overwritten, declare

MODEL_SHARE = 4  # where a model runs on the CPU, one core in so many decodes

OnReport = Callable[[JobReport], None]


@final
class Job:
    """A library, a store and settings, ready to run."""

    def __init__(
        self, library: Library, directory: Path, config: PrecomputeConfig, on_compared: OnFile = lambda *_: None
    ) -> None:
        """Prepare the store and list the files that lack streams; of `redo`, all that the library has.

        Models are loaded first: no store is made for streams that cannot be. Raises InputError where a model
        cannot be used, the store does not take these streams, or another job is extracting them.
        ``on_compared``: called after each file that was read to see whether it has changed, as of `find_changes`.
        """
        self.config, self.directory = config, directory
        self.specs = tuple(resolve(word) for word in config.words)
        self.extractors = {spec.stream: make_extractor(spec, config.run) for spec in self.specs}
        store = self._before = FeatureStore(directory) if (directory / STORE_FILE).is_file() else None
        self.changes = Changes() if store is None or config.redo else find_changes(library, store, on_compared)
        done: dict[str, set[str]] = {stream: set() for stream in self.extractors}
        if store is not None and not (config.overwrite or config.redo):
            done |= {stream: store.done(stream) for stream in done if stream in store.manifest.streams}
        sources = {video: self.changes.source(video) for video in library.videos}
        lacks = {
            video: tuple(stream for stream in done if old not in done[stream]) for video, old in sources.items()
        }
        missing = {video: streams for video, streams in lacks.items() if streams}
        failed: set[str] = set()
        if store is not None and config.skip_failed:
            failed = set(store.rows["video"][are_failures(store.rows)]) - self.changes.changed
        self.tasks = [FileTask(library.root, video, missing[video]) for video in missing if video not in failed]
        streams_of = {task.video: task.streams for task in self.tasks}
        self.work = Work(set().union(*streams_of.values()), list(streams_of))
        if store is not None and self.tasks:
            self.work.refuse_running(directory)  # before models are loaded
        if missing or store is None or not done.keys() <= store.manifest.streams.keys():
            for extractor in self.extractors.values():
                extractor.load()
        fingerprints = {stream: extractor.fingerprint for stream, extractor in self.extractors.items()}
        clip_seconds, overwrite = config.clip_seconds, config.overwrite
        self.manifest = declare(directory, fingerprints, clip_seconds, overwrite=overwrite, work=self.work)
        if config.overwrite:
            clear_overwritten(directory, self.manifest)
        self._kept = set(store.clips["video"]) if store is not None and config.redo else set()
        self.report = JobReport(len(library.videos), len(library.videos) - len(missing), changes=self.changes)
        self.report.skipped = len(missing) - len(self.tasks)

    def run(self, on_file: OnReport, on_tick: OnReport = lambda _: None) -> JobReport:
        """Extract what is missing.

        Whatever ends it, also a KeyboardInterrupt, the files that are done are in the store afterwards, and the
        worker processes have ended. ``on_file`` is called after each file with the report so far, ``on_tick``
        every second or so while no model runs.
        """
        # the writer also clears what a killed job left
        with StoreWriter(self.directory, self.manifest, self.work) as writer:
            if self._before is not None:
                self.changes.write(writer, self._before, self.extractors if self.config.overwrite else ())
                self._before = None  # its rows take memory
            if not self.tasks:
                return self.report
            setup = WorkerSetup(self.specs, self.config)
            extraction = Extraction(self.extractors, setup, self._workers(), self.report)
            for result in extraction.results(self.tasks):
                kept = result is not None and result.failed and result.task.video in self._kept
                writer.add([] if result is None or kept else result.records(self.changes.changed))
                if result is None:  # also then: what has waited long is written
                    on_tick(self.report)
                else:
                    self.report.add(result.outcome)
                    on_file(self.report)
        return self.report

    def _workers(self) -> int:
        """How many processes decode."""
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        device = self.config.run.device if any(each.shared for each in self.extractors.values()) else ""
        if device == "auto":
            import torch

            device = "cuda" if torch.cuda.is_available() else "cpu"
        default = max(1, cores // MODEL_SHARE) if device == "cpu" else cores
        return min(self.config.workers or default, len(self.tasks))
