"""What `mee gallery list` prints: what an index is, or a line a clip; or JSON, one object a line.

Clips may be millions: they are printed part by part.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from index.storage.columns import STANDARD, joined
from scripts.build_index import pattern_rows, print_patterns, recall_in_words
from scripts.console import visible
from scripts.gallery_clips import tables

if TYPE_CHECKING:
    from index.storage.snapshot import Snapshot

BATCH = 20_000  # clips printed at once
LONGEST = 60  # letters of a cell that others are lined up with
WORDS = {
    "string": "text",
    "int64": "whole numbers",
    "double": "numbers",
    "bool": "true / false",
    "null": "nothing",
}


def print_facts(directory: Path, snapshot: Snapshot, *, as_json: bool) -> None:
    """What the index is."""
    patterns = pattern_rows(directory, snapshot)
    removed = sum(len(segment.table) - len(segment) for segment in snapshot.segments)
    columns = {
        field.name: WORDS.get(str(field.type), str(field.type))
        for field in snapshot.columns
        if field.name not in STANDARD
    }
    without = snapshot.without_stream()
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
            "settings": asdict(snapshot.settings),
            "recall": snapshot.recall,
            "constants": snapshot.constants,
            "columns": columns,
            "patterns": patterns,
        }
        print(json.dumps(facts))
        return
    settings = snapshot.settings
    print_patterns(f"{directory}: {len(snapshot)} clips that can be found", patterns)
    print()
    rows = {
        "model": f"{snapshot.origin.model} ({snapshot.origin.model_fingerprint})",
        "store": snapshot.origin.store,
        "kind": settings.kind + ("" if settings.recall is None else f", recall {settings.recall:g}"),
        "measured": "-" if snapshot.recall is None else recall_in_words(dict(snapshot.recall)),
        "constants": _constants(snapshot),
        "columns": ", ".join(f"{name} ({kind})" for name, kind in columns.items()) or "-",
        "segments": f"{len(snapshot.segments)}, with {removed} rows that no longer count",
        "no stream": f"{len(without)} clips, that nothing finds (--without-stream lists them)",
    }
    for name, words in rows.items():
        print(f"{name:10}  {visible(words)}")


def _constants(snapshot: Snapshot) -> str:
    if snapshot.constants is None:
        return "-"
    return f"{snapshot.constants.get('method')}, from {snapshot.constants.get('bank')}"


def print_clips(snapshot: Snapshot, where: str | None, *, as_json: bool) -> None:
    """One line a clip: those for which a filter holds."""
    parts = _parts(snapshot, where, only_filled=not as_json)
    if as_json:
        for table in parts:
            for row in table.to_pylist():
                print(json.dumps(row, ensure_ascii=False))
        return
    for number, table in enumerate(parts):
        texts = {name: _texts(table[name]) for name in table.column_names}
        if not number:
            widths = {name: _width(name, cells) for name, cells in texts.items()}
            print("  ".join(name.ljust(widths[name]) for name in texts).rstrip())
        lined = ([cell.ljust(widths[name]) for cell in cells] for name, cells in texts.items())
        for cells in zip(*lined):
            print("  ".join(cells).rstrip())


def _parts(snapshot: Snapshot, where: str | None, *, only_filled: bool) -> Iterator[pa.Table]:
    """The clips in the order of their ids, with `streams` in the place of the pattern; one part at least.

    Args:
        snapshot: of the index.
        where: a filter.
        only_filled: leave out columns of which nothing is known, the files' of imported clips say.
    """
    fields = [field for field in snapshot.columns if field.name in STANDARD or not pa.types.is_null(field.type)]
    empty = pa.schema(fields).empty_table()
    table = joined([empty, *tables(snapshot, where)]).sort_by("clip_id")
    carried = [name for name in ("constant", "active") if snapshot.constants is not None]
    shown = [name for name in table.column_names if name not in ("pattern", "constant", "active", "version")]
    if only_filled and len(table):
        shown = [name for name in shown if table[name].null_count < len(table)]
    names = snapshot.layout.names
    for start in range(0, max(1, len(table)), BATCH):
        part = table.slice(start, BATCH)
        codes = part["pattern"].to_pylist()
        streams = [[name for name, there in zip(names, code) if there == "1"] for code in codes]
        chosen = part.select([*shown, *carried])
        yield chosen.append_column("streams", pa.array(streams, pa.list_(pa.string())))


def _texts(column: pa.ChunkedArray) -> list[str]:
    """For people."""
    if pa.types.is_floating(column.type):
        column = pc.round(column, 3)
    return [_text(value) for value in column.to_pylist()]


def _text(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(value) or "-"
    if isinstance(value, bool):
        return "true" if value else "false"
    return "-" if value in (None, "") else f"{value:g}" if isinstance(value, float) else visible(str(value))


def _width(name: str, cells: list[str]) -> int:
    return max(len(name), min(LONGEST, max(map(len, cells), default=0)))
