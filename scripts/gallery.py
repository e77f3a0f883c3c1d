"""List, verify, compact, remove from and normalise an index.

example:
  mee gallery list index/
  mee gallery list index/ --clips --where 'duration < 30 and split == "test"'
  mee gallery verify index/
  mee gallery compact index/ --kind fastscan
  mee gallery remove index/ --where 'video.startswith("old/")' --dry-run
  mee gallery normalise index/ --bank captions.csv

Help for one of them: mee gallery remove --help
"""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import compress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from rich.filesize import decimal
from tyro.conf import Positional, arg

from index.scanners import Choice, Settings
from mee.errors import InputError, visible
from scripts.console import (
    COULD_NOT,
    DONE,
    Device,
    complain,
    counting_bar,
    errors_as_sentences,
    parse_form,
    pick_device,
    print_line,
    print_table,
    say,
    shown,
)

if TYPE_CHECKING:
    import pyarrow as pa

    from index.postgres import Place
    from index.queries import Queries
    from index.storage import Snapshot

FEW = 20  # queries that say too little about recall
ROWS = 20_000  # clips printed at a time
SCHEME = "postgresql:/"  # of a database; a path has one / less
TYPES = {"string": "text", "int64": "whole numbers", "double": "numbers", "bool": "true / false"}
TYPES |= {"null": "nothing"}
Index = Annotated[Positional[Path], arg(metavar="INDEX", help="made by mee index")]
Where = Annotated[str | None, arg(metavar="FILTER")]


@dataclass(frozen=True, kw_only=True)
class ListArgs:
    """Show an index: a summary, or its clips."""

    index: Index
    clips: bool = False  # print one line for each clip
    where: Where = None  # print the clips that match: 'duration < 30 and split == "test"'
    without_stream: bool = False  # print the clips without any stream, which no search can find
    json: bool = False  # print one JSON object a line

    def __post_init__(self) -> None:
        if self.without_stream and (self.clips or self.where is not None):
            raise ValueError("--without-stream cannot be combined with --clips or --where")

    def run(self) -> int:
        from index.storage import read_snapshot

        snapshot = read_snapshot(self.index)
        if self.without_stream:
            for clip_id in snapshot.without_stream():
                print(json.dumps({"clip_id": clip_id}) if self.json else visible(clip_id))
        elif self.clips or self.where is not None:
            _print_clips(snapshot, self.where, as_json=self.json)
        else:
            _print_facts(self.index, snapshot, as_json=self.json)
        return DONE


@dataclass(frozen=True, kw_only=True)
class VerifyArgs:
    """Read every file and compare it with its checksum. Exit code 1: a file differs."""

    index: Index

    def run(self) -> int:
        from index.storage import verify_index

        with counting_bar("verify", "bytes") as on_bytes:
            findings = verify_index(self.index, on_bytes)
        for finding in findings:
            complain(f"error: {finding}")
        if findings:
            return COULD_NOT
        print_line(f"{self.index}: every file is valid")
        return DONE


@dataclass(frozen=True, kw_only=True)
class CompactArgs:
    """Merge all segments into one and drop removed clips; with --kind, change the kind of the index."""

    index: Index
    kind: Choice | None = None  # kind of scan from now on, see mee index --help
    recall: float | None = None  # share of the exact best 10 that fastscan must find
    drop_offsets: bool = False  # remove the clips' offsets, so that scores are plain again

    def __post_init__(self) -> None:
        Settings().changed(self.kind, self.recall)

    def run(self) -> int:
        from index.storage import open_writer, read_snapshot

        with open_writer(self.index) as writer:
            drop = self.drop_offsets and writer.snapshot.offsets is not None
            if self.drop_offsets and not drop:
                say(f"{self.index} has no offsets")
            settings = writer.snapshot.settings.changed(self.kind, self.recall)
            with counting_bar("compact", "clips") as on_compacted:
                writer.compact(settings=settings, drop_offsets=drop, progress=on_compacted)
        measure_recall(self.index)
        snapshot = read_snapshot(self.index)
        print_index(f"{len(snapshot)} clips in {self.index}", snapshot)
        return DONE


@dataclass(frozen=True, kw_only=True)
class RemoveArgs:
    """Remove clips, without asking. mee index adds those that are still in the store again."""

    index: Index
    clips: tuple[str, ...] = ()  # ids of the clips
    where: Where = None  # remove the clips that match
    dry_run: bool = False  # only print how many clips would be removed

    def __post_init__(self) -> None:
        if bool(self.clips) == (self.where is not None):
            raise ValueError("name the clips to remove: with --clips ID [ID ...], or with --where FILTER")

    def run(self) -> int:
        from index.storage import open_writer
        from index.video_index import VideoIndex

        with open_writer(self.index) as writer:
            places = [VideoIndex(writer.snapshot).find(name) for name in dict.fromkeys(self.clips)]
            tables = [segment.table.arrow["clip_id"] for segment in writer.snapshot.segments]
            clip_ids = list(dict.fromkeys(tables[number][row].as_py() for number, row in places))
            if self.where is not None:
                clip_ids = _clips(writer.snapshot, self.where)["clip_id"].to_pylist()
            if self.dry_run:
                print_line(f"{len(clip_ids)} clips would be removed from {self.index}")
                return DONE
            removed, remaining = writer.remove(clip_ids), len(writer.snapshot)
        print_line(f"{removed} clips removed from {self.index}; {remaining} can be found in it now")
        return DONE


@dataclass(frozen=True, kw_only=True)
class NormaliseArgs:
    """Give every clip an offset (NNN) that mee search subtracts from its scores, so that clips near to all
    sentences rank lower. Clips added later have none: mee gallery compact --drop-offsets, mee index, then this."""

    index: Index
    bank: Path  # training captions: a caption table, of which split train is used, or one sentence a line
    neighbours: int = 128  # nearest captions of the bank that a clip's offset is the mean of
    alpha: float = 0.25  # weight of that mean; cautious: as fitted on real clips
    model: Path | None = None  # the model, if it was moved since the index was made
    device: Device = "auto"  # where to encode the captions

    def __post_init__(self) -> None:
        if self.neighbours < 1 or not 0 <= self.alpha < math.inf:
            raise ValueError("neighbours must be at least 1, and alpha finite and at least 0")

    def run(self) -> int:
        from index.normalise import normalise

        with counting_bar("offsets", "clips") as on_written:
            how: dict[str, Any] = {"neighbours": self.neighbours, "alpha": self.alpha, "model": self.model}
            facts = normalise(self.index, self.bank, **how, device=pick_device(self.device), progress=on_written)
        print_line(f"{self.index}: every clip has an offset of {facts['method']}, from {facts['bank']}")
        return DONE


FORMS = {"list": ListArgs, "verify": VerifyArgs, "compact": CompactArgs, "remove": RemoveArgs}
FORMS |= {"normalise": NormaliseArgs}


@errors_as_sentences
def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    form = parse_form(FORMS, "gallery", argv, __doc__ or "")
    if str(form.index).startswith(SCHEME):
        raise InputError(
            "mee gallery is for indexes in folders; in a database, mee index adds, replaces and removes clips "
            "(--prune), and SQL lists them"
        )
    code: int = form.run()
    return code


def measure_recall(directory: Path | Place, given: tuple[Queries, str] | None = None) -> None:
    """Measure and record an index's recall, with queries or where none is recorded; warn if it is odd."""
    from index.recall import record_recall

    measured = record_recall(directory, given)
    if given is not None and measured is None:
        say("this index is exact, so there is no recall to measure")
    elif given is not None and len(given[0]) < FEW:
        say(f"warning: {given[1]} are few to measure recall by; give --queries some hundreds")
    if measured is not None and measured.target is not None and measured.reached < measured.target:
        say(
            f"warning: recall@10 is {measured.reached:.4f}, below the requested {measured.target:g}; "
            "--kind certified finds all, at a few times the cost"
        )


def print_index(title: str, snapshot: Snapshot) -> None:
    """A row for each set of streams that clips have, and how those are scanned."""
    rows = []
    for row in _patterns(snapshot):
        codes = decimal(row["code_bytes"]) if row["code_bytes"] else "-"
        words = (", ".join(row[name]) for name in ("streams", "kinds"))
        rows.append([*words, f"{row['clips']}", decimal(row["vector_bytes"]), codes])
    print_table(title, ["streams", "kind", "clips", "vectors", "codes"], rows, words=2)
    if recall := snapshot.recall:
        target = "" if recall.target is None else f" (requested: {recall.target:g})"
        print_line(
            f"recall@{recall.at} {recall.reached:.4f}{target}, measured with {recall.source} on {recall.clips} "
            f"clips: {recall.rerank} candidates"
        )


def _patterns(snapshot: Snapshot) -> list[dict[str, Any]]:
    """For each set of streams: streams, clips, kinds, and bytes on disk of vectors and of scanned codes."""
    from index.storage import code_of, folder_of, scanner_name

    partitions = defaultdict(list)
    for partition in sorted(snapshot.partitions, key=lambda partition: partition.pattern, reverse=True):
        partitions[partition.pattern].append(partition)
    rows = []
    for pattern, some in partitions.items():
        code_bytes = 0
        for partition in some:
            if name := snapshot.segments[partition.segment].name:
                path = folder_of(snapshot.folders[partition.segment], name) / scanner_name(
                    partition.scanner.kind, code_of(pattern)
                )
                code_bytes += sum(file.stat().st_size for file in partition.scanner.files(path))
        row: dict[str, Any] = {"streams": list(compress(snapshot.layout.names, pattern))}
        row["clips"] = sum(partition.count for partition in some)
        row |= {"kinds": list(dict.fromkeys(partition.scanner.kind for partition in some))}
        row |= {"vector_bytes": sum(partition.nbytes for partition in some), "code_bytes": code_bytes}
        rows.append(row)
    return rows


def _print_facts(directory: Path, snapshot: Snapshot, *, as_json: bool) -> None:
    """A summary of the index."""
    from index.storage import STANDARD

    removed = sum(len(segment.table) - len(segment) for segment in snapshot.segments)
    without = snapshot.without_stream()
    own = [field for field in snapshot.columns if field.name not in STANDARD]
    columns = {field.name: TYPES.get(str(field.type), str(field.type)) for field in own}
    settings, recall, offsets = snapshot.settings, snapshot.recall, snapshot.offsets
    if as_json:
        facts = {
            "index": str(directory),
            "clips": len(snapshot),
            "without_stream": len(without),
            "generation": snapshot.generation,
            "segments": len(snapshot.segments),
            "shards": len(snapshot.shards),
            "removed_rows": removed,
            "origin": asdict(snapshot.origin),
            "experts": dict(zip(snapshot.layout.names, snapshot.layout.sizes)),
            "settings": asdict(settings),
            "recall": None if recall is None else asdict(recall),
            "offsets": offsets,
            "scale": None if snapshot.scale is None else asdict(snapshot.scale),
            "columns": columns,
            "patterns": _patterns(snapshot),
        }
        print(json.dumps(facts))
        return
    print_index(f"{directory}: {len(snapshot)} clips that can be found", snapshot)
    print()
    rows = {
        "model": f"{snapshot.origin.model} ({snapshot.origin.model_fingerprint})",
        "store": snapshot.origin.store,
        "kind": settings.kind + ("" if settings.recall is None else f", recall {settings.recall:g}"),
        "offsets": "-" if offsets is None else f"{offsets.get('method')}, from {offsets.get('bank')}",
        "weights": "the model's" if snapshot.scale is None else "by how much a sentence stands out in each expert",
        "columns": ", ".join(f"{name} ({kind})" for name, kind in columns.items()) or "-",
        **({"shards": f"{len(snapshot.shards)}"} if snapshot.shards else {}),
        "segments": f"{len(snapshot.segments)}, with {removed} removed rows",
        "no stream": f"{len(without)} clips, which no search finds (--without-stream lists them)",
    }
    for name, words in rows.items():
        print_line(f"{name:10}  {words}")


def _clips(snapshot: Snapshot, where: str | None) -> pa.Table:
    """The clips that match a filter, without removed ones, sorted by id."""
    import numpy as np
    import pyarrow as pa

    from index.filter import Filter
    from index.storage import STANDARD, joined

    parts = [segment.table.arrow for segment in snapshot.segments]
    masks = [np.ones(len(part), bool) for part in parts] if where is None else Filter.parse(where).masks(parts)
    lives = [segment.live for segment in snapshot.segments]
    kept = [pa.array(mask if live is None else mask & live) for mask, live in zip(masks, lives)]
    fields = [field for field in snapshot.columns if field.name in STANDARD or not pa.types.is_null(field.type)]
    empty = pa.schema(fields).empty_table()
    return joined([empty, *(part.filter(keep) for part, keep in zip(parts, kept))]).sort_by("clip_id")


def _print_clips(snapshot: Snapshot, where: str | None, *, as_json: bool) -> None:
    """One line for each clip, with its streams by name; as text, without empty columns."""
    import pyarrow as pa

    table = _clips(snapshot, where)
    codes = table["pattern"].to_pylist()
    streams = [list(compress(snapshot.layout.names, map("1".__eq__, code))) for code in codes]
    hidden = {"pattern", "version", *(["offset"] if snapshot.offsets is None else [])}
    if not as_json and len(table):
        hidden.update(name for name in table.column_names if table[name].null_count == len(table))
    table = table.drop_columns([name for name in table.column_names if name in hidden])
    table = table.append_column("streams", pa.array(streams, pa.list_(pa.string())))
    if as_json:
        for batch in table.to_batches(max_chunksize=ROWS):
            for row in batch.to_pylist():
                print(json.dumps(row))
        return
    cells = [[shown(name), *map(_text, table[name].to_pylist())] for name in table.column_names]
    widths = [max(map(len, column)) for column in cells]
    for line in zip(*cells):
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths)).rstrip())


def _text(value: Any) -> str:
    """A cell as text."""
    if isinstance(value, list):
        return shown(", ".join(value)) or "-"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return f"{round(value, 3):g}"
    return "-" if value in (None, "") else shown(str(value))
