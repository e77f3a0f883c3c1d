"""Make a store's clips searchable with a trained model.

example:
  mee index store/ model/ index/
  mee index store/ model/ index/ --recall 0.99 --queries captions.csv
  mee index store/ model/ index/ --metadata videos.csv --prune

Run it again after mee precompute has added videos: only clips that are new, or whose file changed, are embedded.
Every answer is exact, unless --recall or --kind asks for something faster. Metadata (.csv or .parquet with a
column clip_id or video_id) is what mee search --where can ask for, beside what the store knows of the files.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from index.scanners import Choice, Settings
from scripts.console import DONE, INTERRUPTED, Device, counting_bar, errors_as_sentences, parse, pick_device, say
from scripts.gallery_tables import measure_recall, print_index


@dataclass(frozen=True, kw_only=True)
class IndexArgs:
    """Arguments of mee index."""

    store: Annotated[Positional[Path], arg(metavar="STORE")]  # feature store, made by mee precompute
    model: Annotated[Positional[Path], arg(metavar="MODEL")]  # made by mee train
    index: Annotated[Positional[Path], arg(metavar="INDEX")]  # directory to make, or to bring up to the store
    overwrite: bool = False  # make the index anew; the old one stays until the new one is whole
    prune: bool = False  # remove clips that are no longer in the store
    kind: Choice | None = None
    """how clips are scanned. flat and certified are exact; fastscan is faster. auto: certified, or fastscan with
    --recall. A new index takes auto, another keeps what it has"""
    recall: float | None = None  # share of the true best 10 that fastscan shall find, 0.99 say
    queries: Path | None = None  # held-out captions to measure it with: a caption table, or one sentence a line
    metadata: Path | None = None  # more columns for mee search --where
    device: Device = "auto"

    def __post_init__(self) -> None:
        Settings().changed(self.kind, self.recall)


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
    from index.storage import INDEX_FILE

    path = directory / INDEX_FILE
    return path.read_bytes() if path.is_file() else None


def _run(args: IndexArgs) -> None:
    from features.store import FeatureStore
    from index.metadata import read_metadata
    from index.recall import held_out
    from index.storage import Origin, read_snapshot
    from index.sync import FILE, synchronise
    from mee.checkpoint import check_directory, fingerprint
    from mee.data import check_source
    from mee.model import MEE

    store = FeatureStore(args.store)
    check_directory(args.model)
    model = MEE.from_pretrained(args.model).to(pick_device(args.device))
    check_source(model.config, store)
    asked = None if args.queries is None else held_out(args.queries, model)
    report = synchronise(
        args.index,
        model,
        store,
        Origin(str(args.model.resolve()), fingerprint(args.model), str(args.store.resolve())),
        metadata=None if args.metadata is None else read_metadata(args.metadata, taken=tuple(FILE)),
        kind=args.kind,
        recall=args.recall,
        prune=args.prune,
        overwrite=args.overwrite,
        bar=counting_bar,
    )
    measure_recall(args.index, asked)
    snapshot = read_snapshot(args.index)
    counts = ((report.changed, "embedded again"), (report.removed, "removed"))
    more = [f"{count} {what}" for count, what in counts if count]
    title = [f"{len(snapshot)} clips in the index", f"{report.new} of them new", *more]
    print_index(", ".join(title), args.index, snapshot)
    without, failed = snapshot.without_stream(), sorted(store.failed)
    for names, words in (
        (report.unknown, f"rows of {args.metadata} are about no usable clip"),
        (without, "clips have no stream at all and cannot be found"),
        (report.left, "clips of the index are no longer in the store (--prune removes them)"),
        (failed, "videos are not in it because extraction failed"),
    ):
        if names:
            say(f"{len(names)} {words}, '{names[0]}' among them")


if __name__ == "__main__":
    sys.exit(main())
