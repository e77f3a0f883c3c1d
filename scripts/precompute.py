"""Read the streams out of a folder of videos, into a feature store.

example:
  mee precompute videos/ store/
  mee precompute film.mkv store/ --streams appearance audio --clip-seconds 5

Run it again to go on after a stop, to add new videos, and to retry what failed. Exit code 3: failures are listed.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from tyro.conf import OmitArgPrefixes, Positional, arg

from features.config import PrecomputeConfig
from scripts.console import (
    DONE,
    FAILURES_LISTED,
    errors_as_sentences,
    parse,
    print_table,
    progress_console,
    say,
)

if TYPE_CHECKING:
    from features.precompute import Job, JobReport
    from features.store import FeatureStore


@dataclass(frozen=True, kw_only=True)
class PrecomputeArgs:
    """Arguments of mee precompute."""

    videos: Annotated[Positional[Path], arg(metavar="VIDEOS")]  # a folder of videos and still images, or one file
    store: Annotated[Positional[Path], arg(metavar="STORE")]  # the feature store, made if it is not there
    job: OmitArgPrefixes[PrecomputeConfig] = field(default_factory=PrecomputeConfig)


@errors_as_sentences
def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    args = parse(PrecomputeArgs, "precompute", argv, __doc__ or "")

    from features.media_library import find_media
    from features.precompute import Job
    from features.store import FeatureStore

    library = find_media(args.videos)
    if library.ignored:
        others = ", ".join(f"{count} x {suffix}" for suffix, count in library.ignored.most_common(5))
        say(f"not videos or still images, left alone: {others}")
    job = Job(library, args.store, args.job)
    report = _run(job)
    _print_failures(report)
    _print_coverage(FeatureStore(args.store))
    return FAILURES_LISTED if report.failures else DONE


def _run(job: Job) -> JobReport:
    """Run the job behind a progress bar."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    files = len(job.tasks)
    if job.report.already:
        say(f"{job.report.already} of {job.report.files} files are in the store already")
    columns = (
        TextColumn("precompute"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
    )
    begun = time.monotonic()
    with Progress(*columns, console=progress_console(), disable=not files) as progress:
        row = progress.add_task("files", total=files, rate="starting workers")

        def show(report: JobReport) -> None:
            took = time.monotonic() - begun
            rate = f"{report.clips / took:.1f} clips/s, {report.seconds / took:.1f} x real time"
            progress.update(row, advance=1, rate=f"{rate}, {len(report.failures)} failed")

        report = job.run(show)
    if files:
        took = time.monotonic() - begun
        good = files - len(report.failures)
        say(f"{report.clips} clips of {good} files in {took:.1f} s, {len(report.failures)} files failed")
    return report


def _print_failures(report: JobReport) -> None:
    rows = [[o.video, o.verdict, o.note] for o in (*report.failures, *report.degraded)]
    if rows:
        print_table("could not be read, or not whole", ["file", "verdict", "why"], rows, words=3)
        print()
    if report.changed:
        say(
            f"{len(report.changed)} files have another size than when they were extracted, '{report.changed[0]}' "
            "among them; their streams are the old ones until --overwrite"
        )


def _print_coverage(store: FeatureStore) -> None:
    clips = store.clips
    rows = [
        [stream, str(present), str(len(clips) - present), f"{100 * present / max(1, len(clips)):.0f} %"]
        for stream, present in store.coverage().items()
    ]
    title = f"{len(clips)} clips of {clips['video'].nunique()} videos in {store.name}"
    print_table(title, ["stream", "present", "missing", "share"], rows)


if __name__ == "__main__":
    sys.exit(main())
