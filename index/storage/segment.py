"""Segment: clips that came into an index together, as a table and one partition for each availability pattern.

On disk it is an immutable folder, which opening maps without reading vectors; `of_entries` makes one in memory.
Which of its rows count is not part of the segment: each generation of the manifest says it.
"""

from __future__ import annotations

import io
import json
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from hashlib import sha256
from itertools import compress
from pathlib import Path
from typing import final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from index.scanners import Allowed, Partition, Shape, Value, build, mapped_array, open_scanner
from index.storage.entries import NEEDED, STANDARD, Entries, by_pattern, code_of, pattern_of
from index.storage.manifest import SEGMENTS, FileRef, SegmentRef, damaged, digest_of, replace_file
from mee.layout import Layout
from mee.scoring import Pattern

FEW = 64  # rows that are read one by one
PASS = 100  # rows of a sorted table that are scanned in the time that one clip is looked up
FACTS, TABLE = "segment.json", "clips.arrow"


@final
class ClipTable:
    """N clips sorted by clip_id, found by row or by name without reading all of them."""

    def __init__(self, arrow: pa.Table) -> None:
        """Take a table with the columns of index/storage/entries.py."""
        self.arrow = arrow
        self._ids = arrow["clip_id"]

    def __len__(self) -> int:
        return len(self.arrow)

    def ids(self, rows: NDArray[np.int64]) -> list[str]:
        """Clip ids of some rows."""
        if len(rows) <= FEW:
            return [self._ids[row].as_py() for row in rows.tolist()]
        found: list[str] = self._ids.take(pa.array(rows)).to_pylist()
        return found

    def find(self, clip_id: str) -> int | None:
        """The row of a clip."""
        row = bisect_left(range(len(self)), clip_id, key=lambda row: self._ids[row].as_py())
        return row if row < len(self) and self._ids[row].as_py() == clip_id else None

    def rows_of(self, clip_ids: Sequence[str]) -> NDArray[np.int64]:
        """(N,) the row of each clip; -1 where it has none."""
        if len(clip_ids) * PASS <= len(self):
            found = [self.find(clip_id) for clip_id in clip_ids]
            return np.array([-1 if row is None else row for row in found], dtype=np.int64)
        rows = pc.index_in(pa.array(clip_ids, type=pa.string()), value_set=self._ids)
        return np.asarray(pc.fill_null(rows, -1), dtype=np.int64)


@dataclass(frozen=True, eq=False)
class Segment:
    """N clips, of which some may be removed."""

    table: ClipTable
    partitions: tuple[Partition, ...]  # with all of their rows; `allowed` says which of them count
    live: NDArray[np.bool_] | None = None  # (N,) which rows count; None: all
    ref: SegmentRef | None = None  # what the manifest calls it; None: it lies in memory

    @property
    def name(self) -> str:
        """Of its folder; empty where it lies in memory."""
        return "" if self.ref is None else self.ref.name

    def __len__(self) -> int:
        """How many clips count, those without streams included."""
        return len(self.table) if self.live is None else int(np.count_nonzero(self.live))

    def with_live(self, live: NDArray[np.bool_] | None) -> Segment:
        """The same clips, of which these rows count; they are not on the disk until `write_removed`."""
        partitions = []
        for partition in self.partitions:
            mask = None if live is None else live[partition.rows]
            allowed = None if mask is None or mask.all() else Allowed(mask)
            partitions.append(replace(partition, allowed=allowed))
        ref = None if self.ref is None else replace(self.ref, removed=None)
        return replace(self, partitions=tuple(partitions), live=live, ref=ref)

    def without(self, rows: NDArray[np.int64]) -> Segment:
        """The same, less some rows."""
        if not len(rows):
            return self
        live = np.ones(len(self.table), dtype=np.bool_) if self.live is None else self.live.copy()
        live[rows] = False
        return self.with_live(live)

    def find(self, clip_id: str) -> int | None:
        """The row of a clip that counts."""
        row = self.table.find(clip_id)
        return row if row is not None and (self.live is None or self.live[row]) else None

    def live_rows(self, clip_ids: Sequence[str]) -> NDArray[np.int64]:
        """Rows of those clips that are here and count."""
        rows = self.table.rows_of(clip_ids)
        rows = rows[rows >= 0]
        return rows if self.live is None else rows[self.live[rows]]

    def live_table(self) -> pa.Table:
        """The rows that count."""
        return self.table.arrow if self.live is None else self.table.arrow.filter(pa.array(self.live))

    def place(self, row: int) -> tuple[Partition, int] | None:
        """The partition that holds a row's vector, and where in it; None: the clip has no stream."""
        for partition in self.partitions:
            place = int(np.searchsorted(partition.rows, row))
            if place < len(partition.rows) and partition.rows[place] == row:
                return partition, place
        return None

    def numbered(self, number: int) -> Segment:
        """The same at another place in a snapshot."""
        if all(partition.segment == number for partition in self.partitions):
            return self
        return replace(self, partitions=tuple(replace(partition, segment=number) for partition in self.partitions))


def of_entries(entries: Entries, layout: Layout, *, offsets: bool) -> Segment:
    """A segment in memory, scanned flat.

    Args:
        entries: checked.
        layout: of the index.
        offsets: whether vectors carry one.
    """
    order = np.asarray(pc.sort_indices(entries.table["clip_id"])).astype(np.int64)
    rows, available = entries.table.take(pa.array(order)), entries.available[order]
    codes, partitions = np.full(len(order), code_of([False] * len(layout.names)), dtype=object), []
    for pattern, places in by_pattern(available):
        codes[places] = code_of(pattern)
    table = ClipTable(rows.add_column(len(NEEDED), "pattern", pa.array(codes, type=pa.string())))
    for pattern, places in by_pattern(available):
        if any(pattern):
            columns = np.flatnonzero(np.repeat(pattern, layout.sizes))
            vectors = entries.packed[order[places]][:, columns]
            if offsets:
                offset = rows["offset"].to_numpy()[places].astype(np.float32)
                vectors = np.concatenate([vectors, offset[:, None]], axis=1)
            vectors = np.ascontiguousarray(vectors)
            scanner = build("flat", vectors, shape_of(pattern, layout, offsets))
            partitions.append(Partition(pattern, vectors, places, scanner, table, 0))
    return Segment(table, tuple(partitions))


def shape_of(pattern: Pattern, layout: Layout, offset: bool) -> Shape:
    """How vectors of a pattern are made up."""
    return Shape(tuple(compress(layout.sizes, pattern)), offset)


# ---- on disk


@dataclass(frozen=True)
class FileFacts:
    """Size and checksum of a file."""

    bytes: int
    sha256: str


@dataclass(frozen=True)
class SegmentFacts:
    """The content of segment.json."""

    clips: int
    partitions: Mapping[str, int]  # code -> rows
    kinds: Mapping[str, str]  # code -> kind
    files: Mapping[str, FileFacts]

    def to_json(self) -> bytes:
        """As a file."""
        return (json.dumps(asdict(self), indent=2) + "\n").encode()


def vectors_name(code: str) -> str:
    """The file of a partition's vectors."""
    return f"vectors-{code}.npy"


def rows_name(code: str) -> str:
    """The file of a partition's rows."""
    return f"rows-{code}.npy"


def scanner_name(kind: str, code: str) -> str:
    """How the file names of a partition's scanner begin."""
    return f"{kind}-{code}"


def folder_of(directory: Path, name: str) -> Path:
    """The folder of a segment of an index."""
    return directory / SEGMENTS / name


def read_facts(folder: Path, ref: SegmentRef, layout: Layout) -> SegmentFacts:
    """Read segment.json, and check that all files exist in their full size.

    Args:
        folder: of the segment.
        ref: what the manifest says of it.
        layout: of the index.
    """
    path = folder / FACTS
    try:
        text = path.read_bytes()
        if sha256(text).hexdigest() != ref.sha256:
            raise ValueError("it is not the one that index.json names")
        content = json.loads(text)
        content["files"] = {name: FileFacts(**file) for name, file in content["files"].items()}
        facts = SegmentFacts(**content)
        for code, count in facts.partitions.items():
            if len(pattern_of(code)) != len(layout.names) or "1" not in code or not 0 < count <= facts.clips:
                raise ValueError(f"it has {count} clips of pattern {code}")
        needed = {TABLE, *map(vectors_name, facts.partitions), *map(rows_name, facts.partitions)}
        if not needed <= facts.files.keys():
            raise ValueError("it does not name all files")
    except FileNotFoundError as error:
        raise damaged(path, "it is missing") from error
    except (OSError, ValueError) as error:
        raise damaged(path, str(error)) from error
    for name in sorted(facts.files):
        try:
            size = (folder / name).stat().st_size
        except OSError as error:
            raise damaged(folder / name, "it is missing") from error
        if size != facts.files[name].bytes:
            raise damaged(folder / name, f"it has {size:,} bytes of {facts.files[name].bytes:,}")
    return facts


def check_content(path: Path, file: FileFacts) -> None:
    """Read a file, and compare it with its checksum."""
    try:
        same = digest_of(path) == file.sha256
    except OSError as error:
        raise damaged(path, error.strerror or str(error)) from error
    if not same:
        raise damaged(path, "its checksum is wrong")


def open_segment(directory: Path, ref: SegmentRef, layout: Layout, *, offsets: bool) -> Segment:
    """Map a segment's files with all rows; sizes and shapes are checked, vectors are not read.

    Args:
        directory: of the index.
        ref: what the manifest says of the segment.
        layout: of the index.
        offsets: whether vectors carry one.
    """
    folder = folder_of(directory, ref.name)
    facts = read_facts(folder, ref, layout)
    table, partitions = ClipTable(_mapped_table(folder / TABLE, facts.clips)), []
    for code, count in facts.partitions.items():
        pattern = pattern_of(code)
        shape = shape_of(pattern, layout, offsets)
        vectors = _mapped(folder / vectors_name(code), (count, shape.width), np.float32)
        rows = _mapped(folder / rows_name(code), (count,), np.int64)
        if not 0 <= rows.min() <= rows.max() < facts.clips:  # else masks would be read past their end
            raise damaged(folder / rows_name(code), f"its rows are not those of {facts.clips:,} clips")
        path = folder / scanner_name(facts.kinds[code], code)
        try:
            scanner = open_scanner(facts.kinds[code], path, vectors, shape)
        except (ValueError, OSError, RuntimeError, KeyError) as error:
            raise damaged(path, str(error)) from error
        partitions.append(Partition(pattern, vectors, rows, scanner, table, 0))
    return Segment(table, tuple(partitions), ref=replace(ref, removed=None))


def with_removed(directory: Path, segment: Segment, ref: SegmentRef) -> Segment:
    """An open segment as another generation of the manifest has it."""
    if segment.ref == ref:
        return segment
    live = None
    if ref.removed is not None:
        live = np.ones(len(segment.table), dtype=np.bool_)
        live[read_removed(directory, ref.removed)] = False
    return replace(segment.with_live(live), ref=ref)


def _mapped_table(path: Path, count: int) -> pa.Table:
    try:
        table = pa.ipc.open_file(pa.memory_map(str(path))).read_all()
        table.validate()
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


def read_removed(directory: Path, ref: FileRef) -> NDArray[np.int64]:
    """(N,) rows of a segment that do not count."""
    path = directory / ref.name
    try:
        content = path.read_bytes()
        if sha256(content).hexdigest() != ref.sha256:
            raise ValueError("its checksum is wrong")
        rows: NDArray[np.int64] = np.load(io.BytesIO(content), allow_pickle=False)
        if rows.ndim != 1 or rows.dtype != np.int64:
            raise ValueError(f"it holds {rows.shape} {rows.dtype}")
    except FileNotFoundError as error:
        raise damaged(path, "it is missing") from error
    except (OSError, ValueError, EOFError) as error:
        raise damaged(path, str(error)) from error
    return rows


def write_removed(directory: Path, segment: Segment, generation: int) -> Segment:
    """Write which rows of a segment are removed, if that changed; returns it with the file named."""
    if segment.live is None or segment.ref is None or segment.ref.removed is not None:
        return segment
    content = io.BytesIO()
    np.save(content, np.flatnonzero(~segment.live))
    name = f"removed-{segment.ref.name}-{generation:06d}.npy"
    replace_file(directory / name, content.getvalue())
    removed = FileRef(name, sha256(content.getvalue()).hexdigest())
    return replace(segment, ref=replace(segment.ref, removed=removed))
