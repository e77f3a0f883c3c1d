"""Look at a feature store, check it, merge several into one, and hand its streams to other programs.

example:
  mee store list store/
  mee store list store/ --clips
  mee store verify store/
  mee store merge all/ part1/ part2/ part3/
  mee store export store/ appearance.npz --streams appearance
  mee store export store/ 'all-{stream}.parquet'

Each form explains itself: mee store verify --help
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from rich.filesize import decimal
from tyro.conf import OmitSubcommandPrefixes, Positional, arg, subcommand

from scripts.console import (
    DONE,
    FAILURES_LISTED,
    counting_bar,
    errors_as_sentences,
    parse,
    print_table,
    say,
    visible,
)

if TYPE_CHECKING:
    from features.store import FeatureStore

Store = Annotated[Positional[Path], arg(metavar="STORE", help="the feature store")]


@dataclass(frozen=True, kw_only=True)
class ListArgs:
    """Arguments of mee store list."""

    store: Store
    clips: bool = False  # one line a clip, with the facts of its file
    failed: bool = False  # one line a video that cannot be used, with the reason
    json: bool = False  # one JSON object a line

    def __post_init__(self) -> None:
        if self.clips and self.failed:
            raise ValueError("--clips lists what is there and --failed what is not; ask for one of them")


@dataclass(frozen=True, kw_only=True)
class VerifyArgs:
    """Arguments of mee store verify."""

    store: Store
    mend: bool = False  # take out what is wrong, so that the jobs that made it make it again
    json: bool = False  # one JSON object a line


@dataclass(frozen=True, kw_only=True)
class MergeArgs:
    """Arguments of mee store merge."""

    target: Annotated[Positional[Path], arg(metavar="TARGET")]  # made if it is not there
    sources: Annotated[
        Positional[tuple[Path, ...]], arg(metavar="SOURCE [SOURCE ...]", help="stores to read; they do not change")
    ]

    def __post_init__(self) -> None:
        if not self.sources:
            raise ValueError("name what to merge into it: mee store merge TARGET SOURCE [SOURCE ...]")


@dataclass(frozen=True, kw_only=True)
class ExportArgs:
    """Arguments of mee store export."""

    store: Store
    out: Annotated[Positional[Path], arg(metavar="OUT")]  # .npz or .parquet; with {stream} in it, a file a stream
    streams: tuple[str, ...] = ()  # which; without, all
    overwrite: bool = False  # put it in the place of what is there


Form = (
    Annotated[ListArgs, subcommand("list", description="What a store holds, stream by stream or clip by clip.")]
    | Annotated[
        VerifyArgs,
        subcommand(
            "verify", description="Read every file and compare it with what was written. Exit code 3: not equal."
        ),
    ]
    | Annotated[
        MergeArgs,
        subcommand(
            "merge", description="Bring all that some stores hold into one, linking files where that can be."
        ),
    ]
    | Annotated[ExportArgs, subcommand("export", description="Write streams to .npz or .parquet, a file each.")]
)


@dataclass(frozen=True, kw_only=True)
class StoreArgs:
    """Arguments of mee store."""

    form: OmitSubcommandPrefixes[Form]


@errors_as_sentences
def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    form = parse(StoreArgs, "store", argv, __doc__ or "").form
    match form:
        case ListArgs():
            return _list(form)
        case VerifyArgs():
            return _verify(form)
        case MergeArgs():
            return _merge(form)
        case ExportArgs():
            return _export(form)


def _list(args: ListArgs) -> int:
    from features.store import FeatureStore

    store = FeatureStore(args.store)
    show = _print_clips if args.clips else _print_failed if args.failed else _print_streams
    show(store, as_json=args.json)
    return DONE


def _print_streams(store: FeatureStore, *, as_json: bool) -> None:
    """One line a stream, in two tables: how much there is, and what made it."""
    from features.store import are_failures, summarise

    summaries = summarise(store)
    if as_json:
        for each in summaries:
            print(json.dumps(each))
        return
    cut = "the default rule" if store.manifest.clip_seconds is None else f"{store.manifest.clip_seconds:g} s"
    clips, failures = store.clips, int(are_failures(store.rows).sum())
    title = f"{len(clips)} usable clips of {clips['video'].nunique()} videos, {failures} failed; cut by {cut}"
    held, made = [], []
    for each in summaries:
        share = f"{100 * each['present'] / max(1, each['present'] + each['missing']):.0f} %"
        counts = [each["size"], each["present"], each["missing"], each["unknown"], share, each["rows"]]
        timed, size = "yes" if each["timed"] else "no", decimal(each["bytes"])
        held.append([each["stream"], *map(str, counts), timed, size])
        by, revision = (
            each["model"] or each["extractor"].removeprefix("features:"),
            each["revision"] or "-",
        )
        reads, version = ", ".join(each["sampling"]) or "-", f"{each['fingerprint']} v{each['version']}"
        made.append([each["stream"], by, revision[:12], reads, version, each["code"].get("mee", "-")])
    header = ["stream", "size", "present", "missing", "unknown", "share", "rows", "times", "on disk"]
    print_table(f"{store.name}: {title}", header, held)
    print()
    print_table("", ["stream", "made by", "revision", "reads", "fingerprint", "mee"], made, words=6)


def _print_failed(store: FeatureStore, *, as_json: bool) -> None:
    """One line a video that cannot be used."""
    if as_json:
        for video, why in store.failed.items():
            print(json.dumps({"video": video, "why": why}))
        return
    title = f"{len(store.failed)} videos of {store.name} cannot be used"
    print_table(title, ["video", "why"], list(store.failed.items()), words=2)


def _print_clips(store: FeatureStore, *, as_json: bool) -> None:
    """One line a clip or failure."""
    rows = store.rows.reset_index()
    if as_json:
        print(rows.to_json(orient="records", lines=True, force_ascii=False), end="")
        return
    names = {"clip_id": "clip", "start_s": "start", "end_s": "end", "file_seconds": "of file"}
    table = rows.rename(columns=names).round(2).astype("string")
    table["picture"] = table["width"] + "x" + table["height"]
    table["sound"] = table["audio_codec"] + " " + table["audio_rate"]
    table["sha256"] = table["file_sha256"].str[:12]
    streams = list(store.manifest.streams)
    table[streams] = table[streams].fillna("unknown")
    facts = ["picture", "fps", "video_codec", "sound", "file_bytes", "sha256", "reader"]
    shown = table[[*names.values(), *facts, *streams, "verdict", "note"]].fillna("-").replace("", "-").map(visible)
    widths = [max(cells.str.len(), default=0) for _, cells in shown.items()]
    print(shown.to_string(index=False, justify="left", formatters=[f"{{:<{width}}}".format for width in widths]))


def _verify(args: VerifyArgs) -> int:
    from features.store import check_store, repair

    with counting_bar("verify", "shards") as on_shard:
        report = check_store(args.store, on_shard)
    left = wrong = report.wrong
    if args.json:
        for finding in report.findings:
            print(json.dumps({"file": finding.name, "what": finding.what, "wrong": finding.wrong}))
    else:
        harmless = [finding for finding in report.findings if not finding.wrong]
        if rows := [[f.name, "wrong" if f.wrong else "harmless", f.what] for f in (*wrong, *harmless)]:
            print_table("", ["file", "", "what"], rows, words=3)
            print()
        state = f"{len(wrong)} wrong" if wrong else "all are what was written"
        more = f"; {len(harmless)} others lie there, harmless" if harmless else ""
        size = decimal(report.bytes)
        print(f"{report.files} files of {report.shards} shards in {args.store}, {size}: {state}{more}")
    if args.mend:
        left = repair(args.store, report.findings)
        if taken := len(wrong) - len(left):
            say(f"{taken} files taken out; run the mee precompute or mee import again that filled {args.store}")
    if any(finding.can_be_repaired for finding in left):
        say(
            f"to repair it: mee store verify {args.store} --mend takes out what is wrong, and the mee precompute "
            "or mee import that filled the store then makes it again"
        )
    if any(finding.name == "store.json" for finding in left):
        say(
            f"store.json: compare it with a copy; where it reads right, mee store merge NEW {args.store} makes a "
            "store of the same files with a fresh one"
        )
    return FAILURES_LISTED if left else DONE


def _merge(args: MergeArgs) -> int:
    from features.store import FeatureStore, merge_stores

    with counting_bar("merge", "shards") as on_shard:
        report = merge_stores(args.target, args.sources, on_shard)
    if report.differing:
        names = ", ".join(report.differing[:3]) + (", …" if len(report.differing) > 3 else "")
        say(
            f"{len(report.differing)} videos are other files (by size or content) in one store than in another; "
            f"what was extracted last counts: {names}"
        )
    say(
        f"{report.taken} of {report.shards} shards brought in ({report.linked} files linked, {report.copied} "
        f"copied), {report.shards - report.taken} were there already"
    )
    _print_streams(FeatureStore(args.target), as_json=False)
    return DONE


def _export(args: ExportArgs) -> int:
    from features.store import FeatureStore, export_stream

    store = FeatureStore(args.store)
    with counting_bar("export", "clips") as on_clips:
        written = export_stream(store, args.out, args.streams, on_clips, overwrite=args.overwrite)
    rows = [[str(f.path), f.stream, str(f.clips), str(f.rows), decimal(f.path.stat().st_size)] for f in written]
    print_table("", ["file", "stream", "clips", "rows", "size"], rows, words=2)
    return DONE


if __name__ == "__main__":
    sys.exit(main())
