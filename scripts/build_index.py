"""Make a store's clips searchable with a trained model.

example:
  mee index store/ model/ index/
  mee index store/ model/ index/ --recall 0.99 --queries captions.csv
  mee index store/ model/ index/ --metadata videos.csv --prune
  mee index store/ model/ postgresql://user@host/database

Run it again after mee precompute: only new and changed clips are encoded. Results are exact, unless exactness is
traded for speed by --recall or --kind fastscan. The file for --metadata is a .csv or .parquet with a column
clip_id or video_id; mee search --where can use its other columns. In a PostgreSQL database (docs/scale.md),
fastscan is HNSW; a password is better given by PGPASSWORD or in ~/.pgpass, as others can read command lines.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from tyro.conf import Positional, arg

from index.scanners import Choice, Settings
from mee.errors import visible
from scripts.console import DONE, INTERRUPTED, Device, counting_bar, parse, pick_device, resumable, say
from scripts.gallery import measure_recall, print_index
from scripts.search import At

if TYPE_CHECKING:
    from index.postgres import Place
    from index.storage import Origin


@dataclass(frozen=True, kw_only=True)
class IndexArgs:
    """Arguments of mee index."""

    store: Annotated[Positional[Path], arg(metavar="STORE")]  # feature store, made by mee precompute
    model: Annotated[Positional[Path], arg(metavar="MODEL")]  # made by mee train
    index: Annotated[Positional[At], arg(metavar="INDEX")]  # directory, or database, to create or update
    overwrite: bool = False  # build a new index; the old one is replaced when the new one is complete
    # make the index in so many folders, by a hash of the video's name, that are searched as one; up to 1,000, each
    # of which can be held by another process. Default: one, or as the index is
    shards: int | None = None
    prune: bool = False  # remove clips that are no longer in the store
    # how clips are scanned: flat and certified are exact, fastscan is faster; auto: fastscan if --recall is given,
    # else certified. Default: auto for a new index, unchanged for an existing one
    kind: Choice | None = None
    recall: float | None = None  # share of the exact best 10 that fastscan must find, such as 0.99
    queries: Path | None = None  # held-out captions to measure recall with: a caption table, or a text file
    metadata: Path | None = None  # table with more columns for mee search --where
    device: Device = "auto"  # where to encode clips

    def __post_init__(self) -> None:
        Settings().changed(self.kind, self.recall)
        if self.shards is not None and not 0 < self.shards <= 1000:
            raise ValueError(f"--shards must be from 1 to 1,000, got {self.shards}")


@resumable
def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    args = parse(IndexArgs, "index", argv, __doc__ or "")
    before = _manifest(args.index) if args.overwrite else []
    try:
        _run(args)
    except KeyboardInterrupt:
        if not before or _manifest(args.index) != before:
            raise
        say("stopped; the index is as it was")
        return INTERRUPTED
    return DONE


def _manifest(directory: Path | Place) -> list[bytes]:
    """What readers begin with; of a database nothing, since it is not kept there until the new one is complete."""
    if not isinstance(directory, Path):
        return []
    from index.storage import INDEX_FILE, SHARDS_FILE
    from mee.files import read_file

    paths = (directory / file for file in (INDEX_FILE, SHARDS_FILE))
    return [read_file(path) for path in paths if path.is_file()]


def origin_of(model: Path, store: Path) -> Origin:
    """Of an index of a store that is made with a model, which is read whole."""
    from index.storage import Origin
    from mee.checkpoint import fingerprint

    place = model.resolve()
    return Origin(str(place), fingerprint(model), str(store.resolve()), place.stat().st_ino)


def _run(args: IndexArgs) -> None:
    from features.store import FeatureStore
    from index.metadata import read_metadata
    from index.postgres import snapshot_at
    from index.recall import held_out
    from index.sync import FILE, synchronise
    from mee.checkpoint import check_directory
    from mee.data import check_source
    from mee.model import MEE

    store = FeatureStore(args.store, so_far=True)
    check_directory(args.model)
    model = MEE.from_pretrained(args.model).to(pick_device(args.device))
    check_source(model.config, store)
    queries = None if args.queries is None else held_out(args.queries, model)
    origin = origin_of(args.model, args.store)
    metadata = None if args.metadata is None else read_metadata(args.metadata, taken=tuple(FILE))
    how = {name: getattr(args, name) for name in ("kind", "recall", "prune", "overwrite", "shards")}
    report = synchronise(args.index, model, store, origin, metadata=metadata, bar=counting_bar, **how)
    measure_recall(args.index, queries)
    snapshot = snapshot_at(args.index)
    counts = ((report.changed, "encoded again"), (report.removed, "removed"))
    more = [f"{count} {what}" for count, what in counts if count]
    title = [f"{len(snapshot)} clips in the index", f"{report.new} of them new", *more]
    print_index(", ".join(title), snapshot)
    without, failed = snapshot.without_stream(), sorted(store.failed)
    for names, words in (
        (report.unknown, f"rows of {args.metadata} match no usable clip"),
        (without, "clips have no stream and cannot be found"),
        (report.left, "clips of the index are no longer in the store (--prune removes them)"),
        (failed, "videos are not in it because extraction failed"),
        (store.unfinished(model.modalities), "clips are searched by the streams that are extracted so far"),
    ):
        if names:
            say(f"{len(names)} {words}, such as '{visible(names[0])}'")
    if report.no_text:
        say(f"searches will load the model, since its text side is not beside the index: {report.no_text}")
