"""Segment: clips that came into an index together, as a table and one partition for each availability pattern.

On disk it is a folder whose segment.json says what it holds; opening maps the files without reading them, and a
segment that is open already stays open when its index is opened again.
"""

from __future__ import annotations

import hashlib
import json
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import compress
from pathlib import Path
from typing import final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from safetensors.numpy import save

from index.scanners import Allowed, Partition, Shape, Value, mapped_array, open_scanner
from index.storage.columns import STANDARD, pattern_of
from index.storage.manifest import SEGMENTS, Manifest, Part, damaged, digest_of, read_removed, replace_file
from mee.layout import Layout
from mee.scoring import Pattern

FEW = 64  # rows that are read one by one
PASS = 100  # rows of a sorted table that are passed over in the time that one clip is looked up


@final
class ClipTable:
    """N clips by row and by name, without reading all of them where they lie sorted on disk."""

    def __init__(self, arrow: pa.Table, places: Mapping[str, Sequence[int]] | None = None) -> None:
        """Take a table over.

        Args:
            arrow: with the columns of index/storage/columns.py.
            places: of clips by name, all their rows, rising, of which those from N on are not looked at; None: the
                table is sorted by clip_id, each once.
        """
        self.arrow = arrow
        self._ids = arrow["clip_id"]
        self._places = places

    def __len__(self) -> int:
        return len(self.arrow)

    def ids(self, rows: NDArray[np.int64]) -> list[str]:
        """Clip ids of some rows."""
        if len(rows) <= FEW:
            return [self._ids[row].as_py() for row in rows.tolist()]
        found: list[str] = self._ids.take(pa.array(rows)).to_pylist()
        return found

    def find(self, clip_id: str) -> int | None:
        """The row of a clip, the last if it has several; None where it has none."""
        if self._places is not None:
            rows = self._places.get(clip_id, ())
            place = bisect_left(rows, len(self))
            return rows[place - 1] if place else None
        row = bisect_left(range(len(self)), clip_id, key=lambda row: self._ids[row].as_py())
        return row if row < len(self) and self._ids[row].as_py() == clip_id else None

    def rows_of(self, clip_ids: Sequence[str]) -> NDArray[np.int64]:
        """(N,) the row of each clip; -1 where it has none."""
        if self._places is not None or len(clip_ids) * PASS <= len(self):
            found = [self.find(clip_id) for clip_id in clip_ids]
            return np.array([-1 if row is None else row for row in found], dtype=np.int64)
        rows = pc.index_in(pa.array(clip_ids, type=pa.string()), value_set=self._ids)
        return np.asarray(pc.fill_null(rows, -1), dtype=np.int64)


@dataclass(frozen=True, eq=False)
class Segment:
    """N clips, of which some may no longer count."""

    name: str  # of its folder; "" where it lies in memory
    table: ClipTable
    partitions: tuple[Partition, ...]  # with all of their rows; which of them count stands in `allowed`
    live: NDArray[np.bool_] | None = None  # (N,) which rows count; None: all
    digest: str = ""  # SHA-256 of its segment.json

    def __len__(self) -> int:
        """How many clips count, those without streams included."""
        return len(self.table) if self.live is None else int(np.count_nonzero(self.live))

    def with_live(self, live: NDArray[np.bool_] | None) -> Segment:
        """The same clips, of which these count."""
        if live is not None and live.all():
            live = None
        partitions = (
            replace(partition, allowed=None if live is None else _allowed(live[partition.rows]))
            for partition in self.partitions
        )
        return replace(self, partitions=tuple(partitions), live=live)

    def without(self, rows: NDArray[np.int64]) -> Segment:
        """The same, less some rows."""
        if not len(rows):
            return self
        live = np.ones(len(self.table), dtype=np.bool_) if self.live is None else self.live.copy()
        live[rows] = False
        return self.with_live(live)

    def is_live(self, row: int) -> bool:
        """Whether a row counts."""
        return self.live is None or bool(self.live[row])

    def find(self, clip_id: str) -> int | None:
        """The row of a clip that counts."""
        row = self.table.find(clip_id)
        return row if row is not None and self.is_live(row) else None

    def live_rows(self, clip_ids: list[str]) -> NDArray[np.int64]:
        """Rows that count of those clips that have one."""
        rows = self.table.rows_of(clip_ids)
        rows = rows[rows >= 0]
        return rows if self.live is None else rows[self.live[rows]]

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


def shape_of(pattern: Pattern, layout: Layout, offset: bool) -> Shape:
    """How vectors of a pattern are made up."""
    return Shape(tuple(compress(layout.sizes, pattern)), offset)


def _allowed(mask: NDArray[np.bool_]) -> Allowed | None:
    return None if mask.all() else Allowed(mask)


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
    """What the files of a partition's scanner begin with."""
    return f"{kind}-{code}"


def folder_of(directory: Path, name: str) -> Path:
    """Where a segment of an index lies."""
    return directory / SEGMENTS / name


def read_facts(folder: Path, sha256: str) -> SegmentFacts:
    """What a segment holds; its files are there, and as long as they must be."""
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
    if not {TABLE, *map(vectors_name, facts.partitions), *map(rows_name, facts.partitions)} <= facts.files.keys():
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
    """Read a file, and compare it with its SHA-256."""
    try:
        same = digest_of(path) == file.sha256
    except OSError as error:
        raise damaged(path, error.strerror or str(error)) from error
    if not same:
        raise damaged(path, "it is not what was written")


def open_segment(directory: Path, part: Part, facts: SegmentFacts, layout: Layout, *, offsets: bool) -> Segment:
    """Map a segment's files.

    Args:
        directory: of the index.
        part: the segment.
        facts: what it holds.
        layout: of the index.
        offsets: whether vectors carry one.
    """
    folder = folder_of(directory, part.name)
    table = ClipTable(_mapped_table(folder / TABLE, facts.clips))
    partitions = []
    for code, count in facts.partitions.items():
        try:
            pattern = pattern_of(code)
            if len(pattern) != len(layout.names) or not any(pattern) or not 0 < count <= facts.clips:
                raise ValueError(f"it has {count} clips of pattern {code}")
        except ValueError as error:
            raise damaged(folder / FACTS, str(error)) from error
        shape = shape_of(pattern, layout, offsets)
        vectors = _mapped(folder / vectors_name(code), (count, shape.width), np.float32)
        rows = _mapped(folder / rows_name(code), (count,), np.int64)
        path = folder / scanner_name(facts.kinds[code], code)
        try:
            scanner = open_scanner(facts.kinds[code], path, vectors, shape)
        except (ValueError, OSError, RuntimeError, KeyError) as error:
            raise damaged(path, str(error)) from error
        partitions.append(Partition(pattern, vectors, rows, scanner, table, 0))
    return Segment(part.name, table, tuple(partitions), digest=part.sha256)


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


CHECKED = 256 << 20  # bytes of new files that are compared with their SHA-256, if they are no more in all
SKIMMED = 32 << 20  # bytes of the smallest of them, if they are more; verify compares them all


def open_segments(directory: Path, manifest: Manifest, known: Sequence[Segment] = ()) -> list[Segment]:
    """The segments, less what was removed of them when the manifest was written.

    Args:
        directory: of the index.
        manifest: of the index.
        known: segments that may be among them.
    """
    removed = read_removed(directory, manifest.removed)
    there = {(segment.name, segment.digest): segment for segment in known}
    facts = {
        part: read_facts(folder_of(directory, part.name), part.sha256)
        for part in manifest.segments
        if (part.name, part.sha256) not in there
    }
    files = [
        (folder_of(directory, part.name) / name, file)
        for part in facts
        for name, file in facts[part].files.items()
    ]
    left = CHECKED if sum(file.bytes for _, file in files) <= CHECKED else SKIMMED
    for path, file in sorted(files, key=lambda item: item[1].bytes):
        left -= file.bytes
        if left >= 0:
            check_content(path, file)
    offsets, opened = manifest.offsets is not None, []
    for part in manifest.segments:
        segment = there.get((part.name, part.sha256))
        if segment is None:
            segment = open_segment(directory, part, facts[part], manifest.layout, offsets=offsets)
        segment = segment.with_live(None)
        opened.append(segment.without(removed[part.name]) if part.name in removed else segment)
    return opened


def write_removed(path: Path, segments: Sequence[Segment]) -> Part | None:
    """Write down what of some segments does not count; None, and no file, where all of it does."""
    gone = {segment.name: np.flatnonzero(~segment.live) for segment in segments if segment.live is not None}
    if not gone:
        return None
    content = save(gone)
    replace_file(path, content)
    return Part(path.name, hashlib.sha256(content).hexdigest())
