"""What mee index and mee gallery say of an index: its streams and kinds, its facts, its clips; or JSON."""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import asdict
from itertools import compress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.filesize import decimal as size_of

from scripts.console import print_table, say, visible

if TYPE_CHECKING:
    import pyarrow as pa

    from index.queries import Queries
    from index.storage import Recall, Snapshot

FEW = 20  # queries that say too little about recall
ROWS = 20_000  # clips printed at a time
WORDS = {
    "string": "text",
    "int64": "whole numbers",
    "double": "numbers",
    "bool": "true / false",
    "null": "nothing",
}


def measure_recall(directory: Path, given: tuple[Queries, str] | None = None) -> None:
    """Measure and record an index's recall, with queries or where none is recorded; say what is odd about it."""
    from index.recall import record_recall

    measured = record_recall(directory, given)
    if given is not None and measured is None:
        say("every answer of this index is exact, so there is no recall to measure")
    elif given is not None and len(given[0]) < FEW:
        say(f"warning: {given[1]} are few to measure recall by; give --queries some hundreds")
    if measured is not None and measured.target is not None and measured.reached < measured.target:
        say(
            f"warning: recall@10 is {measured.reached:.4f}, and {measured.target:g} was asked for; "
            "--kind certified finds all, at a few times the cost"
        )


def print_index(title: str, directory: Path, snapshot: Snapshot) -> None:
    """A row for each set of streams that clips have, and how those are searched."""
    rows = [
        [
            ", ".join(row["streams"]),
            ", ".join(row["kinds"]),
            f"{row['clips']}",
            size_of(row["vector_bytes"]),
            size_of(row["code_bytes"]) if row["code_bytes"] else "-",
        ]
        for row in _patterns(directory, snapshot)
    ]
    print_table(title, ["streams", "kind", "clips", "vectors", "codes"], rows, words=2)
    if snapshot.recall is not None:
        print(_in_words(snapshot.recall))


def _in_words(recall: Recall) -> str:
    asked = "" if recall.target is None else f" (asked for {recall.target:g})"
    return (
        f"recall@{recall.at} {recall.reached:.4f}{asked}, measured with {recall.source} on {recall.clips} clips: "
        f"{recall.rerank} candidates"
    )


def _patterns(directory: Path, snapshot: Snapshot) -> list[dict[str, Any]]:
    """Of each set of streams: streams, clips, kinds, and bytes on disk of vectors and of what else is scanned."""
    from index.scanners import files
    from index.storage import code_of, folder_of, scanner_name

    partitions = defaultdict(list)
    for partition in sorted(snapshot.partitions, key=lambda partition: partition.pattern, reverse=True):
        partitions[partition.pattern].append(partition)
    return [
        {
            "streams": list(compress(snapshot.layout.names, pattern)),
            "clips": sum(partition.count for partition in some),
            "kinds": list(dict.fromkeys(partition.scanner.kind for partition in some)),
            "vector_bytes": sum(partition.vectors.nbytes for partition in some),
            "code_bytes": sum(
                file.stat().st_size
                for partition in some
                if (name := snapshot.segments[partition.segment].name)
                for file in files(
                    partition.scanner.kind,
                    folder_of(directory, name) / scanner_name(partition.scanner.kind, code_of(pattern)),
                )
            ),
        }
        for pattern, some in partitions.items()
    ]


def print_facts(directory: Path, snapshot: Snapshot, *, as_json: bool) -> None:
    """What the index is."""
    from index.storage import STANDARD

    removed = sum(len(segment.table) - len(segment) for segment in snapshot.segments)
    without = snapshot.without_stream()
    kinds = {field.name: str(field.type) for field in snapshot.columns if field.name not in STANDARD}
    columns = {name: WORDS.get(kind, kind) for name, kind in kinds.items()}
    settings, recall, offsets = snapshot.settings, snapshot.recall, snapshot.offsets
    if as_json:
        facts = {
            "index": str(directory),
            "clips": len(snapshot),
            "without_stream": len(without),
            "generation": snapshot.generation,
            "segments": len(snapshot.segments),
            "removed_rows": removed,
            "origin": asdict(snapshot.origin),
            "experts": dict(zip(snapshot.layout.names, snapshot.layout.sizes)),
            "settings": asdict(settings),
            "recall": None if recall is None else asdict(recall),
            "offsets": offsets,
            "columns": columns,
            "patterns": _patterns(directory, snapshot),
        }
        print(json.dumps(facts))
        return
    print_index(f"{directory}: {len(snapshot)} clips that can be found", directory, snapshot)
    print()
    rows = {
        "model": f"{snapshot.origin.model} ({snapshot.origin.model_fingerprint})",
        "store": snapshot.origin.store,
        "kind": settings.kind + ("" if settings.recall is None else f", recall {settings.recall:g}"),
        "offsets": "-" if offsets is None else f"{offsets.get('method')}, from {offsets.get('bank')}",
        "columns": ", ".join(f"{name} ({kind})" for name, kind in columns.items()) or "-",
        "segments": f"{len(snapshot.segments)}, with {removed} rows that no longer count",
        "no stream": f"{len(without)} clips, that nothing finds (--without-stream lists them)",
    }
    for name, words in rows.items():
        print(f"{name:10}  {visible(words)}")


def clips_of(snapshot: Snapshot, where: str | None) -> pa.Table:
    """The clips that count and for which a filter holds, sorted by their ids."""
    import numpy as np
    import pyarrow as pa

    from index.request import Filter
    from index.storage import STANDARD, joined

    parts = [segment.table.arrow for segment in snapshot.segments]
    masks = [np.ones(len(part), bool) for part in parts] if where is None else Filter.parse(where).masks(parts)
    lives = [segment.live for segment in snapshot.segments]
    kept = [pa.array(mask if live is None else mask & live) for mask, live in zip(masks, lives)]
    fields = [field for field in snapshot.columns if field.name in STANDARD or not pa.types.is_null(field.type)]
    empty = pa.schema(fields).empty_table()
    return joined([empty, *(part.filter(keep) for part, keep in zip(parts, kept))]).sort_by("clip_id")


def print_clips(snapshot: Snapshot, where: str | None, *, as_json: bool) -> None:
    """One line a clip, `streams` in the place of the pattern; as text, without columns that are empty."""
    import pyarrow as pa

    table = clips_of(snapshot, where)
    codes = table["pattern"].to_pylist()
    streams = [list(compress(snapshot.layout.names, map(int, code))) for code in codes]
    hidden = {"pattern", "version", *(["offset"] if snapshot.offsets is None else [])}
    if not as_json and len(table):
        hidden.update(name for name in table.column_names if table[name].null_count == len(table))
    table = table.drop_columns([name for name in table.column_names if name in hidden])
    table = table.append_column("streams", pa.array(streams, pa.list_(pa.string())))
    if as_json:
        for batch in table.to_batches(max_chunksize=ROWS):
            for row in batch.to_pylist():
                print(json.dumps(row, ensure_ascii=False))
        return
    cells = [[name, *map(_text, table[name].to_pylist())] for name in table.column_names]
    widths = [max(map(len, column)) for column in cells]
    for line in zip(*cells):
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths)).rstrip())


def _text(value: Any) -> str:
    """Of a cell, for people."""
    if isinstance(value, list):
        return ", ".join(value) or "-"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return f"{round(value, 3):g}"
    return "-" if value in (None, "") else visible(str(value))
