"""Import streams that were made elsewhere into a feature store, one file a stream.

example:
  mee import store/ appearance=resnet.npy motion=i3d.h5 face=faces.pickle --ids ids.txt
  mee import store/ audio=vggish.npz --name vggish
  mee import store/ appearance=clips/ --name appearance=clip-vit-b32
  mee import store/ appearance=resnet.npz --columns classes.txt

Files: .npy .npz .safetensors .h5 .pickle, or a folder of one .npy a clip. One array a clip, (D,) or (T, D), named
after it; or all clips stacked, (N, D) or (N, T, D), with their ids in --ids or in an array `ids`; or what
mee store export wrote. A clip without an entry misses the stream. A pickle is read without running code in it. Use
a --name if other files of the same extractor should fit this store and its models later; else only this file does.
--columns names the last columns of a stream, such as the classes whose probabilities they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from tyro.conf import OmitArgPrefixes, Positional, arg

from features.external import ImportConfig, by_stream, named_files
from scripts.console import DONE, counting_bar, errors_as_sentences, parse, say, some
from scripts.store import print_coverage

if TYPE_CHECKING:
    from features.external import ImportReport

Sources = Annotated[Positional[tuple[str, ...]], arg(metavar="STREAM=FILE [STREAM=FILE ...]")]


@dataclass(frozen=True, kw_only=True)
class ImportArgs:
    """Arguments of mee import."""

    store: Annotated[Positional[Path], arg(metavar="STORE")]  # the feature store, created if it does not exist
    sources: Sources  # e.g. appearance=resnet.npy
    job: OmitArgPrefixes[ImportConfig] = field(default_factory=ImportConfig)

    def __post_init__(self) -> None:
        streams = list(named_files(self.sources))
        by_stream("--name", "NAME", self.job.name, streams)
        by_stream("--columns", "FILE", self.job.columns, streams)


@errors_as_sentences
def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    args = parse(ImportArgs, "import", argv, __doc__ or "")

    from features.external import ImportJob
    from features.store import FeatureStore, are_failures
    from mee.data import meet

    with counting_bar("import", "clips") as show:
        sources, on_clip = named_files(args.sources), lambda what, done, of: show(done, of, f"import: {what}")
        report = ImportJob(args.store, sources, args.job, on_clip=on_clip, find=meet).run()
    _say_what_to_know(report, args.job)
    store = FeatureStore(args.store)
    print_coverage(store, sizes=True)
    for stream in store.manifest.streams:  # clips that cannot be used yet
        unknown = store.rows.index[store.rows[stream].isna() & ~are_failures(store.rows)]
        if len(unknown):
            say(f"{len(unknown)} more clips wait for '{stream}': import or extract it ({some(list(unknown))})")
    return DONE


def _say_what_to_know(report: ImportReport, config: ImportConfig) -> None:
    if report.written < report.clips:
        say(f"{report.clips - report.written} of {report.clips} clips are in the store already")
    for where, clips in report.respelled.items():
        for name, clip_id in list(clips.items())[:1]:
            say(f"{where}: {len(clips)} of its ids are spelled otherwise, such as '{name}' for clip '{clip_id}'")
    for stream, clip_ids in report.unlisted.items():
        say(f"{stream}: {len(clip_ids)} clips of its file are not in {config.ids}, skipped: {some(clip_ids)}")
    for stream, count in report.not_in_file.items():
        if count:
            say(f"{stream}: {count} clips of the store are not in its file; they miss this stream now")
    again = "import again with --zero-is-missing --overwrite"
    for found, what, advice in (
        (report.zeros, "are all zeros and count as present", f"if zeros stand for missing streams, {again}"),
        (report.padded, "end with rows of zeros, which count", f"if that is padding, {again}"),
        (
            report.small,
            "are mostly too small for a store's float16",
            "multiply the whole stream by a constant first",
        ),
    ):
        for stream, clip_ids in found.items():
            say(f"{stream}: {len(clip_ids)} clips {what} ({some(clip_ids)}); {advice}")
    if report.without_name:
        names = ", ".join(report.without_name)
        say(f"{names}: without --name, a model trained on this accepts streams of this very file only")
