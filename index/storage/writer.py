"""IndexWriter: the one who changes an index, while others read it.

    put, remove       a record of the log, synced before they return; large batches become a segment at once
    flush             the log becomes a segment, with smaller ones where there are many
    compact           one segment of everything, its codes made anew (index/storage/compaction.py)

index/storage/stored_index.py says why readers always find it whole, and what a kill leaves.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self, final

import numpy as np
from filelock import FileLock, Timeout

from index.scanners import Settings
from index.storage.columns import together
from index.storage.compaction import Given, Progress, to_merge
from index.storage.entries import Entries
from index.storage.log import Log, Removal, put_payload, removal_payload
from index.storage.manifest import (
    INDEX_FILE,
    LOCK,
    SEGMENTS,
    Manifest,
    Origin,
    Recall,
    clear,
    is_foreign,
    last_number,
    parts_in,
    read_manifest,
)
from index.storage.snapshot import Snapshot
from index.storage.stored_index import StoredIndex
from index.storage.tail import Tail
from mee.errors import InputError
from mee.layout import Layout

DIRECT = 8 << 20  # bytes of vectors that become a segment without going through the log
LOG_BYTES, LOG_RECORDS = 64 << 20, 2048  # a log that has more becomes a segment


@final
class IndexWriter:
    """A context manager; made by `create` or `open`. Not for several threads at once."""

    def __init__(self, lock: FileLock, stored: StoredIndex) -> None:
        """Take over what is locked."""
        self._lock, self._stored, self._closed = lock, stored, False

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
        """Begin an index without clips.

        Args:
            directory: where; it is made if it is not there.
            layout: of the clips' vectors.
            origin: where they are going to be from.
            settings: of the index.
            offsets: what the clips' offsets are, if they carry any.
            overwrite: let it take the place of the index that is there, which stays what readers see until
                `publish`, or until the writer is closed without an error.

        Raises:
            InputError: there is something already, or another writer.
        """
        _check_place(directory, overwrite=overwrite)
        directory.mkdir(parents=True, exist_ok=True)
        lock = _locked(directory)
        try:
            _check_place(directory, overwrite=overwrite)  # nobody can come in between any more
            there, parts = (directory / INDEX_FILE).exists(), parts_in(directory)
            if not there:
                clear(directory, ())
            (directory / SEGMENTS).mkdir(exist_ok=True)
            number = 1 + last_number(directory)
            manifest = Manifest(
                identity=uuid.uuid4().hex,
                generation=number,
                layout=layout,
                origin=origin,
                settings=settings or Settings(),
                offsets=offsets,
                log=f"log-{number:06d}",
            )
            Log.begin(directory / manifest.log, manifest.identity).close()
            stored = StoredIndex(directory, manifest, parts if there else set())
            if not there:
                stored.publish()
            return cls(lock, stored)
        except BaseException:
            lock.release()
            raise

    @classmethod
    def open(cls, directory: Path) -> Self:
        """Go on writing an index, from what was last acknowledged.

        Raises:
            InputError: there is no index, it is damaged, or another writer has it.
        """
        read_manifest(directory)
        lock = _locked(directory)
        try:
            manifest, _ = read_manifest(directory)
            clear(directory, manifest.files)
            return cls(lock, StoredIndex(directory, manifest))
        except BaseException:
            lock.release()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self.close()
        elif not self._closed:
            self._stored.withdraw()
            self._release()

    @property
    def snapshot(self) -> Snapshot:
        """What the index holds now."""
        return self._stored.snapshot

    def put(self, entries: Entries) -> None:
        """Add clips, and replace those of the same names: all of them or, if an error is raised, none.

        Raises:
            ValueError: they are not as this index can keep them.
            OSError: they could not be written.
        """
        layout = self._stored.manifest.layout
        entries = entries.checked(layout, offsets=self._stored.offsets)
        together([self.snapshot.columns, entries.table.schema])
        if not len(entries):
            return
        if 4 * (entries.available @ np.array(layout.sizes)).sum() >= DIRECT:
            self._fold(entries)
        else:
            self._append(put_payload(entries, layout), entries)

    def remove(self, clip_ids: Sequence[str]) -> int:
        """Take clips out; returns how many.

        Raises:
            ValueError: one is not in the index; nothing is removed.
            OSError: it could not be written.
        """
        gone = list(dict.fromkeys(clip_ids))
        known = {
            clip_id for segment in self.snapshot.segments for clip_id in segment.table.ids(segment.live_rows(gone))
        }
        unknown = [clip_id for clip_id in gone if clip_id not in known]
        if unknown:
            raise ValueError(f"{len(unknown)} clips are not in the index, '{unknown[0]}' among them")
        if gone:
            self._append(removal_payload(gone), Removal(gone))
        return len(gone)

    def flush(self) -> None:
        """Write what the log holds as a segment; the log starts anew."""
        if self._stored.log.records:
            self._fold(None)

    def compact(
        self,
        *,
        settings: Settings | None = None,
        offsets: Given | None = None,
        facts: Mapping[str, Any] | None = None,
        drop_offsets: bool = False,
        progress: Progress | None = None,
    ) -> None:
        """Write all that counts as one segment, its codes made anew.

        Args:
            settings: of the index from now on; None: as before.
            offsets: of every clip that has a stream, by clip_id; None: as before.
            facts: what these offsets are.
            drop_offsets: carry none from now on.
            progress: told how many clips are done.

        Raises:
            ValueError: a clip has no offset, or offsets come without facts.
        """
        if (offsets is None) != (facts is None) or (drop_offsets and facts is not None):
            raise ValueError("offsets come with facts that say what they are, and are not dropped at once")
        before = self._stored.manifest
        carried = None if drop_offsets else before.offsets if facts is None else facts
        manifest = replace(before, settings=settings or before.settings, offsets=carried)
        if (manifest.settings, manifest.offsets) != (before.settings, before.offsets):
            manifest = replace(manifest, recall=None)  # measured of something else
        self._stored.merge(manifest, self.snapshot.segments, [], given=offsets, progress=progress)

    def set_recall(self, measured: Recall | None) -> None:
        """Record the recall that was measured."""
        self._stored.note(replace(self._stored.manifest, generation=self._stored.number(), recall=measured))

    def set_origin(self, origin: Origin) -> None:
        """Note where the model and the store are now."""
        self._stored.note(replace(self._stored.manifest, generation=self._stored.number(), origin=origin))

    def publish(self) -> None:
        """Let an index that was created over another take its place; else nothing."""
        self._stored.publish()

    def close(self) -> None:
        """Publish, and let others write. What was acknowledged is on the disk already."""
        if not self._closed:
            try:
                self.publish()
            except BaseException:
                self._stored.withdraw()
                raise
            finally:
                self._release()

    def _release(self) -> None:
        self._closed = True
        self._stored.log.close()
        self._lock.release()

    def _append(self, payload: bytes, record: Entries | Removal) -> None:
        log = self._stored.log
        if log.size > LOG_BYTES or log.records >= LOG_RECORDS:
            self.flush()  # before, so that an error in it is not one of what is acknowledged
        self._stored.append(payload, record)

    def _fold(self, entries: Entries | None) -> None:
        """Write the tail and what comes as one segment, with such as should go along."""
        stored, coming = self._stored, None
        segments, tail = stored.segments, stored.tail.segment()
        if entries is not None:
            ids = entries.table["clip_id"].to_pylist()
            segments = [segment.without(segment.live_rows(ids)) for segment in segments]
            tail = None if tail is None else tail.without(tail.live_rows(ids))
            made = Tail(stored.manifest.layout, offsets=stored.offsets)
            made.put(entries)
            coming = made.segment()
        fresh = [segment for segment in (tail, coming) if segment is not None]
        merged = to_merge(segments, sum(map(len, fresh)))
        names = {segment.name for segment in merged}
        kept = [segment for segment in segments if segment.name not in names]
        stored.merge(stored.manifest, [*merged, *fresh], kept)


def _locked(directory: Path) -> FileLock:
    """The writer's lock, held; the system lets go of it when the process ends, however it ends."""
    lock = FileLock(directory / LOCK, timeout=0, thread_local=False)
    try:
        lock.acquire()
    except Timeout as error:
        words = f"another process is writing the index at '{directory}'; wait until it is done, or stop it"
        raise InputError(words) from error
    return lock


def _check_place(directory: Path, *, overwrite: bool) -> None:
    if not os.path.lexists(directory):
        return
    if not directory.is_dir() or is_foreign(directory):
        raise InputError(f"'{directory}' is there already and is not an index; choose another place")
    if (directory / INDEX_FILE).exists() and not overwrite:
        raise InputError(f"there is an index at '{directory}' already; say --overwrite to make it anew")
