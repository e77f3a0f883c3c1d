"""What an index holds, as a table: a row for each set of streams that clips have, and how those are searched."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from itertools import compress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scripts.console import print_table
from scripts.store_tables import size_of

if TYPE_CHECKING:
    from index.snapshot import Snapshot


def pattern_rows(directory: Path, snapshot: Snapshot) -> list[dict[str, Any]]:
    """Of each set of streams: streams, clips, kinds, and bytes on disk of vectors and of what else is scanned."""
    from index.pattern_codes import code_of
    from index.scanners.kinds import files
    from index.segment_file import folder_of, scanner_name

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
