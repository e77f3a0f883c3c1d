"""Make a store's clips searchable with a trained model.

example:
  mee index store/ model/ index/
  mee index store/ model/ index/ --recall 0.99 --queries captions.csv
  mee index store/ model/ index/ --metadata videos.csv --prune

Run it again after mee precompute has added videos: only clips that are new, or whose file changed, are embedded.
Every answer is exact, unless --recall or --kind asks for something faster. Metadata (.csv or .parquet with a
column clip_id or video_id) is what mee search --where can ask for, beside what the store knows of the files.

What an index holds, as a table: a row for each set of streams that clips have, and how those are searched.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import compress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from rich.filesize import decimal as size_of
from tyro.conf import Positional, arg

from scripts.console import DONE, INTERRUPTED, Device, errors_as_sentences, parse, pick_device, print_table, say

if TYPE_CHECKING:
    from index.queries import Queries
    from index.storage.snapshot import Snapshot
    from scripts.index_sync import Report, Wanted


def pattern_rows(directory: Path, snapshot: Snapshot) -> list[dict[str, Any]]:
    """Of each set of streams: streams, clips, kinds, and bytes on disk of vectors and of what else is scanned."""
    from index.scanners.kinds import files
    from index.storage.columns import code_of
    from index.storage.segment import folder_of, scanner_name

    clips: dict[str, int] = defaultdict(int)
    kinds: dict[str, list[str]] = defaultdict(list)
    vectors: dict[str, int] = defaultdict(int)
    codes: dict[str, int] = defaultdict(int)
    streams = {}
    for unit in sorted(snapshot.units, key=lambda unit: unit.pattern, reverse=True):
        code, kind = code_of(unit.pattern), unit.scanner.kind
        streams[code] = list(compress(snapshot.layout.names, unit.pattern))
        clips[code] += unit.count
        kinds[code] += [kind] if kind not in kinds[code] else []
        vectors[code] += unit.vectors.nbytes
        name = snapshot.segments[unit.segment].name
        if name:
            path = folder_of(directory, name) / scanner_name(kind, code)
            codes[code] += sum(file.stat().st_size for file in files(kind, path))
    return [
        {"streams": streams[code], "clips": clips[code], "kinds": kinds[code], "vector_bytes": vectors[code],
         "code_bytes": codes[code]}
        for code in streams
    ]  # fmt: skip


def print_patterns(title: str, rows: list[dict[str, Any]]) -> None:
    """The same, for people."""
    cells = [
        [
            ", ".join(row["streams"]),
            ", ".join(row["kinds"]),
            f"{row['clips']}",
            size_of(row["vector_bytes"]),
            size_of(row["code_bytes"]) if row["code_bytes"] else "-",
        ]
        for row in rows
    ]
    print_table(title, ["streams", "kind", "clips", "vectors", "codes"], cells, words=2)


def print_index(title: str, directory: Path, snapshot: Snapshot) -> None:
    """What a command that wrote an index says of it."""
    print_patterns(title, pattern_rows(directory, snapshot))
    if snapshot.recall is not None:
        print(recall_in_words(snapshot.recall))


def recall_in_words(recall: Mapping[str, Any]) -> str:
    """What was measured, in a line."""
    parameters = ", ".join(f"{name} {value}" for name, value in recall["parameters"].items())
    return (
        f"recall@{recall['at']} {recall['reached']:.4f} (asked for {recall['target']:g}), measured with "
        f"{recall['source']} on {recall['clips']} clips: {parameters}"
    )


KindAsked = Literal["auto", "flat", "certified", "graph", "fastscan"]


@dataclass(frozen=True, kw_only=True)
class IndexArgs:
    """Arguments of mee index."""

    store: Annotated[Positional[Path], arg(metavar="STORE")]  # feature store, made by mee precompute
    model: Annotated[Positional[Path], arg(metavar="MODEL")]  # made by mee train
    index: Annotated[Positional[Path], arg(metavar="INDEX")]  # directory to make, or to bring up to the store
    overwrite: bool = False  # make the index anew; the old one stays until the new one is whole
    prune: bool = False  # remove clips that are no longer in the store
    kind: KindAsked | None = None
    """how clips are scanned. flat and certified are exact; graph and fastscan are faster. auto: certified, or
    fastscan with --recall. A new index takes auto, another keeps what it has"""
    recall: float | None = None  # share of the true best 10 to find, 0.99 say, by graph or fastscan
    queries: Path | None = None  # held-out captions to measure it with: a caption table, or one sentence a line
    metadata: Path | None = None  # more columns for mee search --where
    constants: Path | None = None  # clip constants of QB-Norm or NNN, made by mee evaluate --constants
    device: Device = "auto"

    def __post_init__(self) -> None:
        check_settings(self.kind, self.recall)


def check_settings(kind: KindAsked | None, recall: float | None) -> None:
    """Refuse what no index could be.

    Raises:
        ValueError: a recall that is none, or of a kind that is exact.
    """
    if kind is not None or recall is not None:
        from index.scanners.kinds import Settings

        Settings(kind or "auto", recall)


@errors_as_sentences
def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    args = parse(IndexArgs, "index", argv, __doc__ or "")
    before = _manifest(args.index)
    try:
        _run(args)
    except KeyboardInterrupt:
        if args.overwrite and before is not None and _manifest(args.index) == before:
            say("stopped; the index is as it was")
        else:
            say("stopped; what is done is kept, the same command goes on from there")
        return INTERRUPTED
    return DONE


def _manifest(directory: Path) -> bytes | None:
    from index.storage.manifest import NAME

    path = directory / NAME
    return path.read_bytes() if path.is_file() else None


def _run(args: IndexArgs) -> None:
    from index.storage.snapshot import read_snapshot
    from scripts.index_recall import held_out, of_before
    from scripts.index_sync import synchronise

    wanted = _wanted(args)
    asked = None if args.queries is None else held_out(args.queries, wanted.model)
    if asked is None and not args.overwrite and _manifest(args.index) is not None:
        asked = of_before(args.index)
    report = synchronise(args.index, wanted)
    _tune(args, report, asked)
    snapshot = read_snapshot(args.index)
    _print(args.index, snapshot, report)
    _say(snapshot, report, wanted)


def _wanted(args: IndexArgs) -> Wanted:
    """Read all that is given."""
    from features.store.feature_store import FeatureStore
    from index.metadata import read_metadata
    from index.storage.manifest import Origin
    from mee.checkpoint import check_directory, fingerprint
    from mee.data.source import check_source
    from mee.evaluation.constants_file import read_constants
    from mee.model import MEE
    from scripts.index_facts import FILE, facts_of
    from scripts.index_sync import Wanted

    store = FeatureStore(args.store)
    check_directory(args.model)
    model = MEE.from_pretrained(args.model).to(pick_device(args.device))
    check_source(model.config, store)
    metadata = None
    if args.metadata is not None:
        metadata, unknown = read_metadata(args.metadata, taken=tuple(FILE)).of_clips(store)
        if unknown:
            say(f"{len(unknown)} rows of {args.metadata} are about no usable clip, '{unknown[0]}' among them")
    return Wanted(
        store=store,
        model=model,
        origin=Origin(str(args.model.resolve()), fingerprint(args.model), str(args.store.resolve())),
        facts=facts_of(store, model.modalities),
        metadata=metadata,
        constants=None if args.constants is None else read_constants(args.constants),
        kind=args.kind,
        recall=args.recall,
        prune=args.prune,
        overwrite=args.overwrite,
    )


def _tune(args: IndexArgs, report: Report, asked: tuple[Queries, str] | None) -> None:
    """Measure recall where it is asked for, or where what was measured no longer tells."""
    from index.video_index import VideoIndex
    from scripts.index_recall import is_outdated, tune

    video_index = VideoIndex.open(args.index)
    if report.compacted or args.queries is not None or is_outdated(video_index):
        tune(args.index, asked)
        if args.queries is not None and video_index.proven:
            say("every answer of this index is exact, so there is no recall to measure")


def _print(directory: Path, snapshot: Snapshot, report: Report) -> None:

    more = [
        f"{count} {what}"
        for count, what in ((report.changed, "embedded again"), (report.removed, "removed"))
        if count
    ]
    title = ", ".join([f"{len(snapshot)} clips in the index", f"{report.new} of them new", *more])
    print_index(title, directory, snapshot)


def _say(snapshot: Snapshot, report: Report, wanted: Wanted) -> None:
    """What a person should know."""
    without = snapshot.without_stream()
    if without:
        say(f"{len(without)} clips have no stream at all and cannot be found, '{without[0]}' among them")
    if report.left:
        say(
            f"{len(report.left)} clips of the index are no longer in the store, '{report.left[0]}' among them; "
            "--prune removes them"
        )
    if report.unneeded:
        first = report.unneeded[0]
        say(f"{len(report.unneeded)} constants are of clips that are not in the index, '{first}' among them")
    failed = wanted.store.failed
    if failed:
        say(f"{len(failed)} videos are not in it because extraction failed, '{min(failed)}' among them")


if __name__ == "__main__":
    sys.exit(main())
