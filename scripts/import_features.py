"""Take streams that were made elsewhere into a feature store, one file a stream.

example:
  mee import store/ appearance=resnet.npy motion=i3d.h5 face=faces.pickle --ids ids.txt
  mee import store/ audio=vggish.npz --name vggish
  mee import store/ appearance=clips/ --name appearance=clip-vit-b32

Files: .npy .npz .safetensors .h5 .pickle, or a folder of one .npy a clip. One array a clip, (D,) or (T, D), named
after it; or all clips stacked, (N, D) or (N, T, D), with their ids in --ids or in an array `ids`; or what
mee store export wrote. What a file has no entry for is missing. Nothing in a pickle is run. With --name, other
files of the same extractor fit this store and its models later; without, only this file does.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from tyro.conf import OmitArgPrefixes, Positional, arg

from features.external import ImportConfig, extractor_names, named_files
from scripts.console import DONE, errors_as_sentences, parse, print_table, progress_console, say

if TYPE_CHECKING:
    from features.external import ImportReport
    from features.store import FeatureStore


@dataclass(frozen=True, kw_only=True)
class ImportArgs:
    """Arguments of mee import."""

    store: Annotated[Positional[Path], arg(metavar="STORE")]  # the feature store, made if it is not there
    sources: Annotated[
        Positional[tuple[str, ...]], arg(metavar="STREAM=FILE [STREAM=FILE ...]")
    ]  # e.g. appearance=resnet.npy
    job: OmitArgPrefixes[ImportConfig] = field(default_factory=ImportConfig)

    def __post_init__(self) -> None:
        extractor_names(self.job.name, list(named_files(self.sources)))


@errors_as_sentences
def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    args = parse(ImportArgs, "import", argv, __doc__ or "")

    from features.store import FeatureStore

    report = _run(args)
    _say_what_to_know(report, args.job)
    store = FeatureStore(args.store)
    _print_coverage(store)
    _say_unfinished(store)
    return DONE


def _run(args: ImportArgs) -> ImportReport:
    """Check and write behind a progress bar."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from features.external import ImportJob

    columns = (
        TextColumn("import: {task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("clips"),
        TimeRemainingColumn(),
    )
    progress = Progress(*columns, console=progress_console())
    rows = {what: progress.add_task(what, total=None, visible=False) for what in ("check", "write")}
    with ExitStack() as shown:

        def show(what: str, done: int, of: int) -> None:
            if not progress.live.is_started:
                shown.enter_context(progress)
            progress.update(rows[what], completed=done, total=of, visible=True)

        return ImportJob(args.store, named_files(args.sources), args.job, show).run()


def _say_what_to_know(report: ImportReport, config: ImportConfig) -> None:
    if report.written < report.clips:
        say(f"{report.clips - report.written} of {report.clips} clips are in the store already")
    for stream, clip_ids in report.unlisted.items():
        say(f"{stream}: {len(clip_ids)} clips of its file are not in {config.ids}, left out: {_some(clip_ids)}")
    for stream, count in report.not_in_file.items():
        if count:
            say(f"{stream}: {count} clips of the store are not in its file; they miss this stream now")
    for stream, clip_ids in report.zeros.items():
        say(
            f"{stream}: {len(clip_ids)} clips are all zeros and count as present ({_some(clip_ids)}); if zeros "
            "stand for missing streams, import again with --zero-is-missing --overwrite"
        )
    if report.without_name:
        names = ", ".join(report.without_name)
        say(f"{names}: without --name, a model trained on this accepts streams of this very file only")


def _some(clip_ids: Sequence[str]) -> str:
    return ", ".join(clip_ids[:3]) + (", …" if len(clip_ids) > 3 else "")


def _print_coverage(store: FeatureStore) -> None:
    clips = store.clips
    rows = [
        [stream, str(there), str(len(clips) - there), f"{100 * there / max(1, len(clips)):.0f} %", str(size)]
        for (stream, there), size in zip(store.coverage().items(), store.dims.values())
    ]
    title = f"{len(clips)} clips of {clips['video'].nunique()} videos in {store.name}"
    print_table(title, ["stream", "present", "missing", "share", "size"], rows)


def _say_unfinished(store: FeatureStore) -> None:
    """Clips that cannot be used yet, because nothing is known of one of the store's streams."""
    for stream in store.manifest.streams:
        unknown = store.rows.index[store.rows[stream].isna() & store.rows["verdict"].isin(["ok", "degraded"])]
        if len(unknown):
            say(f"{len(unknown)} more clips wait for '{stream}': import or extract it ({_some(list(unknown))})")


if __name__ == "__main__":
    sys.exit(main())
