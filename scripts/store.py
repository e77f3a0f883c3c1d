"""Look at a feature store, verify it, drop what is gone, merge several, and export streams and words.

example:
  mee store list store/
  mee store list store/ --clips
  mee store verify store/
  mee store merge all/ part1/ part2/ part3/
  mee store export store/ appearance.npz --streams appearance
  mee store export store/ 'all-{stream}.parquet'
  mee store prune store/ videos/ --dry-run
  mee store words store/ words.csv
  mee store words store/ subtitles/ --format vtt --stream speech

Help for one of them: mee store verify --help
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from rich.filesize import decimal
from tyro.conf import Positional, arg

from mee.errors import count
from scripts.console import (
    DONE,
    FAILURES_LISTED,
    counting_bar,
    errors_as_sentences,
    parse_form,
    print_line,
    print_table,
    say,
    shown,
    some,
)

if TYPE_CHECKING:
    from features.store import FeatureStore

Store = Annotated[Positional[Path], arg(metavar="STORE", help="the feature store")]
Sources = Annotated[
    Positional[tuple[Path, ...]], arg(metavar="SOURCE [SOURCE ...]", help="stores to read; they do not change")
]


@dataclass(frozen=True, kw_only=True)
class ListArgs:
    """Show a store, stream by stream or clip by clip."""

    store: Store
    clips: bool = False  # one line a clip, with the facts of its file
    failed: bool = False  # one line a video that cannot be used, with the reason
    json: bool = False  # one JSON object a line

    def __post_init__(self) -> None:
        if self.clips and self.failed:
            raise ValueError("--clips and --failed are different lists; choose one of them")

    def run(self) -> int:
        from features.store import FeatureStore

        store = FeatureStore(self.store)
        if self.clips:
            _print_clips(store, as_json=self.json)
        elif self.failed:
            title = f"{len(store.failed)} videos of {store.name} cannot be used"
            if self.json:
                _print_json([{"video": video, "why": why} for video, why in store.failed.items()])
            else:
                print_table(title, ["video", "why"], list(store.failed.items()), words=2)
        else:
            _print_streams(store, as_json=self.json)
        return DONE


@dataclass(frozen=True, kw_only=True)
class VerifyArgs:
    """Read every file and compare it with its checksum. Exit code 3: something is wrong."""

    store: Store
    repair: bool = False  # remove what is wrong, so that the job that made it makes it again
    json: bool = False  # one JSON object a line

    def run(self) -> int:
        from features.store import check_store, repair

        with counting_bar("verify", "shards") as on_shard:
            check = check_store(self.store, on_shard)
        remaining = wrong = check.wrong
        if self.json:
            _print_json([{"file": each.name, "what": each.what, "wrong": each.wrong} for each in check.findings])
        else:
            harmless = len(check.findings) - len(wrong)
            if findings := sorted(check.findings, key=lambda finding: not finding.wrong):
                rows = [[f.name, "wrong" if f.wrong else "harmless", f.what] for f in findings]
                print_table("", ["file", "", "what"], rows, words=3)
                print()
            state = f"{len(wrong)} wrong" if wrong else "all are what was written"
            more = f"; {harmless} other files, harmless" if harmless else ""
            size = decimal(check.bytes)
            print_line(f"{check.files} files of {check.shards} shards in {self.store}, {size}: {state}{more}")
        if self.repair:
            remaining = repair(self.store, check.findings)
            if removed := len(wrong) - len(remaining):
                say(
                    f"{removed} files removed; run again the mee precompute or mee import that filled {self.store}"
                )
        named = shlex.quote(str(self.store))
        if any(finding.can_be_repaired for finding in remaining):
            say(
                f"to repair it: mee store verify {named} --repair removes what is wrong; then run again the "
                "mee precompute or mee import that filled the store"
            )
        if any(finding.name == "store.json" for finding in remaining):
            say(
                f"store.json: compare it with a copy; if its content is right, mee store merge NEW {named} "
                "makes a store of the same files with a new one"
            )
        return FAILURES_LISTED if remaining else DONE


@dataclass(frozen=True, kw_only=True)
class MergeArgs:
    """Add the contents of stores to one of them, or to a new one, by hard links where possible."""

    target: Annotated[Positional[Path], arg(metavar="TARGET")]  # created if it does not exist
    sources: Sources

    def __post_init__(self) -> None:
        if not self.sources:
            raise ValueError("name what to merge into it: mee store merge TARGET SOURCE [SOURCE ...]")

    def run(self) -> int:
        from features.store import FeatureStore, merge_stores

        with counting_bar("merge", "shards") as on_shard:
            report = merge_stores(self.target, self.sources, on_shard)
        if report.differing:
            say(
                f"{len(report.differing)} videos are other files (by size or content) in one store than in "
                f"another; what was extracted last counts: {some(report.differing)}"
            )
        say(
            f"{report.added} of {report.shards} shards added ({report.linked} files linked, {report.copied} "
            f"copied), {report.shards - report.added} were there already"
        )
        _print_streams(FeatureStore(self.target), as_json=False)
        return DONE


@dataclass(frozen=True, kw_only=True)
class ExportArgs:
    """Write streams to .npz or .parquet, a file each."""

    store: Store
    out: Annotated[Positional[Path], arg(metavar="OUT")]  # .npz or .parquet; with {stream} in it, a file a stream
    streams: tuple[str, ...] = ()  # default: all of numbers
    overwrite: bool = False  # replace existing files

    def run(self) -> int:
        from features.store import FeatureStore, export_stream

        store = FeatureStore(self.store)
        with counting_bar("export", "clips") as on_clips:
            written = export_stream(store, self.out, self.streams, on_clips, overwrite=self.overwrite)
        rows = [
            [str(f.path), f.stream, str(f.clips), str(f.rows), decimal(f.path.stat().st_size)] for f in written
        ]
        print_table("", ["file", "stream", "clips", "rows", "size"], rows, words=2)
        return DONE


@dataclass(frozen=True, kw_only=True)
class WordsArgs:
    """Write what is said or written in the videos: CSV in one file, or WebVTT with a file a video."""

    store: Store
    out: Annotated[Positional[Path | None], arg(metavar="OUT")] = None  # a file; of vtt a folder; default: stdout
    stream: str | None = None  # default: all in csv; in vtt speech
    format: Literal["csv", "vtt"] = "csv"
    video: str | None = None  # of one video only; vtt on stdout needs it

    def __post_init__(self) -> None:
        if self.format == "vtt" and self.out is None and self.video is None:
            raise ValueError("vtt has a file a video: name a folder to write to, or one --video")

    def run(self) -> int:
        from features.files import write_whole
        from features.store import FeatureStore, as_csv, as_vtt, vtt_path, words_table
        from mee.data import find_videos

        stream, store = self.stream or ("speech" if self.format == "vtt" else None), FeatureStore(self.store)
        video = self.video and find_videos([self.video], store, partial=False, what="videos")[0][self.video][0]
        table = words_table(store, stream, video)
        files = {self.out: as_csv(table)}
        if self.format == "vtt":
            texts = as_vtt(table)
            files = {self.out and vtt_path(self.out, video): text for video, text in texts.items()}
        for path, text in files.items():
            if path is None:
                print(text, end="")
            else:
                write_whole(path, text.encode())
        say(f"{len(table)} utterances of {table['video'].nunique()} videos")
        return DONE


@dataclass(frozen=True, kw_only=True)
class PruneArgs:
    """Drop what a store has of files that are no longer there."""

    store: Store
    # the folder that was given to mee precompute; of a store of several folders, all of them
    videos: Annotated[Positional[tuple[Path, ...]], arg(metavar="VIDEOS [VIDEOS ...]")]
    exclude: tuple[str, ...] = ()  # these names and patterns count as gone, as of mee precompute --exclude
    dry_run: bool = False  # list the files, and change nothing
    all: bool = False  # also where not one file is left

    def __post_init__(self) -> None:
        if not self.videos:
            raise ValueError("name the folder of the videos: mee store prune STORE VIDEOS [VIDEOS ...]")

    def run(self) -> int:
        from features.media import Selection
        from features.store import FeatureStore, drop_gone

        store, select = FeatureStore(self.store), Selection(exclude=self.exclude)
        gone = drop_gone(store, self.videos, select, everything=self.all, dry_run=self.dry_run)
        for video in gone:
            print_line(video)
        remedy = "; mee index … --prune removes them from an index" if gone else ""
        say(f"{count(len(gone), 'file')} {'would be ' if self.dry_run else ''}dropped{remedy}")
        return DONE


FORMS = {"list": ListArgs, "verify": VerifyArgs, "merge": MergeArgs, "prune": PruneArgs, "export": ExportArgs}
FORMS |= {"words": WordsArgs}


@errors_as_sentences
def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    code: int = parse_form(FORMS, "store", argv, __doc__ or "").run()
    return code


def print_coverage(store: FeatureStore, *, sizes: bool = False) -> None:
    """One line a stream: how many clips have it."""
    clips = store.clips
    rows = [
        [stream, str(present), str(len(clips) - present), f"{100 * present / max(1, len(clips)):.0f} %"]
        + [str(store.dims[stream] or "words")] * sizes
        for stream, present in store.coverage().items()
    ]
    title = f"{len(clips)} clips of {clips['video'].nunique()} videos in {store.name}"
    print_table(title, ["stream", "present", "missing", "share", "size"][: 4 + sizes], rows)


def _print_json(entries: Sequence[object]) -> None:
    for entry in entries:
        print(json.dumps(entry))


def _print_streams(store: FeatureStore, *, as_json: bool) -> None:
    """One line a stream, in two tables: how much there is, and what made it."""
    from features.store import are_failures, summarise

    summaries = summarise(store)
    if as_json:
        _print_json(summaries)
        return
    cut = "the default rule" if store.manifest.clip_seconds is None else f"{store.manifest.clip_seconds:g} s"
    clips, failures = store.clips, int(are_failures(store.rows).sum())
    title = f"{len(clips)} usable clips of {clips['video'].nunique()} videos, {failures} failed; cut by {cut}"
    counted, made = [], []
    for each in summaries:
        share = f"{100 * each['present'] / max(1, each['present'] + each['missing']):.0f} %"
        counts = [each["size"] or "words", each["present"], each["missing"], each["unknown"], share, each["rows"]]
        counted.append(
            [each["stream"], *map(str, counts), "yes" if each["timed"] else "no", decimal(each["bytes"])]
        )
        maker, revision = each["model"] or each["extractor"].removeprefix("features:"), each["revision"] or "-"
        reads, version = ", ".join(each["sampling"]) or "-", f"{each['fingerprint']} v{each['version']}"
        maker += f", {each['named']} named columns" if each["named"] else ""
        made.append([each["stream"], maker, revision[:12], reads, version, each["code"].get("mee", "-")])
    header = ["stream", "size", "present", "missing", "unknown", "share", "rows", "times", "on disk"]
    print_table(f"{store.name}: {title}", header, counted)
    print()
    print_table("", ["stream", "made by", "revision", "reads", "fingerprint", "mee"], made, words=6)


def _print_clips(store: FeatureStore, *, as_json: bool) -> None:
    """One line a clip or failure."""
    rows = store.rows.reset_index()
    if as_json:
        print(rows.to_json(orient="records", lines=True), end="")
        return
    names = {"clip_id": "clip", "start_s": "start", "end_s": "end", "file_seconds": "of file"}
    table = rows.rename(columns=names).round(2).astype("string")
    table["picture"] = table["width"] + "x" + table["height"]
    table["sound"] = table["audio_codec"] + " " + table["audio_rate"]
    table["sha256"] = table["file_sha256"].str[:12]
    streams = list(store.manifest.streams)
    table[streams] = table[streams].fillna("unknown")
    facts = ["picture", "fps", "video_codec", "sound", "file_bytes", "sha256", "reader"]
    columns = [*names.values(), *facts, *streams, "verdict", "note"]
    table = table[columns].fillna("-").replace("", "-").map(shown).rename(columns=shown)
    widths = [max(cells.str.len(), default=0) for _, cells in table.items()]
    print(table.to_string(index=False, justify="left", formatters=[f"{{:<{width}}}".format for width in widths]))
