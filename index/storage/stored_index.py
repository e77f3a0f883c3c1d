"""StoredIndex: an index on disk in the hands of the one who writes it; it goes from one whole state to the next.

Files are written aside, synced and renamed; then the manifest that names them is replaced; only then what it no
longer names is taken away. Whatever is killed in between leaves the state before, and files that the next writer
takes away. An index that is to take another's place stays hidden: its files lie there, but no manifest names them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import final

from index.storage.compaction import Clips, Given, Progress, write_segment
from index.storage.entries import Entries
from index.storage.log import Log, Removal, read_log
from index.storage.manifest import INDEX_FILE, Manifest, Part, clear, discard, last_number, parts_in
from index.storage.segment import Segment, folder_of, open_segments, write_removed
from index.storage.snapshot import Snapshot, snapshot_of
from index.storage.tail import Tail, replay
from mee.errors import InputError


@final
class StoredIndex:
    """The writer's lock must be held for as long as it lives."""

    def __init__(self, directory: Path, manifest: Manifest, hidden: set[str] | None = None) -> None:
        """Open it.

        Args:
            directory: of the index.
            manifest: of the index.
            hidden: names of what lies there of an index that readers go on seeing; None: they see this one.
        """
        self.directory, self.manifest, self._hidden = directory, manifest, hidden
        self.tail = Tail(manifest.layout, offsets=manifest.offsets is not None)
        records, end = read_log(directory, manifest)
        self.segments = replay(records, open_segments(directory, manifest), self.tail)
        self.log = Log(directory / manifest.log, end, len(records))
        self._snapshot: Snapshot | None = None
        self._unsure = False  # whether nobody can tell which manifest is on the disk

    @property
    def snapshot(self) -> Snapshot:
        """What it holds."""
        if self._snapshot is None:
            self._snapshot = snapshot_of(self.manifest, self.segments, self.tail)
        return self._snapshot

    @property
    def offsets(self) -> bool:
        """Whether its clips carry offsets."""
        return self.manifest.offsets is not None

    def number(self) -> int:
        """One that no file has had."""
        return 1 + max(self.manifest.generation, last_number(self.directory))

    def append(self, payload: bytes, record: Entries | Removal) -> None:
        """Write a record of the log, and take it in."""
        self._check_sure()
        self.log.append(payload)
        self.segments = replay([record], self.segments, self.tail)
        self._snapshot = None

    def merge(
        self,
        manifest: Manifest,
        sources: Sequence[Segment],
        kept: Sequence[Segment],
        *,
        given: Given | None = None,
        progress: Progress | None = None,
    ) -> None:
        """Make one segment of some, beside those that are kept, and begin a new log.

        Args:
            manifest: what else is going to hold.
            sources: on disk or in memory.
            kept: on disk.
            given: offsets in the place of those that clips have.
            progress: told how many clips are done.
        """
        self._check_sure()
        try:
            self._merge(manifest, sources, kept, given, progress)
        finally:
            self._clear()

    def note(self, manifest: Manifest) -> None:
        """The same clips, with another manifest."""
        self._check_sure()
        try:
            self._name(manifest)
        finally:
            self._clear()

    def publish(self) -> None:
        """From now on readers see this one."""
        if self._hidden is None:
            return
        self._check_sure()
        self._write(self.manifest)
        self._hidden = None
        self._clear()

    def withdraw(self) -> None:
        """An index that was not published goes."""
        if self._hidden is not None and not self._unsure:
            for name in parts_in(self.directory) - self._hidden:
                discard(self.directory / name)

    def _merge(
        self,
        manifest: Manifest,
        sources: Sequence[Segment],
        kept: Sequence[Segment],
        given: Given | None,
        progress: Progress | None,
    ) -> None:
        number = self.number()
        parts = [Part(segment.name, segment.digest) for segment in kept]
        offsets = manifest.offsets is not None
        if any(len(segment) for segment in sources):
            clips = Clips.of(sources) if given is None else Clips.of(sources).carrying(given)
            path = folder_of(self.directory, f"{number:06d}")
            parts.append(
                write_segment(path, clips, manifest.layout, manifest.settings, offsets=offsets, progress=progress)
            )
        removed = write_removed(self.directory / f"removed-{number:06d}.safetensors", kept)
        name = f"log-{number:06d}"
        log = Log.begin(self.directory / name, manifest.identity)
        after = replace(manifest, generation=number, segments=tuple(parts), removed=removed, log=name)
        try:
            segments = open_segments(self.directory, after, kept)
            self._name(after)
        except BaseException:
            log.close()
            raise
        self.log.close()
        self.segments, self.log = segments, log
        self.tail = Tail(manifest.layout, offsets=offsets)

    def _name(self, manifest: Manifest) -> None:
        if self._hidden is None:
            self._write(manifest)
        self.manifest, self._snapshot = manifest, None

    def _write(self, manifest: Manifest) -> None:
        """Put a manifest in its place; where it cannot be said whether it is there, nothing more is done."""
        path = self.directory / INDEX_FILE
        before = path.read_bytes() if path.is_file() else None
        self._unsure = True
        try:
            manifest.write(self.directory)
        except BaseException:
            self._unsure = (path.read_bytes() if path.is_file() else None) != before
            raise
        self._unsure = False

    def _clear(self) -> None:
        """Take away what nobody names, if it is known what is named."""
        if self._unsure:
            return
        clear(self.directory, self.manifest.files | (self._hidden or set()))

    def _check_sure(self) -> None:
        if self.log.closed:  # its file's number may be another file's by now, and the lock another's
            raise ValueError("the writer is closed; open the index again")
        if self._unsure:
            raise InputError(f"'{self.directory}' could not be written to; open the index again")
