"""Writing a feature store: rows gather in memory, and go to disk as whole shards.

One writer a job. It holds a lock file while it lives; a later job that gets hold of a dead writer's lock takes
away what that writer left unfinished.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self, final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from safetensors.numpy import save

from features.errors import InputError
from features.store.atomic_files import write_whole
from features.store.lock import WriterLock, clear_dead_writers, clear_unfinished
from features.store.manifest import Manifest, own_version
from features.store.part import (
    MISSING,
    PRESENT,
    SCHEMA,
    ClipRecord,
    FileFacts,
    Part,
    made_by,
    part_path,
    part_paths,
    rows_name,
    times_name,
)

SHARD_BYTES, SHARD_CLIPS, SHARD_SECONDS = 64 << 20, 512, 10.0  # a shard is written when it reaches any of these
MANY = 32  # times as many clips in a shard that is written without hurry


@final
class StoreWriter:
    """Appends to a store; a context manager that writes what is left when it ends."""

    def __init__(self, directory: Path, manifest: Manifest, *, unhurried: bool = False) -> None:
        """Begin a job.

        Args:
            directory: of the store.
            manifest: with the streams that are going to be written.
            unhurried: write large shards; for what can be had again at once after a kill.
        """
        self.directory, self.manifest = directory, manifest
        self._unhurried = unhurried
        self._lock = WriterLock(directory)
        clear_dead_writers(directory, manifest.streams, self.name)
        self._waiting: list[ClipRecord] = []
        self._bytes, self._since, self._shards = 0, 0.0, 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.flush()
        finally:
            self._lock.release()

    @property
    def name(self) -> str:
        """What its shards are called after."""
        return self._lock.name

    def claim(self, shard: str) -> None:
        """Say that files of this shard, of another writer, are going to come or go."""
        self._lock.claim(shard)

    def add(self, records: Sequence[ClipRecord]) -> None:
        """Take all clips of one video; they stay together in one shard."""
        if not self._waiting:
            self._since = time.monotonic()
        self._waiting += records
        self._bytes += sum(s.nbytes for r in records for s in r.streams.values() if s is not None)
        self._bytes += sum(times.nbytes for record in records for times in record.times.values())
        late = time.monotonic() - self._since >= SHARD_SECONDS and not self._unhurried
        clips = SHARD_CLIPS * (MANY if self._unhurried else 1)
        if self._bytes >= SHARD_BYTES or len(self._waiting) >= clips or late:
            self.flush()

    def flush(self) -> None:
        """Write what waits as one shard: streams first, the part that makes them count last.

        Raises:
            InputError: it cannot be written; nothing of it stays.
        """
        if not self._waiting:
            return
        shard = f"{self.name}-{self._shards:06d}"
        try:
            self._write(shard)
        except OSError as error:
            clear_unfinished(self.directory, self.manifest.streams, [shard])
            raise InputError(
                f"{self.directory} cannot be written: {error.strerror or error}; what was written before is "
                "whole, so make room, and the same command goes on from there"
            ) from error
        self._waiting, self._bytes, self._shards = [], 0, self._shards + 1

    def _write(self, shard: str) -> None:
        streams = sorted({stream for record in self._waiting for stream in record.streams})
        files: dict[str, FileFacts] = {}
        for stream in streams:
            there = {r.clip_id: s for r in self._waiting if (s := r.streams.get(stream)) is not None}
            times = {r.clip_id: r.times[stream] for r in self._waiting if r.clip_id in there and stream in r.times}
            for name, arrays in ((rows_name(stream, shard), there), (times_name(stream, shard), times)):
                if arrays:
                    files[name] = self._write_arrays(name, arrays)
        part = Part(self._table(streams), {s: self.manifest.streams[s].key for s in streams}, files, own_version())
        write_whole(part_path(self.directory, shard), part.encode())

    def _write_arrays(self, name: str, arrays: Mapping[str, NDArray[Any]]) -> FileFacts:
        content = save({clip_id: np.ascontiguousarray(array) for clip_id, array in arrays.items()})  # or scrambled
        write_whole(self.directory / name, content)
        return FileFacts.of(content)

    def _table(self, streams: Sequence[str]) -> pa.Table:
        now = time.time()
        rows: list[dict[str, Any]] = []
        for record in self._waiting:
            states = {name: MISSING if s is None else PRESENT for name, s in record.streams.items()}
            written_at = now if record.written_at is None else record.written_at
            rows.append({**record.columns(), "written_at": written_at, **states})
        schema = pa.schema([*SCHEMA, *((stream, pa.string()) for stream in streams)])
        return pa.Table.from_pylist(rows, schema=schema)


def clear_overwritten(directory: Path, manifest: Manifest) -> None:
    """Remove the stream files of earlier generations, after --overwrite.

    Files without a part are left alone: a job that lives may be about to write it.
    """
    for part in part_paths(directory):
        for stream, key in made_by(part).items():
            if stream in manifest.streams and manifest.streams[stream].key != key:
                for name in (times_name(stream, part.stem), rows_name(stream, part.stem)):
                    (directory / name).unlink(missing_ok=True)
