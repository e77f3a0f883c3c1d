"""Several segments -> one new on disk, and which ones; in memory that grows with the table, not with the vectors.

The new table is sorted by clip_id. As those on disk are, too, each source is read from its beginning to its end,
pattern by pattern, and what goes out is one block at a time; codes are made from the written, mapped vectors.

    level(n) = floor(log4(n / 1024)), 0 at least

Of segments of one level or below, the fourth takes the others with it; so there are at most three for each
level, O(log N) in all, and a clip is copied O(log N) times. One of which less than half still counts goes along.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from index.scanners import Settings, build, choose
from index.storage.columns import finite_offsets, joined, pattern_of
from index.storage.manifest import BLOCK, Part, digest_of, discard, place_folder
from index.storage.segment import (
    FACTS,
    TABLE,
    FileFacts,
    Segment,
    SegmentFacts,
    rows_name,
    scanner_name,
    shape_of,
    vectors_name,
)
from mee.layout import Layout

Progress = Callable[[int, int], None]  # clips done, of how many
Given = Mapping[str, float]  # clip_id -> its offset


@dataclass(frozen=True)
class Clips:
    """What counts of several segments, as one table."""

    segments: Sequence[Segment]
    table: pa.Table  # sorted by clip_id
    source: NDArray[np.int64]  # (N,) number of the segment that a clip comes from
    row: NDArray[np.int64]  # (N,) its row there

    @classmethod
    def of(cls, segments: Sequence[Segment]) -> Clips:
        """Bring their tables together."""
        rows = [
            np.arange(len(segment.table)) if segment.live is None else np.flatnonzero(segment.live)
            for segment in segments
        ]
        tables = [segment.table.arrow.take(pa.array(some)) for segment, some in zip(segments, rows)]
        table = joined(tables)
        order = np.asarray(pc.sort_indices(table["clip_id"])).astype(np.int64)
        source = np.repeat(np.arange(len(rows)), [len(some) for some in rows])
        table = table.take(pa.array(order)).combine_chunks()
        return cls(segments, table, source[order], np.concatenate(rows)[order])

    def carrying(self, given: Given) -> Clips:
        """The same with these offsets in the place of those they had."""
        offsets = pa.array(map(given.get, self.table["clip_id"].to_pylist()), type=pa.float64())
        place = self.table.column_names.index("offset")
        return replace(self, table=self.table.set_column(place, "offset", offsets)).complete()

    def complete(self) -> Clips:
        """The same, once every clip with a stream has an offset that is finite."""
        fine = pc.fill_null(finite_offsets(self.table), False)
        lacking = pc.and_(pc.match_substring(self.table["pattern"], "1"), pc.invert(fine))
        count = pc.sum(lacking).as_py()
        if count:
            first = self.table["clip_id"][pc.index(lacking, True).as_py()]
            raise ValueError(f"{count} clips have no finite offset, '{first}' among them; every clip needs one")
        return self


def write_segment(
    path: Path,
    clips: Clips,
    layout: Layout,
    settings: Settings,
    *,
    offsets: bool,
    progress: Progress | None = None,
) -> Part:
    """Write clips as a new segment; an error leaves nothing.

    Args:
        path: the new segment's folder, which is not there yet.
        clips: one at least.
        layout: of the index.
        settings: of the index, for the kinds of the partitions.
        offsets: whether the new vectors carry the offsets of the table.
        progress: told how many clips are done.
    """
    aside = path.with_name(f".{path.name}")
    discard(aside)
    aside.mkdir(parents=True)
    try:
        with pa.ipc.new_file(aside / TABLE, clips.table.schema) as file:
            file.write_table(clips.table)
        codes = np.asarray(clips.table["pattern"].to_numpy(zero_copy_only=False))
        done, kinds, partitions = 0, dict[str, str](), dict[str, int]()
        for code in sorted(set(codes.tolist())):
            rows = np.flatnonzero(codes == code)
            if "1" in code:
                kinds[code] = _write_partition(aside, clips, code, rows, layout, settings, offsets=offsets)
                partitions[code] = len(rows)
            done += len(rows)
            if progress is not None:
                progress(done, len(codes))
        files = {file.name: FileFacts(file.stat().st_size, digest_of(file)) for file in sorted(aside.iterdir())}
        facts = SegmentFacts(len(codes), partitions, kinds, files).to_json()
        (aside / FACTS).write_bytes(facts)
        place_folder(aside, path)
    except BaseException:
        discard(aside)
        raise
    return Part(path.name, hashlib.sha256(facts).hexdigest())


def _write_partition(
    folder: Path,
    clips: Clips,
    code: str,
    rows: NDArray[np.int64],
    layout: Layout,
    settings: Settings,
    *,
    offsets: bool,
) -> str:
    shape = shape_of(pattern_of(code), layout, offsets)
    np.save(folder / rows_name(code), rows)
    header = {"descr": "<f4", "fortran_order": False, "shape": (len(rows), shape.width)}
    with (folder / vectors_name(code)).open("wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        for block in _blocks(clips, code, rows, shape.width, offsets=offsets):
            file.write(block.data)
    vectors = np.load(folder / vectors_name(code), mmap_mode="r").view(np.ndarray)
    kind = choose(settings, len(rows))
    build(kind, vectors, shape).save(folder / scanner_name(kind, code))
    return kind


def _blocks(
    clips: Clips, code: str, rows: NDArray[np.int64], width: int, *, offsets: bool
) -> Iterator[NDArray[np.float32]]:
    """The vectors of some rows, a few megabytes at a time."""
    pattern, kept = pattern_of(code), width - offsets
    partitions = {
        number: partition
        for number, segment in enumerate(clips.segments)
        for partition in segment.partitions
        if partition.pattern == pattern
    }
    step = max(1, BLOCK // (4 * width))
    for start in range(0, len(rows), step):
        some = rows[start : start + step]
        block = np.empty((len(some), width), dtype=np.float32)
        for number in np.unique(clips.source[some]).tolist():
            here = clips.source[some] == number
            places = np.searchsorted(partitions[number].rows, clips.row[some[here]])
            block[here, :kept] = partitions[number].vectors[places, :kept]
        if offsets:
            block[:, kept] = clips.table["offset"].take(pa.array(some)).to_numpy()
        yield block


FANOUT, FLOOR = 4, 1024


def level_of(clips: int) -> int:
    """Of a segment of so many clips."""
    return max(0, math.floor(math.log(max(clips, 1) / FLOOR, FANOUT)))


def to_merge(segments: Sequence[Segment], coming: int) -> list[Segment]:
    """Those that go into one new segment with so many clips that come."""
    chosen = [segment for segment in segments if 2 * len(segment) < len(segment.table)]
    left = [segment for segment in segments if segment not in chosen]
    total = coming + sum(map(len, chosen))
    while True:
        peers = [segment for segment in left if level_of(len(segment)) <= level_of(total)]
        if len(peers) < FANOUT - 1:
            return chosen
        chosen += peers
        left = [segment for segment in left if segment not in peers]
        total += sum(map(len, peers))
