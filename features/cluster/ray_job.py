"""A job on a Ray cluster: the library is cut into shards by hash, and each is the ordinary job in one Ray task.

    driver: shards --> tasks: Job(shard).run() --> store, on a file system that all nodes share
              ^------- reports, once a second, through an actor beside the driver

No frame and no array passes through Ray's object store. A task whose node is lost is run again on another one,
where its job goes on from what the store has. Where the driver is lost, Ray ends its tasks; the next run goes on.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, final
from uuid import uuid4

from features.cluster.nodes import Share, check_nodes, share_of
from features.errors import InputError
from features.extractors import make_extractor, resolve
from features.job import Changes, Job, JobReport, Outcome, PrecomputeConfig, Shard, declare_streams
from features.media import Library
from features.store import Manifest, StoreWriter, Work

SHARDS_A_TASK = 4  # of those that run at a time: the last ones to end are shorter, and less is done again
RETRIES = 10  # times that a shard is run again because its node was lost
TELL_S = 1.0  # between reports
STOP_S = 30.0  # that tasks have to write what is done when they are cancelled
EARLIER_S = 90.0  # until tasks of an earlier run have ended whose cluster was lost

OnReport = Callable[[JobReport], None]


def run_on_ray(
    library: Library,
    directory: Path,
    config: PrecomputeConfig,
    on_start: Callable[[str], None],
    on_report: OnReport,
) -> JobReport:
    """Extract what is missing, on the cluster that is `connected`; returns the report of all shards.

    ``on_start``: called with a sentence about the shards; ``on_report``: every second with the report so far.
    Whatever ends it, also a KeyboardInterrupt, the files that are done are in the store, and the tasks have ended.

    Raises:
        InputError: as of `Job`; or a node lacks the library, the store or this version of mee, or nodes were lost
            too often.
    """
    library, directory = replace(library, root=library.root.absolute()), directory.absolute()
    declare_streams(directory, config)
    check_nodes(library, directory)
    specs = [resolve(word) for word in config.words]
    gpu = config.run.device != "cpu" and any(make_extractor(spec, config.run).shared for spec in specs)
    share = share_of(config.workers, gpu)
    _await_earlier(Work({spec.stream for spec in specs}, library.videos), directory)
    wanted = min(len(library.videos), SHARDS_A_TASK * share.tasks)
    every = [Shard(index, wanted) for index in range(wanted)]
    shards = [replace(library, videos=tuple(filter(each.holds, library.videos))) for each in every]
    shards = [each for each in shards if each.videos]
    on_start(f"{len(shards)} shards, {min(share.tasks, len(shards))} at a time, {share.cpus} CPUs each")
    report = _run(shards, directory, config, share, _Gathered(len(library.videos)), on_report)
    StoreWriter(directory, Manifest.read(directory)).close()  # clears what lost nodes left
    return report


def _await_earlier(work: Work, directory: Path) -> None:
    end = time.monotonic() + EARLIER_S
    while True:
        try:
            return work.refuse_running(directory)
        except InputError:
            if time.monotonic() > end:
                raise
        time.sleep(TELL_S)


def _run(
    shards: list[Library],
    directory: Path,
    config: PrecomputeConfig,
    share: Share,
    gathered: _Gathered,
    on_report: OnReport,
) -> JobReport:
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    run = uuid4().hex
    beside_us = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=True)
    remote: Any = ray.remote
    actor = remote(num_cpus=0, max_restarts=-1, max_task_retries=-1, scheduling_strategy=beside_us)
    board = actor(_Board).remote()
    task = remote(num_cpus=share.cpus, num_gpus=share.gpus, max_retries=RETRIES, scheduling_strategy="SPREAD")
    start = task(_run_shard).remote
    about = (directory, config, share.cpus, run, board)
    pending = {start(shard, number, *about): number for number, shard in enumerate(shards)}
    try:
        while pending:
            done, _ = ray.wait(list(pending), timeout=TELL_S)
            for told in ray.get(board.take.remote()):
                gathered.take(*told)
            for ref in done:
                gathered.take(pending[ref], *ray.get(ref))
                del pending[ref]
            on_report(gathered.report)
    except ray.exceptions.RayTaskError as error:
        raise error.cause if isinstance(error.cause, InputError) else error from error
    except ray.exceptions.RayError as error:
        raise InputError(
            f"--ray: a shard was lost with its node or process ({RETRIES} retries; {type(error).__name__}); what "
            "is done is in the store, and the same command goes on from there"
        ) from error
    finally:
        for ref in pending:
            ray.cancel(ref, force=False)
        if pending:
            ray.wait(list(pending), num_returns=len(pending), timeout=STOP_S)
    return gathered.report


def _run_shard(
    library: Library, number: int, directory: Path, config: PrecomputeConfig, cores: int, run: str, board: Any
) -> tuple[str, JobReport]:
    """In a process of Ray: one job; returns the name of this attempt, and the job's report."""
    sys.modules["__main__"].__file__ = None  # it is Ray's, and the processes that decode would load it again
    attempt, sent, last = uuid4().hex, 0, 0.0
    job = Job(library, directory, config, cores=cores, run=run)

    def tell(report: JobReport) -> None:
        nonlocal sent, last
        if (now := time.monotonic()) >= last + TELL_S:
            changes = Changes() if last else report.changes
            news = replace(report, outcomes=report.outcomes[sent:], failures=[], degraded=[], changes=changes)
            board.tell.remote(number, attempt, news)
            sent, last = len(report.outcomes), now

    tell(job.report)
    return attempt, job.run(tell, tell)


class _Board:
    """The actor that jobs tell their reports, and the driver asks."""

    def __init__(self) -> None:
        self._told: list[tuple[int, str, JobReport]] = []

    def tell(self, number: int, attempt: str, news: JobReport) -> None:
        """Outcomes are those since the last report."""
        self._told.append((number, attempt, news))

    def take(self) -> list[tuple[int, str, JobReport]]:
        """What was told since the last time."""
        told, self._told = self._told, []
        return told


@final
class _Gathered:
    """The reports of all shards as one; of a file that was read again after its node was lost the last counts."""

    def __init__(self, files: int) -> None:
        self.report = JobReport(files, 0)
        self._firsts: dict[int, JobReport] = {}  # of each shard, when it was begun
        self._lasts: dict[str, JobReport] = {}  # of each attempt
        self._outcomes: dict[str, Outcome] = {}

    def take(self, number: int, attempt: str, news: JobReport) -> None:
        """Add a report: its outcomes are new, or known; other numbers are of its attempt so far."""
        if number not in self._firsts:
            self._firsts[number] = news
            for kind in ("changed", "touched", "taken"):
                getattr(self.report.changes, kind).update(getattr(news.changes, kind))
        self._lasts[attempt] = replace(news, outcomes=[])
        for outcome in news.outcomes:
            self._add(outcome)
        begun = sum(each.files for each in self._firsts.values())
        for name in ("already", "skipped"):  # hashing cuts evenly: of all shards as of those that were begun
            known = sum(getattr(each, name) for each in self._firsts.values())
            setattr(self.report, name, round(known * self.report.files / begun))
        for name in ("clips_so_far", "seconds_so_far", "retried"):
            setattr(self.report, name, sum(getattr(each, name) for each in self._lasts.values()))

    def _add(self, outcome: Outcome) -> None:
        known = self._outcomes.get(outcome.video)
        self._outcomes[outcome.video] = outcome
        if known is None:
            self.report.add(outcome)
        elif known != outcome:
            self.report.outcomes, self.report.failures, self.report.degraded, self.report.clips = [], [], [], 0
            for each in self._outcomes.values():
                self.report.add(each)
