"""Look at a feature store, check it, merge several into one, and hand its streams to other programs.

example:
  mee store list store/
  mee store list store/ --clips
  mee store verify store/
  mee store merge all/ part1/ part2/ part3/
  mee store export store/ appearance.npz --streams appearance
  mee store export store/ 'all-{stream}.parquet'
  mee store compact store/

Each form explains itself: mee store verify --help
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from tyro.conf import OmitSubcommandPrefixes, Positional, arg, subcommand

from scripts.console import DONE, FAILURES_LISTED, counting_bar, errors_as_sentences, parse, print_table, say
from scripts.store_tables import print_clips, print_failed, print_streams, size_of

if TYPE_CHECKING:
    from features.store.shard_check import Finding
    from features.store.verify import StoreCheck

Store = Annotated[Positional[Path], arg(metavar="STORE")]


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
        Positional[tuple[Path, ...]], arg(metavar="SOURCE [SOURCE ...]")
    ]  # they are left as they are

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


@dataclass(frozen=True, kw_only=True)
class CompactArgs:
    """Arguments of mee store compact."""

    store: Store


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
    | Annotated[ExportArgs, subcommand("export", description="Write streams to one .npz or .parquet.")]
    | Annotated[
        CompactArgs,
        subcommand(
            "compact",
            description="Make few shards of many small ones, without what no longer counts. Not while it is read.",
        ),
    ]
)


@dataclass(frozen=True, kw_only=True)
class StoreArgs:
    """Arguments of mee store."""

    form: OmitSubcommandPrefixes[Form]


@errors_as_sentences
def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    form = parse(StoreArgs, "store", argv, __doc__ or "").form
    if isinstance(form, ListArgs):
        return _list(form)
    if isinstance(form, VerifyArgs):
        return _verify(form)
    if isinstance(form, MergeArgs):
        return _merge(form)
    if isinstance(form, CompactArgs):
        return _compact(form)
    return _export(form)


def _list(args: ListArgs) -> int:
    from features.store.feature_store import FeatureStore

    store = FeatureStore(args.store)
    show = print_clips if args.clips else print_failed if args.failed else print_streams
    show(store, as_json=args.json)
    return DONE


def _verify(args: VerifyArgs) -> int:
    from features.store.verify import check_store, mend

    with counting_bar("verify", "shards") as on_shard:
        report = check_store(args.store, on_shard)
    if args.json:
        for finding in report.findings:
            print(json.dumps({"file": finding.name, "what": finding.what, "wrong": finding.wrong}))
    else:
        _print_findings(args.store, report)
    if report.unsealed:
        say(
            f"{len(report.unsealed)} of {report.shards} shards are of an earlier version of mee and hold no "
            "checksums; of these only shapes and values were looked at"
        )
    left = report.wrong
    if args.mend:
        left = mend(args.store, report.findings)
        taken = len(report.wrong) - len(left)
        if taken:
            say(f"{taken} files taken out; run the mee precompute or mee import again that filled {args.store}")
    _say_remedy(args.store, left, mended=args.mend)
    return FAILURES_LISTED if left else DONE


def _print_findings(path: Path, report: StoreCheck) -> None:
    rows = [[finding.name, "wrong" if finding.wrong else "harmless", finding.what] for finding in report.findings]
    if rows:
        rows.sort(key=lambda row: row[1], reverse=True)
        print_table("", ["file", "", "what"], rows, words=3)
        print()
    wrong, harmless = len(report.wrong), len(report.findings) - len(report.wrong)
    state = f"{wrong} wrong" if wrong else "all are what was written"
    more = f"; {harmless} others lie there, harmless" if harmless else ""
    print(f"{report.files} files of {report.shards} shards in {path}, {size_of(report.bytes)}: {state}{more}")
    if report.superseded:
        print(f"{report.superseded} streams of shards were begun anew since, and no longer count")


def _say_remedy(path: Path, left: Sequence[Finding], *, mended: bool) -> None:
    if any(finding.shard or finding.deletable for finding in left) and not mended:
        say(
            f"to mend it: mee store verify {path} --mend takes out what is wrong, and the mee precompute or mee "
            "import that filled the store then makes it again"
        )
    if any(finding.name == "store.json" for finding in left):
        say(
            f"store.json: compare it with a copy; where it reads right, mee store merge NEW {path} makes a store "
            "of the same files with a fresh one"
        )
    if any(not finding.shard and finding.name.startswith("parts/") for finding in left):
        say(
            "store.json is older than some parts: put a newer copy of it in place, or run the job again that made "
            "them"
        )


def _merge(args: MergeArgs) -> int:
    from features.store.merge import merge

    with counting_bar("merge", "shards") as on_shard:
        report = merge(args.target, args.sources, on_shard)
    if report.differing:
        names = ", ".join(report.differing[:3]) + (", …" if len(report.differing) > 3 else "")
        say(
            f"{len(report.differing)} videos are other files (by size or content) in one store than in another; "
            f"what was extracted last counts: {names}"
        )
    say(
        f"{report.taken} of {report.shards} shards brought in ({report.linked} files linked, {report.copied} "
        f"copied), {report.shards - report.taken} were there already or tell nothing"
    )
    from features.store.feature_store import FeatureStore

    print_streams(FeatureStore(args.target), as_json=False)
    return DONE


def _export(args: ExportArgs) -> int:
    from features.store.export import export
    from features.store.feature_store import FeatureStore

    store = FeatureStore(args.store)
    with counting_bar("export", "clips") as on_clips:
        written = export(store, args.out, args.streams, on_clips, overwrite=args.overwrite)
    rows = [
        [str(one.path), ", ".join(one.streams), str(one.clips), str(one.rows), size_of(one.path.stat().st_size)]
        for one in written
    ]
    print_table("", ["file", "streams", "clips", "rows", "size"], rows, words=2)
    return DONE


def _compact(args: CompactArgs) -> int:
    from features.store.compact import compact

    with counting_bar("compact", "clips") as on_clips:
        report = compact(args.store, on_clips)
    then, now = size_of(report.bytes_before), size_of(report.bytes_after)
    print(f"{args.store}: {report.before} shards ({then}) are {report.after} ({now}) now")
    return DONE


if __name__ == "__main__":
    sys.exit(main())
