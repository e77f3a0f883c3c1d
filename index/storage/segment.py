"""Segment: clips that came into an index together, as a table and one partition for each availability pattern.

On disk it is an immutable folder, which opening maps without reading vectors; `of_entries` makes one in memory.
Which of its rows count is not part of the segment: each generation of the manifest says it.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from hashlib import sha256
from itertools import compress
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from index.scanners import (
    KINDS,
    Allowed,
    Certified,
    Coding,
    Partition,
    Shape,
    WordRows,
    array_of,
    mapped_array,
    scanner_class,
)
from index.storage.checksums import FileFacts, check_size
from index.storage.entries import Entries, by_pattern, code_of, pattern_of
from index.storage.manifest import SEGMENTS, FileRef, Manifest, SegmentRef, damaged, reading
from index.storage.table import NEEDED, ClipTable, Words, arranged, open_table, open_words
from mee.files import entry, parse_json, read_file, whole_file
from mee.layout import Layout, Pattern

FACTS, TABLE = "segment.json", "clips.arrow"
CODING = "coding.safetensors"  # of the scanners that have one
vectors_name, rows_name = "vectors-{}.npy".format, "rows-{}.npy".format  # of a partition's code
words_names = "words-{0}.arrow words-{0}.npy".format  # of an expert: its table and its vectors
scanner_name = "{}-{}".format  # of a kind and a code: how the file names of a partition's scanner begin


@dataclass(frozen=True, eq=False)
class Segment:
    """N clips, of which some may be removed."""

    table: ClipTable
    partitions: tuple[Partition, ...]  # with all of their rows; `allowed` says which of them count
    words: Mapping[int, Words] = field(default_factory=dict)  # of experts of words, by their numbers
    live: NDArray[np.bool_] | None = None  # (N,) which rows count; None: all
    ref: SegmentRef | None = None  # what the manifest calls it; None: it is in memory
    mapped: Mapping[str, tuple[int, int]] = field(default_factory=dict)  # file: its inode and size

    def check(self) -> None:
        """Check that no mapped file was cut since."""
        check_uncut(self.mapped)

    @property
    def name(self) -> str:
        """Of its folder; empty where it is in memory."""
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
        return rows if self.live is None else rows[self.live[rows]]

    def ids(self, clip_ids: Sequence[str]) -> list[str]:
        """Those of some clips that count here."""
        return self.table.ids(self.live_rows(clip_ids))

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

    def faults(self) -> Iterator[str]:
        """What the table and the partitions of a segment on disk do not agree about: a sentence each."""
        if not self.mapped:
            return
        folder, table = Path(next(iter(self.mapped))).parent, self.table.arrow
        ids, codes = (np.asarray(table[name].to_numpy()) for name in ("clip_id", "pattern"))
        if (ids[1:] <= ids[:-1]).any():
            yield str(damaged(folder / TABLE, "it is not sorted by clip_id"))
        rows = {code_of(partition.pattern): partition.rows for partition in self.partitions}
        for code, its in rows.items():
            if not np.array_equal(its, np.flatnonzero(codes == code)):
                yield str(damaged(folder / rows_name(code), "its rows are not those of its pattern in the table"))
        if any("1" in code for code in set(codes.tolist()) - rows.keys()):
            yield str(damaged(folder / TABLE, "it has clips of a pattern that has no vectors"))


def check_uncut(mapped: Mapping[str, tuple[int, int]]) -> None:
    """Check that files of these inodes and sizes were not cut: reading behind their end would end the process."""
    for path, (inode, size) in mapped.items():
        try:
            status = os.stat(path)  # faster than pathlib's
        except FileNotFoundError:  # deleted; its map stays
            continue
        if status.st_ino == inode and status.st_size < size:
            raise damaged(Path(path), f"it has {status.st_size:,} bytes of {size:,}")


def of_entries(entries: Entries, layout: Layout, *, offsets: bool) -> Segment:
    """A segment in memory, scanned flat, of entries that are checked; offsets: whether vectors end with one."""
    import pyarrow.compute as pc  # here: a search needs none of it

    order = np.asarray(pc.sort_indices(entries.table["clip_id"])).astype(np.int64)
    rows, packed, groups = entries.table.take(pa.array(order)), entries.packed[order], []
    codes = np.empty(len(order), dtype=object)
    for pattern, places in by_pattern(entries.available[order]):
        codes[places] = code_of(pattern)
        groups += [(pattern, places)] if any(pattern) else []
    table = ClipTable(rows.add_column(len(NEEDED), "pattern", pa.array(codes, type=pa.string())))
    new, words = np.argsort(order), {}
    for name, its in entries.words.items():
        if len(its.values):
            of_words, _, row = arranged([(its, new)])
            words[layout.names.index(name)] = Words(of_words, its.values[row])
    partitions = []
    for pattern, places in groups:
        vectors = packed[places[:, None], np.flatnonzero(np.repeat(packed_of(pattern, layout), layout.sizes))]
        if offsets:
            offset = rows["offset"].to_numpy()[places].astype(np.float32)
            vectors = np.concatenate([vectors, offset[:, None]], axis=1)
        scanner = scanner_class("flat").build(vectors, shape_of(pattern, layout, offsets))
        its_words = words_of(words, pattern, places)
        partitions.append(Partition(pattern, vectors, places, scanner, table, 0, words=its_words))
    return Segment(table, tuple(partitions), words)


def packed_of(pattern: Pattern, layout: Layout) -> Pattern:
    """Without experts of words, whose vectors are not packed."""
    return tuple(there and name not in layout.words for there, name in zip(pattern, layout.names))


def shape_of(pattern: Pattern, layout: Layout, offset: bool) -> Shape:
    """How vectors of a pattern are made up."""
    return Shape(tuple(compress(layout.sizes, packed_of(pattern, layout))), offset)


def words_of(
    words: Mapping[int, Words], pattern: Pattern, rows: NDArray[np.int64]
) -> dict[int, tuple[WordRows, NDArray[np.int64]]]:
    """The words of a partition's clips, whose rows in the table are given: see `Partition.words`."""
    found = {}
    for m, its in words.items():
        if pattern[m]:
            places = np.searchsorted(its.clips, rows)
            if places[-1] == len(its.clips) or (its.clips[places] != rows).any():
                raise ValueError("a clip of its pattern has none of them")
            found[m] = its.rows, places
    return found


def with_words(layout: Layout, codes: Iterable[str]) -> list[int]:
    """The numbers of the experts of words that clips of some patterns have."""
    numbers = map(layout.names.index, layout.words)
    return [m for m in numbers if any(code[m] == "1" for code in codes)]


# ---- on disk


@dataclass(frozen=True)
class SegmentFacts:
    """The content of segment.json."""

    clips: int
    partitions: Mapping[str, int]  # code -> rows
    kinds: Mapping[str, str]  # code -> kind
    files: Mapping[str, FileFacts]  # by name


def folder_of(directory: Path, name: str) -> Path:
    """The folder of a segment of an index."""
    return directory / SEGMENTS / name


def read_facts(folder: Path, ref: SegmentRef, layout: Layout) -> SegmentFacts:
    """Read segment.json of a segment, and check that all files exist in their full size."""
    with reading(folder / FACTS):
        text = read_file(entry(folder.parents[1], SEGMENTS, folder.name, FACTS))
        if sha256(text).hexdigest() != ref.sha256:
            raise ValueError("it is not the one that index.json names")
        facts = SegmentFacts(**parse_json(text))
        numbers = [facts.clips, *facts.partitions.values(), *(size for size, _, _ in facts.files.values())]
        if not all(type(number) is int and number > 0 for number in numbers):
            raise ValueError("a number of clips or bytes is none")
        for code in facts.partitions:
            if len(pattern_of(code)) != len(layout.names) or "1" not in code:
                raise ValueError(f"it has clips of pattern {code}")
        if facts.kinds.keys() != facts.partitions.keys() or not set(facts.kinds.values()) <= KINDS.keys():
            raise ValueError("it has partitions of no kind, or of an unknown one")
        needed = {TABLE, *map(vectors_name, facts.partitions), *map(rows_name, facts.partitions)}
        for code, kind in facts.kinds.items():
            needed |= {path.name for path in scanner_class(kind).files(folder / scanner_name(kind, code))}
        if Certified.kind in facts.kinds.values():
            needed.add(CODING)
        for m in with_words(layout, facts.partitions):
            needed |= {*words_names(layout.names[m]).split()}
        if needed != facts.files.keys():
            raise ValueError("it does not name all files, or others")
        if not sum(facts.partitions.values()) <= facts.clips <= facts.files[TABLE][0]:
            raise ValueError(f"it has {facts.clips:,} clips")
    for name, about in sorted(facts.files.items()):
        with reading(folder / name):
            check_size(folder / name, about)
    return facts


def open_segment(directory: Path, manifest: Manifest, ref: SegmentRef, facts: SegmentFacts) -> Segment:
    """Map the files of one of a manifest's segments; shapes are checked, vectors are not read."""
    folder, layout = folder_of(directory, ref.name), manifest.layout
    partitions, mapped = [], {}
    for name in facts.files:
        with reading(folder / name):
            status = (folder / name).stat()
            mapped[str(folder / name)] = status.st_ino, status.st_size
    with reading(folder / TABLE):
        table = open_table(folder / TABLE, facts.clips)
    if CODING in facts.files:
        with reading(folder / CODING):
            coding = _coding(folder, facts, layout, offset=manifest.offsets is not None)
    words = {}
    for m in with_words(layout, facts.partitions):
        of_words, values = (folder / name for name in words_names(layout.names[m]).split())
        with reading(of_words):
            words[m] = open_words(of_words, values, layout.sizes[m], facts.clips)
            if len(words[m].clips) != sum(n for code, n in facts.partitions.items() if code[m] == "1"):
                raise ValueError("it has words of other clips than those of its patterns")
    for code, count in facts.partitions.items():
        shape = shape_of(pattern_of(code), layout, manifest.offsets is not None)
        with reading(folder / vectors_name(code)):
            vectors = mapped_array(folder / vectors_name(code), (count, shape.width), np.float32)
        with reading(folder / rows_name(code)):
            rows = mapped_array(folder / rows_name(code), (count,), np.int64)
            _check_rows(rows, facts.clips)
        path = folder / scanner_name(facts.kinds[code], code)
        with reading(path):
            open_kind = scanner_class(facts.kinds[code]).open
            if facts.kinds[code] == Certified.kind:
                open_kind = partial(Certified.opened, coding=coding, pattern=packed_of(pattern_of(code), layout))
            scanner = open_kind(path, vectors, shape)
        with reading(folder / rows_name(code)):
            its_words = words_of(words, pattern_of(code), rows)
        partitions.append(Partition(pattern_of(code), vectors, rows, scanner, table, 0, words=its_words))
    segment = Segment(table, tuple(partitions), words, ref=replace(ref, removed=None), mapped=mapped)
    return as_of(directory, segment, ref)


def _coding(folder: Path, facts: SegmentFacts, layout: Layout, *, offset: bool) -> Coding:
    """How clips are coded. A wrong number there would make results wrong, so that its checksum is compared."""
    size, digest, _ = facts.files[CODING]
    content = read_file(folder / CODING, size)
    if sha256(content).hexdigest() != digest:
        raise ValueError("its checksum is wrong")
    return Coding.read(content, layout.sizes, offset=offset)


def _check_rows(rows: NDArray[np.int64], clips: int) -> None:
    """Else masks would be read past their end."""
    if not 0 <= rows[0] <= rows[-1] < clips or (rows[1:] <= rows[:-1]).any():
        raise ValueError(f"its rows are not those of {clips:,} clips")


def as_of(directory: Path, segment: Segment, ref: SegmentRef) -> Segment:
    """An open segment, less the rows that another generation of the manifest has removed."""
    if segment.ref == ref:
        return segment
    live = None
    if ref.removed is not None:
        live = np.ones(len(segment.table), dtype=np.bool_)
        live[read_removed(directory, ref.removed, len(live))] = False
    return replace(segment.with_live(live), ref=ref)


def read_removed(directory: Path, ref: FileRef, clips: int) -> NDArray[np.int64]:
    """(N,) rows of a segment of so many clips that do not count."""
    with reading(directory / ref.name):
        content = read_file(directory / ref.name, 1024 + 8 * clips)
        if sha256(content).hexdigest() != ref.sha256:
            raise ValueError("its checksum is wrong")
        rows = array_of(np.frombuffer(content, np.uint8), (-1,), np.int64)
        if len(rows):
            _check_rows(rows, clips)
    return rows


def write_removed(directory: Path, segment: Segment, generation: int) -> Segment:
    """Write which rows of a segment are removed, if that changed; returns it with the file named."""
    if segment.live is None or segment.ref is None or segment.ref.removed is not None:
        return segment
    content = io.BytesIO()
    np.save(content, np.flatnonzero(~segment.live))
    name = f"removed-{segment.ref.name}-{generation:06d}.npy"
    with whole_file(directory / name, "changes") as aside:
        aside.write_bytes(content.getvalue())
    removed = FileRef(name, sha256(content.getvalue()).hexdigest())
    return replace(segment, ref=replace(segment.ref, removed=removed))
