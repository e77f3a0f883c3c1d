"""The precompute job: videos x extractors -> store. Resumable, isolated, with a reason for each failed file.

    files --> workers: decode once, run their own extractors --> clips --> shared models, in batches --> store
              limits of time and memory                          here: one process, one thread

Workers decode while models run here. A clip that the models are not ready for stays in its worker's pipe and
blocks the worker. A failed file costs one row; one whose worker is lost is tried again when the others are done.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import final

from features.extractors import LOOKS, Extractor, Fingerprint, make_extractor, resolve
from features.job.changes import OnFile, find_changes, write_changes
from features.job.config import PrecomputeConfig
from features.job.result import Changes, FileTask, JobReport
from features.job.scheduler import Extraction
from features.job.worker import WorkerSetup
from features.media import Library
from features.store import STORE_FILE, FeatureStore, StoreWriter, Work, are_failures, clear_overwritten, declare

MODEL_SHARE = 4  # where a model runs on the CPU, one core in so many decodes

OnReport = Callable[[JobReport], None]


def declare_streams(directory: Path, config: PrecomputeConfig) -> None:
    """Declare the streams of later jobs in a store, new or not; no weights are loaded.

    Raises:
        InputError: a model is not there, or the store does not take these streams.
    """
    extractors = {spec.stream: make_extractor(spec, config.run) for spec in map(resolve, config.words)}
    declare(directory, fingerprints_of(extractors), config.clip_seconds, overwrite=False)


def fingerprints_of(extractors: Mapping[str, Extractor], *, first_look: bool = False) -> dict[str, Fingerprint]:
    """By stream; those of a first look are others, so that no store takes both."""
    made_by = {stream: extractor.fingerprint for stream, extractor in extractors.items()}
    if not first_look:
        return made_by
    return {name: replace(each, parameters={**each.parameters, **LOOKS}) for name, each in made_by.items()}


@final
class Job:
    """A library, a store and settings, ready to run."""

    def __init__(
        self,
        library: Library,
        directory: Path,
        config: PrecomputeConfig,
        on_compared: OnFile = lambda *_: None,
        *,
        first_look: bool = False,
        cores: int | None = None,
        run: str = "",
    ) -> None:
        """Prepare the store and list the files that lack streams; of `redo`, all that the library has.

        Models are loaded first: no store is made for streams that cannot be. Raises InputError where a model
        cannot be used, the store does not take these streams, or another job is extracting them.
        ``on_compared``: called after each file that was read to see whether it has changed, as of `find_changes`.
        ``first_look``: read one frame a clip; the store takes no streams of whole clips.
        ``cores``: that it may use; default: all. ``run``: as of `Work`.
        """
        self.config, self.directory, self.first_look, self._cores = config, directory, first_look, cores
        self._writer: StoreWriter | None = None
        self.specs = tuple(resolve(word) for word in config.words)
        self.extractors = {spec.stream: make_extractor(spec, config.run) for spec in self.specs}
        store = self._before = FeatureStore(directory) if (directory / STORE_FILE).is_file() else None
        self.changes = Changes() if store is None or config.redo else find_changes(library, store, on_compared)
        done: dict[str, set[str]] = {stream: set() for stream in self.extractors}
        if store is not None and not (config.overwrite or config.redo):
            done |= {stream: store.done(stream) for stream in done if stream in store.manifest.streams}
        old = self.changes.source
        lacks = {video: tuple(name for name in done if old(video) not in done[name]) for video in library.videos}
        missing = {video: streams for video, streams in lacks.items() if streams}
        failed: set[str] = set()
        if store is not None and config.skip_failed:
            failed = set(store.rows["video"][are_failures(store.rows)]) - self.changes.changed
        self.tasks = [FileTask(library.root, video, missing[video]) for video in missing if video not in failed]
        streams_of = {task.video: task.streams for task in self.tasks}
        self.work = Work(set().union(*streams_of.values()), list(streams_of), run)
        if store is not None and self.tasks:
            self.work.refuse_running(directory)  # before models are loaded
        if missing or store is None or not done.keys() <= store.manifest.streams.keys():
            for extractor in self.extractors.values():
                extractor.load()
        fingerprints = fingerprints_of(self.extractors, first_look=first_look)
        clip_seconds, overwrite = config.clip_seconds, config.overwrite
        self.manifest = declare(directory, fingerprints, clip_seconds, overwrite=overwrite, work=self.work)
        if config.overwrite:
            clear_overwritten(directory, self.manifest)
        self._kept = set(store.clips["video"]) if store is not None and config.redo else set()
        self.report = JobReport(len(library.videos), len(library.videos) - len(missing), changes=self.changes)
        self.report.skipped = len(missing) - len(self.tasks)

    def run(self, on_file: OnReport, on_tick: OnReport = lambda _: None) -> JobReport:
        """Extract what is missing.

        Whatever ends it, also what a callback raises, such as a KeyboardInterrupt, the files that are done are in
        the store afterwards, and the worker processes have ended. ``on_file`` is called after each file with the
        report so far, ``on_tick`` every second or so while no model runs.
        """
        # the writer also clears what a killed job left
        with StoreWriter(self.directory, self.manifest, self.work) as writer:
            if self._before is not None:
                overwritten = self.extractors if self.config.overwrite else ()
                write_changes(self.changes, writer, self._before, overwritten)
                self._before = None  # its rows take memory
            if not self.tasks:
                return self.report
            self._writer, setup = writer, WorkerSetup(self.specs, self.config, self.first_look)
            extraction = Extraction(self.extractors, setup, self._workers(), self.report)
            with closing(extraction.results(self.tasks)) as results:
                for result in results:
                    kept = result is not None and result.failed and result.task.video in self._kept
                    writer.add([] if result is None or kept else result.records(self.changes.changed))
                    if result is None:  # also then: what has waited long is written
                        on_tick(self.report)
                    else:
                        self.report.add(result.outcome)
                        on_file(self.report)
        return self.report

    def flush(self) -> None:
        """Called within a callback of `run`: all files that are done are in the store afterwards."""
        if self._writer is not None:
            self._writer.flush()

    def _workers(self) -> int:
        """How many processes decode."""
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        cores = self._cores or cores
        device = self.config.run.device if any(each.shared for each in self.extractors.values()) else ""
        if device == "auto":
            import torch

            device = "cuda" if torch.cuda.is_available() else "cpu"
        default = max(1, cores // MODEL_SHARE) if device == "cpu" else cores
        return min(self.config.workers or default, len(self.tasks))
