"""The precompute job: videos x extractors -> store. Resumable, isolated, with a reason for each failed file.

    files --> workers: decode once, run their own extractors --> clips --> shared models, in batches --> store
              limits of time and memory                          here: one process, one thread

Workers decode while models run here. A clip that the models are not ready for stays in its worker's pipe and blocks
the worker. A failed file costs one row; one whose worker is lost is tried again when the others are done.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import final

from features.errors import InputError
from features.extractors import ExtractorSpec, RunConfig, known_extractors, make_extractor, resolve
from features.job.config import PrecomputeConfig
from features.job.result import FAILURES, FileTask, JobReport
from features.job.scheduler import Extraction
from features.job.worker import WorkerSetup
from features.media import Library, size_of
from features.store import STORE_FILE, FeatureStore, StoreWriter, clear_overwritten, declare

MODEL_SHARE = 4  # where a model runs on the CPU, one core in so many decodes

OnReport = Callable[[JobReport], None]


@final
class Job:
    """A library, a store and settings, ready to run."""

    def __init__(self, library: Library, directory: Path, config: PrecomputeConfig) -> None:
        """Prepare the store and list the files that lack streams.

        Models are loaded first: no store is made for streams that cannot be.

        Raises:
            InputError: an extractor or reader is unknown, a model cannot be used, or the store does not take these
                streams.
        """
        self.config, self.directory = config, directory
        self.specs = tuple(_resolved(word) for word in config.words)
        self.extractors = {spec.stream: make_extractor(spec, config.run) for spec in self.specs}
        there = FeatureStore(directory) if (directory / STORE_FILE).is_file() else None
        if config.overwrite or there is None or not _all_done(library, there, tuple(self.extractors)):
            for extractor in self.extractors.values():
                extractor.load()
        fingerprints = {stream: extractor.fingerprint for stream, extractor in self.extractors.items()}
        self.manifest = declare(directory, fingerprints, config.clip_seconds, overwrite=config.overwrite)
        if config.overwrite:
            clear_overwritten(directory, self.manifest)
        store = there if there is not None and there.manifest == self.manifest else FeatureStore(directory)
        to_do = list(_missing(library, store, tuple(self.extractors)))
        failed = _failed_before(store) if config.skip_failed else set()
        self.tasks = [task for task in to_do if task.video not in failed]
        self.report = JobReport(len(library.videos), len(library.videos) - len(to_do))
        self.report.skipped = len(to_do) - len(self.tasks)
        self.report.changed = _changed(library, store, {task.video for task in to_do})

    def run(self, on_file: OnReport, on_tick: OnReport = lambda _: None) -> JobReport:
        """Extract what is missing.

        Whatever ends it, also a KeyboardInterrupt, the files that are done are in the store afterwards, and the
        worker processes have ended.

        Args:
            on_file: called after each file with the report so far.
            on_tick: called every second or so with the same, while no model runs.

        Raises:
            InputError: worker processes end without working on a file, or a model cannot be used.
        """
        with StoreWriter(self.directory, self.manifest) as writer:  # it also clears what a killed job left
            if not self.tasks:
                return self.report
            extraction = Extraction(
                self.extractors, WorkerSetup(self.specs, self.config), self._workers(), self.report
            )
            for result in extraction.results(self.tasks):
                writer.add([] if result is None else result.records())  # also []: what has waited long is written
                if result is None:
                    on_tick(self.report)
                else:
                    self.report.add(result.outcome)
                    on_file(self.report)
        return self.report

    def _workers(self) -> int:
        """How many processes decode."""
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        shared = any(extractor.shared for extractor in self.extractors.values())
        default = max(1, cores // MODEL_SHARE) if shared and _on_cpu(self.config.run) else cores
        return min(self.config.workers or default, len(self.tasks))


def _on_cpu(run: RunConfig) -> bool:
    """Whether models run on the CPU."""
    if run.device != "auto":
        return run.device == "cpu"
    import torch

    return not torch.cuda.is_available()


def _resolved(word: str) -> ExtractorSpec:
    """A word as workers can use it, its model's files found."""
    if "=" not in word and word not in known_extractors():
        known = ", ".join(known_extractors())
        raise InputError(f"no extractor is called '{word}'; there are {known}, or name a model: NAME=OWNER/MODEL")
    return resolve(word)


def _missing(library: Library, store: FeatureStore, streams: tuple[str, ...]) -> Iterator[FileTask]:
    done = {stream: store.done(stream) for stream in streams}
    for video in library.videos:
        left = tuple(stream for stream in streams if video not in done[stream])
        if left:
            yield FileTask(library.root, video, left)


def _all_done(library: Library, store: FeatureStore, streams: tuple[str, ...]) -> bool:
    """Whether a store has these streams of every video."""
    return set(streams) <= set(store.manifest.streams) and not any(_missing(library, store, streams))


def _failed_before(store: FeatureStore) -> set[str]:
    """Videos that failed in their last run."""
    rows = store.rows
    return set(rows["video"][rows["verdict"].isin(FAILURES)])


def _changed(library: Library, store: FeatureStore, to_do: set[str]) -> list[str]:
    """Videos that are done, but whose file has another size than then."""
    then = dict(zip(store.rows["video"], store.rows["file_bytes"]))
    return [
        video
        for video in library.videos
        if video not in to_do and size_of(library.root / video) not in (None, then[video])
    ]
