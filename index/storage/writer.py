"""IndexWriter: changes an index while others read it. index/storage/manifest.py says how.

put        one new segment, durable when it returns
remove     removed rows of the segments that hold the clips
close      merges small segments (index/storage/merge.py)
compact    one segment of everything, its codes made again
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self, final

from filelock import FileLock, Timeout

from index.scanners import Settings
from index.storage.checksums import discard, whole_folder
from index.storage.entries import Entries, together
from index.storage.manifest import (
    INDEX_FILE,
    LOCK,
    SEGMENTS,
    SHARDS_FILE,
    Manifest,
    Origin,
    Recall,
    clear,
    is_foreign,
    last_number,
    parts_in,
    read_manifest,
    text_name,
)
from index.storage.merge import Clips, Progress, to_merge, write_segment
from index.storage.segment import Segment, of_entries, open_segment, write_removed
from index.storage.snapshot import Snapshot, open_segments, snapshot_of
from mee.errors import InputError
from mee.files import make_folder, parse_json, read_file, regular_size, whole_file
from mee.layout import Layout, Scale

MANY = 32  # segments; a put into an index that has so many merges small ones first


@final
class IndexWriter:
    """A context manager; made by `create` or `open`. Not for several threads at once."""

    def __init__(self, directory: Path, lock: FileLock, manifest: Manifest, hidden: set[str] | None) -> None:
        """Open an index, under its lock; `hidden`: files of another one, which readers see until `close`."""
        self._directory, self._lock, self._manifest, self._hidden = directory, lock, manifest, hidden
        self._closed = False
        self._uncertain = False  # whether the manifest on disk may be either of two
        self._number = max(manifest.generation, last_number(directory))
        self.snapshot: Snapshot = snapshot_of(manifest, open_segments(directory, manifest))  # what the index holds

    @classmethod
    def create(
        cls,
        directory: Path,
        layout: Layout,
        origin: Origin,
        *,
        settings: Settings | None = None,
        offsets: Mapping[str, Any] | None = None,
        overwrite: bool = False,
    ) -> Self:
        """Make an index without clips, in a directory that is created where missing.

        offsets: what the clips' offsets are, if they have any; overwrite: replace the index that is there, if any:
        readers see the new one, whole, when the writer is closed without an error.

        Raises:
            InputError: the directory holds something else, or an index and `overwrite` is False, or another
                process writes it.
        """
        check_place(directory, overwrite=overwrite)
        make_folder(directory)
        with locked(directory) as lock:
            check_place(directory, overwrite=overwrite)  # again: from here on no other process writes it
            hidden = parts_in(directory) if overwrite else None
            if hidden is None:
                clear(directory, ())
            (directory / SEGMENTS).mkdir(exist_ok=True)
            manifest = Manifest(
                generation=0, layout=layout, origin=origin, settings=settings or Settings(), offsets=offsets
            )
            writer = cls(directory, lock, manifest, hidden)
            writer._commit(manifest, ())
            return writer

    @classmethod
    def open(cls, directory: Path) -> Self:
        """Change an index that exists.

        Raises:
            InputError: there is no index, it is damaged, or another process writes it.
        """
        read_manifest(directory)
        with locked(directory) as lock:
            writer = cls(directory, lock, read_manifest(directory)[0], None)
            writer._clear()
            return writer

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self.close()
        elif not self._closed:
            self._release()

    def put(self, entries: Entries) -> None:
        """Add clips, and replace those of the same names: all of them or, if an error is raised, none.

        Raises:
            ValueError: this index cannot keep them.
            OSError, InputError: they could not be written.
        """
        has_offsets = self._manifest.offsets is not None
        entries = entries.checked(self._manifest.layout, offsets=has_offsets)
        together([self.snapshot.columns, entries.table.schema])
        if not len(entries):
            return
        if len(self.snapshot.segments) >= MANY:
            self._merge()
        kept = self._without(entries.table["clip_id"].to_pylist())
        fresh = of_entries(entries, self._manifest.layout, offsets=has_offsets)
        self._commit(self._manifest, kept, Clips.of([fresh]))

    def remove(self, clip_ids: Sequence[str]) -> int:
        """Remove clips; returns how many.

        Raises:
            ValueError: one is not in the index; nothing is removed.
            OSError, InputError: it could not be written.
        """
        gone = list(dict.fromkeys(clip_ids))
        kept = self._without(gone)
        if sum(map(len, self.snapshot.segments)) - sum(map(len, kept)) < len(gone):
            unknown = [clip_id for clip_id in gone if self.snapshot.find(clip_id) is None]
            raise ValueError(f"{len(unknown)} clips are not in the index, '{unknown[0]}' among them")
        if gone:
            self._commit(self._manifest, kept)
        return len(gone)

    def compact(
        self,
        *,
        settings: Settings | None = None,
        offsets: Mapping[str, float] | None = None,
        facts: Mapping[str, Any] | None = None,
        scale: Scale | None = None,
        drop_offsets: bool = False,
        progress: Progress | None = None,
    ) -> None:
        """Write all clips as one segment, their codes made again, with other settings, offsets or scale if given.

        offsets: of every clip that has a stream, by clip_id; facts: what they are; drop_offsets: have none now.

        Raises:
            ValueError: a clip has no offset, or offsets come without facts.
            OSError, InputError: it could not be written.
        """
        if (offsets is None) != (facts is None) or (drop_offsets and facts is not None):
            raise ValueError("offsets come with facts that say what they are, and are not dropped at once")
        before = self._manifest
        made = None if drop_offsets else before.offsets if facts is None else facts
        used = settings or before.settings
        manifest = replace(before, settings=used, offsets=made, scale=scale or before.scale)
        if (used, made, manifest.scale) != (before.settings, before.offsets, before.scale):
            manifest = replace(manifest, recall=None)  # it was measured with other codes or scores
        clips = Clips.of(self.snapshot.segments) if self.snapshot.segments else None
        if clips is not None and offsets is not None:
            clips = clips.with_offsets(offsets)
        self._commit(manifest, [], clips, progress)

    def set_recall(self, measured: Recall | None) -> None:
        """Record the recall that was measured."""
        self._commit(replace(self._manifest, recall=measured), self.snapshot.segments)

    def set_origin(self, origin: Origin) -> None:
        """Record where the model and the store are now."""
        self._commit(replace(self._manifest, origin=origin), self.snapshot.segments)

    def put_text(self, write: Callable[[Path], None]) -> None:
        """Keep the model's text side beside the index, as `write` fills its folder."""
        put_text(self._directory, self._manifest.origin, write)

    @property
    def published(self) -> bool:
        """Whether readers see what is put; else they see an index that is going to be replaced, or none."""
        return self._hidden is None

    def close(self) -> None:
        """Merge small segments, let readers see an index that replaces another, and let others write."""
        if not self._closed:
            try:
                if not self._uncertain:
                    self._merge()
                    if self._hidden is not None:
                        self._replace(self._manifest, self.snapshot, publish=True)
                        (self._directory / SHARDS_FILE).unlink(missing_ok=True)  # those were searched until now
                        self._clear()
            finally:
                self._release()

    def _release(self) -> None:
        """Let others write; an index that readers do not see yet is deleted."""
        self._closed = True
        if self._hidden is not None and not self._uncertain:
            for name in parts_in(self._directory) - self._hidden:
                discard(self._directory / name)
        self._lock.release()

    def _without(self, clip_ids: Sequence[str]) -> list[Segment]:
        self.snapshot.check()
        return [segment.without(segment.live_rows(clip_ids)) for segment in self.snapshot.segments]

    def _merge(self) -> None:
        """Merge small segments, and those of which most is removed, if there are enough of them."""
        merged = to_merge(self.snapshot.segments)
        if merged:
            kept = [segment for segment in self.snapshot.segments if segment not in merged]
            self._commit(self._manifest, kept, Clips.of(merged))

    def _commit(
        self,
        manifest: Manifest,
        kept: Sequence[Segment],
        clips: Clips | None = None,
        progress: Progress | None = None,
    ) -> None:
        """Write the next generation: segments that are kept, less what is removed of them now, and a new one.

        An error leaves the state before.
        """
        if self._closed:  # the lock may be another's, and the next number, too
            raise ValueError("the writer is closed; open the index again")
        if self._uncertain:
            raise InputError(f"'{self._directory}' could not be written to; open the index again")
        self._number += 1
        manifest = replace(manifest, generation=self._number)
        try:
            segments = [write_removed(self._directory, segment, self._number) for segment in kept if len(segment)]
            if clips is not None:
                ref, facts = write_segment(self._directory, manifest, clips, progress)
                segments.append(open_segment(self._directory, manifest, ref, facts))
            refs = tuple(segment.ref for segment in segments if segment.ref is not None)
            manifest = replace(manifest, segments=refs)
            self._replace(manifest, snapshot_of(manifest, segments), publish=self._hidden is None)
        finally:
            self._clear()

    def _replace(self, manifest: Manifest, snapshot: Snapshot, *, publish: bool) -> None:
        """Go on to another generation, on disk if readers are to see it; an error leaves the one before."""
        self._uncertain = True  # stays so where an interrupt or a second error leaves it open what is on the disk
        if publish:
            path = self._directory / INDEX_FILE
            before = read_file(path) if path.exists() else None
            try:
                manifest.write(self._directory)
            except BaseException:
                if before is not None and read_file(path) != before:  # its folder could not be synced
                    with whole_file(path, "changes") as aside:
                        aside.write_bytes(before)
                self._uncertain = False
                raise
            self._hidden = None
        self._manifest, self.snapshot = manifest, snapshot
        self._uncertain = False

    def _clear(self) -> None:
        """Delete what no manifest names; nothing while it is uncertain which manifest is on the disk."""
        if not self._uncertain:
            clear(self._directory, self._manifest.files | (self._hidden or set()))


def put_text(directory: Path, origin: Origin, write: Callable[[Path], None]) -> None:
    """Keep the text side of an index's model beside it, as `write` fills its folder."""
    folder = directory / text_name(origin)
    if folder.name == text_name(replace(origin, model_fingerprint="")):  # of no model
        raise InputError(f"'{origin.model_fingerprint}' is no fingerprint of a model")
    with whole_folder(folder) as aside:
        write(aside)
        discard(folder)


@contextmanager
def locked(directory: Path) -> Iterator[FileLock]:
    """Take the writer's lock, and keep it unless there is an error; the system frees it when the process ends."""
    path = directory / LOCK
    if os.path.lexists(path):
        regular_size(path)
    lock = FileLock(path, timeout=0, thread_local=False)
    try:
        lock.acquire()
    except Timeout as error:
        words = f"is writing the index at '{directory}'; wait until it is done, or stop it"
        raise InputError(f"another process{_holder(path)} {words}") from error
    try:
        since = datetime.now(UTC).isoformat(" ", "seconds")
        if path.stat().st_nlink == 1:  # else it may be another file, too
            path.write_text(json.dumps({"host": socket.gethostname(), "process": os.getpid(), "since": since}))
        yield lock
    except BaseException:
        lock.release()
        raise


def _holder(path: Path) -> str:
    """Who wrote into a lock, which may be anyone's text."""
    try:
        held = parse_json(read_file(path, 1024))
        return f" ({held['process']} on {held['host']}, since {held['since']})"
    except (OSError, ValueError, TypeError, KeyError):
        return ""


def check_place(directory: Path, *, overwrite: bool) -> None:
    """Refuse to make an index in a directory that holds something else, or one that is not to be overwritten."""
    if not os.path.lexists(directory):
        return
    if not directory.is_dir() or is_foreign(directory):
        raise InputError(f"'{directory}' exists and is not an index; choose another place")
    for file in (directory / INDEX_FILE, directory / SHARDS_FILE):
        if os.path.lexists(file):
            regular_size(file)
            if not overwrite:
                raise InputError(f"there is an index at '{directory}' already; --overwrite replaces it")
