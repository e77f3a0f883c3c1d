"""Snapshot: all of an index as it is at one moment, for those who search it. It never changes.

Of the clips that were put under one name the last counts, unless it was removed: one row of one segment, or none.
Segments that lie on disk come first, then what is in memory. index/storage/manifest.py says what lies where.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from index.scanners import Partition, Settings
from index.storage.columns import together
from index.storage.log import read_log
from index.storage.manifest import Manifest, Origin, Recall, read_manifest
from index.storage.segment import Segment, open_segments
from index.storage.tail import Tail, replay
from mee.errors import InputError
from mee.layout import Layout

if TYPE_CHECKING:
    from index.storage.entries import Entries

TRIES = 100  # when the writer replaces files faster than they are opened
PAUSE = 0.05  # seconds
_REFRESHING = Lock()


@dataclass(frozen=True, eq=False)
class Seen:
    """What of a directory a snapshot was made of."""

    directory: Path
    manifest: Manifest
    text: bytes  # of the manifest
    log: int  # how much of it
    tail: Tail
    changes: int  # of the tail, at that time


@dataclass(frozen=True, eq=False)
class Snapshot:
    """An index at one moment."""

    layout: Layout
    origin: Origin
    generation: int = 0  # of its manifest; what only the log knows does not raise it
    settings: Settings = field(default_factory=Settings)
    offsets: Mapping[str, Any] | None = None  # what the clips' offsets are; None: they have none
    recall: Recall | None = None  # as measured; None: it was not
    segments: tuple[Segment, ...] = ()

    seen: Seen | None = field(default=None, repr=False)  # None: it lies in memory

    @classmethod
    def of(
        cls, entries: Entries, layout: Layout, origin: Origin, *, offsets: Mapping[str, Any] | None = None
    ) -> Snapshot:
        """An index that lies in memory, and is searched flat.

        Args:
            entries: its clips.
            layout: of their vectors.
            origin: where they are from.
            offsets: what their offsets are, if they carry any.
        """
        tail = Tail(layout, offsets=offsets is not None)
        tail.put(entries.checked(layout, offsets=offsets is not None))
        return cls(layout, origin, offsets=offsets).with_segments([tail.segment()])

    def with_segments(self, segments: Sequence[Segment | None]) -> Snapshot:
        """The same of other segments; None among them is left out."""
        there = [segment for segment in segments if segment is not None]
        return replace(self, segments=tuple(segment.numbered(number) for number, segment in enumerate(there)))

    @cached_property
    def partitions(self) -> tuple[Partition, ...]:
        """Of all segments, those in which a clip can be found."""
        return tuple(partition for segment in self.segments for partition in segment.partitions if partition.count)

    def __len__(self) -> int:
        """How many clips can be found."""
        return sum(partition.count for partition in self.partitions)

    def find(self, clip_id: str) -> tuple[int, int] | None:
        """The segment's number and the row of a clip that counts, whether or not it has a stream."""
        for number, segment in enumerate(self.segments):
            row = segment.find(clip_id)
            if row is not None:
                return number, row
        return None

    @cached_property
    def columns(self) -> pa.Schema:
        """Of all clips; a segment's own table may have fewer, which are null there."""
        return together(segment.table.arrow.schema for segment in self.segments)

    def without_stream(self) -> list[str]:
        """Clips that have no stream, so that nothing finds them; sorted."""
        found: list[str] = []
        for segment in self.segments:
            table = segment.table.arrow
            bare = pc.equal(table["pattern"], "0" * len(self.layout.names))
            if segment.live is not None:
                bare = pc.and_(bare, pa.array(segment.live))
            found += table["clip_id"].filter(bare).to_pylist()
        return sorted(found)


def read_snapshot(directory: Path) -> Snapshot:
    """Open an index: files are mapped, and compared with their SHA-256 where all of them are 256 MiB at most."""
    return _read(directory, ())


def refreshed(snapshot: Snapshot) -> Snapshot:
    """What the directory holds now; the snapshot itself where nothing has changed."""
    seen = snapshot.seen
    if seen is None:
        return snapshot
    with _REFRESHING:  # the tail grows, and two must not feed it the same
        if seen.tail.changes == seen.changes:
            try:
                if read_manifest(seen.directory)[1] == seen.text:
                    return _with_news(snapshot, seen)
            except (OSError, ValueError):  # the writer may be replacing it, or something is wrong: look again
                pass
        return _read(seen.directory, snapshot.segments)


def snapshot_of(manifest: Manifest, segments: Sequence[Segment], tail: Tail, seen: Seen | None = None) -> Snapshot:
    """What a manifest, its segments and the tail make together."""
    empty = Snapshot(
        manifest.layout,
        manifest.origin,
        generation=manifest.generation,
        settings=manifest.settings,
        offsets=manifest.offsets,
        recall=manifest.recall,
        seen=seen,
    )
    return empty.with_segments([*segments, tail.segment()])


def _read(directory: Path, known: Sequence[Segment]) -> Snapshot:
    manifest, text = read_manifest(directory)
    tried = b""
    for _ in range(TRIES):
        try:
            return _opened(directory, manifest, text, known)
        except InputError:
            again, now = read_manifest(directory)
            if now == tried:  # not replaced meanwhile, nor a record that was being taken back: it is as it looks
                raise
            if now == text:
                time.sleep(PAUSE)
            manifest, text, tried = again, now, text
    raise InputError(f"the index at '{directory}' changes faster than it can be opened; try again later")


def _opened(directory: Path, manifest: Manifest, text: bytes, known: Sequence[Segment]) -> Snapshot:
    tail = Tail(manifest.layout, offsets=manifest.offsets is not None)
    segments = open_segments(directory, manifest, known)
    records, end = read_log(directory, manifest)
    segments = replay(records, segments, tail)
    seen = Seen(directory, manifest, text, end, tail, tail.changes)
    return snapshot_of(manifest, segments, tail, seen)


def _with_news(snapshot: Snapshot, seen: Seen) -> Snapshot:
    records, end = read_log(seen.directory, seen.manifest, seen.log)
    if not records:
        return snapshot
    segments = replay(records, [segment for segment in snapshot.segments if segment.name], seen.tail)
    now = replace(seen, log=end, changes=seen.tail.changes)
    return snapshot_of(seen.manifest, segments, seen.tail, now)
