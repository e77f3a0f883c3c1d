"""Several segments -> one new segment on disk; memory grows with the table, not with the vectors. Which to merge.

The new table is sorted by clip_id. As the sources are, too, each is read from its beginning to its end, partition
by partition, and one block at a time is written; codes are made from the written, mapped vectors.

    level(n) = floor(log4(n / 1024)), at least 0

Four segments of one level are merged, with all of lower levels, into one of a higher level (or, at level 0, into
one). So there are at most three of each level, O(log N) in all, and above level 0 a clip is copied O(log N) times.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from hashlib import sha256
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from index.scanners import Certified, choose, scanner_class
from index.storage.checksums import facts_of, whole_folder
from index.storage.entries import finite_offsets, joined, pattern_of
from index.storage.manifest import Manifest, SegmentRef, damaged
from index.storage.segment import (
    CODING,
    FACTS,
    TABLE,
    Segment,
    SegmentFacts,
    folder_of,
    packed_of,
    rows_name,
    scanner_name,
    shape_of,
    vectors_name,
    with_words,
    words_names,
)
from index.storage.table import arranged
from mee.errors import InputError
from mee.layout import Layout

Progress = Callable[[int, int], None]  # clips done, of how many
FANOUT, FLOOR = 4, 1024
BLOCK = 1 << 24  # bytes of vectors that are copied at a time


def level_of(clips: int) -> int:
    """Of a segment of so many clips."""
    return max(0, math.floor(math.log(max(clips, 1) / FLOOR, FANOUT)))


def to_merge(segments: Sequence[Segment]) -> list[Segment]:
    """Those that become one new segment: where one level has four, and those of which less than half counts."""
    chosen = [segment for segment in segments if 2 * len(segment) < len(segment.table)]
    for level in range(1 + max((level_of(len(segment)) for segment in segments), default=0)):
        others = [segment for segment in segments if segment not in chosen]
        merged = bool(chosen) and level_of(sum(map(len, chosen))) == level
        if merged + sum(level_of(len(segment)) == level for segment in others) >= FANOUT:
            chosen += [segment for segment in others if level_of(len(segment)) <= level]
    return chosen


@dataclass(frozen=True)
class Clips:
    """The clips of several segments that count, as one table."""

    segments: Sequence[Segment]
    table: pa.Table  # sorted by clip_id
    source: NDArray[np.int64]  # (N,) number of the segment that a clip comes from
    row: NDArray[np.int64]  # (N,) its row there

    @classmethod
    def of(cls, segments: Sequence[Segment]) -> Clips:
        """Join their tables, of segments that are not damaged."""
        for segment in segments:
            segment.check()
            for fault in segment.faults():
                raise InputError(fault)
        rows = [
            np.arange(len(segment.table)) if segment.live is None else np.flatnonzero(segment.live)
            for segment in segments
        ]
        table = joined(segment.live_table() for segment in segments)
        order = np.asarray(pc.sort_indices(table["clip_id"])).astype(np.int64)
        source = np.repeat(np.arange(len(rows)), [len(some) for some in rows])
        table = table.take(pa.array(order)).combine_chunks()
        return cls(segments, table, source[order], np.concatenate(rows)[order])

    def with_offsets(self, offsets: Mapping[str, float]) -> Clips:
        """The same with other offsets, {clip_id: offset}.

        Raises:
            ValueError: a clip with a stream has none that is finite.
        """
        given = pa.array(map(offsets.get, self.table["clip_id"].to_pylist()), type=pa.float64())
        table = self.table.set_column(self.table.column_names.index("offset"), "offset", given)
        fine = pc.fill_null(finite_offsets(table), False)
        lacking = pc.and_(pc.match_substring(table["pattern"], "1"), pc.invert(fine))
        count = pc.sum(lacking).as_py()
        if count:
            first = table["clip_id"][pc.index(lacking, True).as_py()]
            raise ValueError(f"{count} clips have no finite offset, '{first}' among them; every clip needs one")
        return replace(self, table=table)


def write_segment(
    directory: Path, manifest: Manifest, clips: Clips, progress: Progress | None = None
) -> tuple[SegmentRef, SegmentFacts]:
    """Write clips as a new segment, durably; an error leaves nothing. Returns what its segment.json holds, too.

    The manifest is going to name it: its generation numbers the segment.
    """
    folder = folder_of(directory, f"{manifest.generation:06d}")
    with whole_folder(folder) as aside:
        with pa.ipc.new_file(aside / TABLE, clips.table.schema) as file:
            file.write_table(clips.table)
        _write_words(aside, manifest.layout, clips)
        codes, kinds, partitions, done = clips.table["pattern"].combine_chunks().dictionary_encode(), {}, {}, 0
        numbers = np.asarray(codes.indices)
        for code, number in sorted((code, number) for number, code in enumerate(codes.dictionary.to_pylist())):
            rows = np.flatnonzero(numbers == number)
            if "1" in code:
                kinds[code] = _write_partition(aside, manifest, clips, code, rows)
                partitions[code] = len(rows)
            done += len(rows)
            if progress is not None:
                progress(done, len(numbers))
        _write_scanners(aside, manifest, kinds)
        facts = SegmentFacts(len(numbers), partitions, kinds, facts_of(aside))
        text = json.dumps(asdict(facts), indent=2).encode()
        (aside / FACTS).write_bytes(text)
    return SegmentRef(folder.name, sha256(text).hexdigest()), facts


def _write_partition(folder: Path, manifest: Manifest, clips: Clips, code: str, rows: NDArray[np.int64]) -> str:
    """Write the clips of one pattern, a few megabytes at a time; returns the kind of their scanner."""
    pattern, offsets = pattern_of(code), manifest.offsets is not None
    shape = shape_of(pattern, manifest.layout, offsets)
    width, kept = shape.width, shape.width - offsets
    sources = {
        number: partition
        for number, segment in enumerate(clips.segments)
        for partition in segment.partitions
        if partition.pattern == pattern
    }
    np.save(folder / rows_name(code), rows)
    with (folder / vectors_name(code)).open("wb") as file:
        header = {"descr": "<f4", "fortran_order": False, "shape": (len(rows), width)}
        np.lib.format.write_array_header_1_0(file, header)
        step = max(1, BLOCK // (4 * max(1, width)))
        for start in range(0, len(rows), step):
            some = rows[start : start + step]
            block = np.empty((len(some), width), dtype=np.float32)
            for number in np.unique(clips.source[some]).tolist():
                here = clips.source[some] == number
                places = np.searchsorted(sources[number].rows, clips.row[some[here]])
                block[here, :kept] = sources[number].vectors[places, :kept]
            if offsets:
                block[:, kept] = clips.table["offset"].take(pa.array(some)).to_numpy()
            if not np.isfinite(block).all():  # FAISS could make no codes of it
                raise damaged(folder.parents[1], f"a vector or an offset of pattern {code} is not finite")
            file.write(block.data)
    return choose(manifest.settings, len(rows)) if width else "flat"


def _write_words(folder: Path, layout: Layout, clips: Clips) -> None:
    """Write the words of all clips, a few megabytes at a time."""
    there = {code for code in clips.table["pattern"].unique().to_pylist() if "1" in code}
    for m in with_words(layout, there):
        parts = []
        for number, segment in enumerate(clips.segments):
            if m in segment.words:
                here, new = clips.source == number, np.full(len(segment.table), -1)
                new[clips.row[here]] = np.flatnonzero(here)
                parts.append((segment.words[m], new))
        table, part, row = arranged(parts)
        of_words, values = (folder / name for name in words_names(layout.names[m]).split())
        with pa.ipc.new_file(of_words, table.schema) as file:
            file.write_table(table)
        with values.open("wb") as file:
            header = {"descr": "<f4", "fortran_order": False, "shape": (len(row), layout.sizes[m])}
            np.lib.format.write_array_header_1_0(file, header)
            step = max(1, BLOCK // (4 * layout.sizes[m]))
            for start in range(0, len(row), step):
                some = slice(start, start + step)
                block = np.empty((len(row[some]), layout.sizes[m]), dtype=np.float32)
                for number in np.unique(part[some]).tolist():
                    here = part[some] == number
                    block[here] = parts[number][0].values[row[some][here]]
                file.write(block.data)


def _write_scanners(folder: Path, manifest: Manifest, kinds: Mapping[str, str]) -> None:
    """Write what scanners need beside the vectors; kinds: of each partition's code."""
    certified = {}
    for code, kind in kinds.items():
        vectors = np.load(folder / vectors_name(code), mmap_mode="r").view(np.ndarray)
        if kind == Certified.kind:
            certified[code] = packed_of(pattern_of(code), manifest.layout), vectors
        else:
            shape = shape_of(pattern_of(code), manifest.layout, manifest.offsets is not None)
            scanner_class(kind).build(vectors, shape).save(folder / scanner_name(kind, code))
    if certified:
        scanners = list(Certified.built(list(certified.values()), manifest.layout.sizes))
        scanners[0].coding.save(folder / CODING)
        for code, scanner in zip(certified, scanners):
            scanner.save(folder / scanner_name(Certified.kind, code))
