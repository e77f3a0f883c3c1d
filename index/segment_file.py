"""A segment's folder: writing down what it holds, and opening it without reading it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from index.clip_table import ClipTable
from index.columns import STANDARD
from index.durable import digest_of
from index.manifest import SEGMENTS, Part, damaged
from index.mapped import Value, mapped_array
from index.pattern_codes import pattern_of
from index.scanners.kinds import open_scanner
from index.scanners.scanner import Kind
from index.segment import Segment, shape_of
from index.unit import Unit
from mee.layout import Layout

FACTS, TABLE = "segment.json", "clips.arrow"


@dataclass(frozen=True)
class FileFacts:
    """What a file must be."""

    bytes: int
    sha256: str


@dataclass(frozen=True)
class SegmentFacts:
    """What segment.json says."""

    clips: int
    units: Mapping[str, int]  # code -> rows
    kinds: Mapping[str, Kind]  # code -> kind
    files: Mapping[str, FileFacts]

    def to_json(self) -> bytes:
        """As a file."""
        return (json.dumps(asdict(self), indent=2) + "\n").encode()


def vectors_name(code: str) -> str:
    """The file of a unit's vectors."""
    return f"vectors-{code}.npy"


def rows_name(code: str) -> str:
    """The file of a unit's rows."""
    return f"rows-{code}.npy"


def scanner_name(kind: Kind, code: str) -> str:
    """What the files of a unit's scanner begin with."""
    return f"{kind}-{code}"


def folder_of(directory: Path, name: str) -> Path:
    """Where a segment of an index lies."""
    return directory / SEGMENTS / name


def read_facts(folder: Path, sha256: str) -> SegmentFacts:
    """What a segment holds; its files are there, and as long as they must be.

    Raises:
        InputError: they are not.
    """
    path = folder / FACTS
    try:
        content = json.loads(path.read_bytes())
        if digest_of(path) != sha256:
            raise ValueError("it is not the one that index.json means")
        content["files"] = {name: FileFacts(**file) for name, file in content["files"].items()}
        facts = SegmentFacts(**content)
    except FileNotFoundError as error:
        raise damaged(path, "it is not there") from error
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise damaged(path, str(error)) from error
    if not {TABLE, *map(vectors_name, facts.units), *map(rows_name, facts.units)} <= facts.files.keys():
        raise damaged(path, "it does not name all files")
    for name in sorted(facts.files):
        try:
            size = (folder / name).stat().st_size
        except OSError as error:
            raise damaged(folder / name, "it is not there") from error
        if size != facts.files[name].bytes:
            raise damaged(folder / name, f"it has {size:,} bytes of {facts.files[name].bytes:,}")
    return facts


def check_content(path: Path, file: FileFacts) -> None:
    """Read a file, and compare it with its SHA-256.

    Raises:
        InputError: it is not what was written.
    """
    try:
        same = digest_of(path) == file.sha256
    except OSError as error:
        raise damaged(path, error.strerror or str(error)) from error
    if not same:
        raise damaged(path, "it is not what was written")


def open_segment(directory: Path, part: Part, facts: SegmentFacts, layout: Layout, *, constants: bool) -> Segment:
    """Map a segment's files.

    Args:
        directory: of the index.
        part: the segment.
        facts: what it holds.
        layout: of the index.
        constants: whether vectors carry one.

    Raises:
        InputError: they do not belong together.
    """
    folder = folder_of(directory, part.name)
    table = ClipTable(_mapped_table(folder / TABLE, facts.clips))
    units = []
    for code, count in facts.units.items():
        try:
            pattern = pattern_of(code)
            if len(pattern) != len(layout.names) or not any(pattern) or not 0 < count <= facts.clips:
                raise ValueError(f"it has {count} clips of pattern {code}")
        except ValueError as error:
            raise damaged(folder / FACTS, str(error)) from error
        shape = shape_of(pattern, layout, constants)
        vectors = _mapped(folder / vectors_name(code), (count, shape.width), np.float32)
        rows = _mapped(folder / rows_name(code), (count,), np.int64)
        path = folder / scanner_name(facts.kinds[code], code)
        try:
            scanner = open_scanner(facts.kinds[code], path, vectors, shape)
        except (ValueError, OSError, RuntimeError, KeyError) as error:
            raise damaged(path, str(error)) from error
        units.append(Unit(pattern, vectors, rows, scanner, table, 0))
    return Segment(part.name, table, tuple(units), digest=part.sha256)


def _mapped_table(path: Path, count: int) -> pa.Table:
    try:
        table = pa.ipc.open_file(pa.memory_map(str(path))).read_all()
        lacking = set(STANDARD) - set(table.column_names)
        if lacking:
            raise ValueError(f"it has no column '{min(lacking)}'")
        if len(table) != count:
            raise ValueError(f"it has {len(table):,} clips of {count:,}")
    except (pa.ArrowException, OSError, ValueError) as error:
        raise damaged(path, str(error)) from error
    return table


def _mapped(path: Path, shape: tuple[int, ...], dtype: type[Value]) -> NDArray[Value]:
    try:
        return mapped_array(path, shape, dtype)
    except (OSError, ValueError, EOFError) as error:
        raise damaged(path, str(error)) from error
