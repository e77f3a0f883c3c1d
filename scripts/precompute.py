"""Extract streams from a folder of videos into a feature store.

example:
  mee precompute videos/ store/
  mee precompute film.mkv store/ --streams appearance audio --clip-seconds 5
  mee precompute videos/ store/ --streams face appearance=facebook/dinov2-base sound=laion/clap-htsat-unfused
  srun mee precompute videos/ store/ --shard env
  mee precompute videos/ store/ --ray head:6379

to know:
  Run it again to resume a stopped run, to add new videos, to read changed ones again, and to retry what failed.
  A file that was renamed or moved keeps its streams; mee store prune drops what is gone.
  Jobs with different shards may write one store at the same time; a file keeps its shard while a library grows.
  With --ray (pip install 'mee[ray]') all nodes have the same mee, and see VIDEOS and STORE at the same paths. A
  shard whose node is lost runs again on another one. Of logs, those of Ray have what jobs say.
  Ctrl-C (exit code 130) and SIGTERM (143) stop it cleanly. Exit code 3: failures are listed.
"""

from __future__ import annotations

import os
import re
import shlex
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from tyro.conf import OmitArgPrefixes, Positional, arg

from features.errors import InputError
from features.extractors import PRESETS
from features.job import PrecomputeConfig, Shard
from features.media import Selection
from mee.errors import count
from scripts.console import DONE, FAILURES_LISTED, counting_bar, job_progress, parse, print_table, resumable, say
from scripts.store import print_coverage

if TYPE_CHECKING:
    from features.job import JobReport

ENVIRONMENT = "env"


def parse_shard(text: str, environment: Mapping[str, str]) -> Shard:
    """The share that a command line requests: ``i/n``, or ``env``.

    Raises:
        InputError: ``env``, and the environment names no share.
        ValueError: it is neither.
    """
    if text != ENVIRONMENT:
        match = re.fullmatch(r"([0-9]+)/([0-9]+)", text)
        if match is None:
            raise ValueError(f"shard must be i/n, such as 0/4, or env; got '{text}'")
        return Shard(int(match[1]), int(match[2]))
    names = ("RANK", "WORLD_SIZE") if "RANK" in environment else ("SLURM_PROCID", "SLURM_NTASKS")
    index, count = (environment.get(name, "") for name in names)
    example = "0/4"
    if "SLURM_ARRAY_TASK_ID" in environment and "RANK" not in environment:
        reason, example = "elements of a job array", "$SLURM_ARRAY_TASK_ID/4 with --array=0-3"
    elif names[0] not in environment:
        reason = "neither RANK (torchrun) nor SLURM_PROCID (srun) is set here"
    elif not all(re.fullmatch(r"[0-9]{1,9}", value) for value in (index, count)) or int(index) >= int(count):
        reason = f"{names[0]} is '{index}' and {names[1]} '{count}', not i below n"
    else:
        return Shard(int(index), int(count))
    raise InputError(f"--shard env: {reason}; name the share, such as --shard {example}")


@dataclass(frozen=True, kw_only=True)
class PrecomputeArgs:
    """Arguments of mee precompute."""

    videos: Annotated[Positional[Path], arg(metavar="VIDEOS")]  # a folder of videos and still images, or one file
    store: Annotated[Positional[Path], arg(metavar="STORE")]  # the feature store, created if it does not exist
    shard: str | None = None  # a share of the files: i/n with i from 0; or env: as set by torchrun or Slurm
    ray: Annotated[tuple[()] | tuple[str] | None, arg(metavar="[ADDRESS]")] = None  # on a Ray cluster: HOST:PORT
    select: OmitArgPrefixes[Selection] = field(default_factory=Selection)
    job: OmitArgPrefixes[PrecomputeConfig] = field(default_factory=PrecomputeConfig)

    def __post_init__(self) -> None:
        if self.shard is not None and self.job.overwrite:
            raise ValueError("overwrite and shard exclude each other: each job would undo what the others write")
        if self.ray is not None and (self.shard is not None or self.job.overwrite):
            raise ValueError("ray excludes shard, and overwrite: each shard would undo what the others write")
        if self.shard not in (None, ENVIRONMENT):
            parse_shard(str(self.shard), {})


@resumable
def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    presets = (
        f"  {name:<8} {preset.purpose}"
        + (f"; downloads {preset.megabytes / 1000:.1f} GB once" if preset.megabytes else "")
        for name, preset in PRESETS.items()
    )
    about = "\n".join([(__doc__ or "").strip(), "", "presets:", *presets])
    args = parse(PrecomputeArgs, "precompute", argv, about)

    from features.job import Job
    from features.media import find_media
    from features.store import FeatureStore, gone_from
    from mee.data import Names

    shard = Shard() if args.shard is None else parse_shard(args.shard, os.environ)
    library = find_media(args.videos, args.select)
    if library.ignored:
        say(f"ignored: {library.others}")
    if args.job.redo:
        names = Names({video: video for video in library.videos}, f"'{library.root}'")
        library = replace(library, videos=tuple(dict.fromkeys(names.need(each, "file") for each in args.job.redo)))
    if args.shard is not None:
        videos = tuple(video for video in library.videos if shard.holds(video))
        say(f"shard {shard.index}/{shard.count}: {len(videos)} of {len(library.videos)} files")
        library = replace(library, videos=videos)
    if args.ray is None:
        with counting_bar("compare with the store", "files") as on_compared:
            job = Job(library, args.store, args.job, on_compared)
        _say_known(job.report)
        report = _shown(lambda show: job.run(show, show))
    else:
        from features.cluster import connected, run_on_ray

        with connected(*args.ray):
            report = _shown(lambda show: run_on_ray(library, args.store, args.job, say, show))
        _say_known(report)
    _print_failures(report)
    store = FeatureStore(args.store)
    if args.videos.is_dir() and (gone := gone_from([args.videos], store, args.select, library.videos)):
        words = [args.store, args.videos, *(("--exclude", *args.select.exclude) if args.select.exclude else ())]
        prune = f"mee store prune {shlex.join(map(str, words))}"
        gone_files = f"{count(len(gone), 'file')} of the store"
        say(f"{gone_files} no longer in the folder, such as '{gone[0]}'; to drop: {prune}")
    print_coverage(store)
    return FAILURES_LISTED if report.failures else DONE


def _say_known(report: JobReport) -> None:
    """What need not be extracted, or once more."""
    if report.already:
        say(f"{report.already} of {report.files} files are in the store already")
    if changed := sorted(report.changes.changed):
        say(f"{count(len(changed), 'file')} changed since the last run, such as '{changed[0]}': extracted again")
    if taken := [f"{old} -> {new}" for new, (old, _) in report.changes.taken.items()]:
        say(f"{count(len(taken), 'file')} renamed or copied, such as {taken[0]}: their streams are kept")
    if report.skipped:
        say(f"{report.skipped} files failed before and are skipped (--skip-failed)")


def _shown(run: Callable[[Callable[[JobReport], None]], JobReport]) -> JobReport:
    """Run the job behind a line of progress."""
    started = time.monotonic()
    with job_progress() as show:
        report = run(show)
    if files := len(report.outcomes):
        failed, took = len(report.failures), time.monotonic() - started
        again = f", {report.retried} tried once more" if report.retried else ""
        say(f"{report.clips} clips of {files - failed} files in {took:.1f} s, {failed} files failed{again}")
    return report


def _print_failures(report: JobReport) -> None:
    rows = [[o.video, o.verdict, o.note] for o in (*report.failures, *report.degraded)]
    if rows:
        print_table("could not be read, or not whole", ["file", "verdict", "why"], rows, words=3)
        print()
