"""Writing a feature store: rows gather in memory, and go to disk as complete shards.

One writer a job. It holds writers/<writer>.lock while it lives. One that begins when no other lives removes what
killed jobs left.
"""

from __future__ import annotations

import os
import socket
import time
import uuid
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self, final

import numpy as np
import pyarrow as pa
from filelock import FileLock, Timeout
from numpy.typing import NDArray
from safetensors.numpy import save

from features.errors import InputError
from features.store.layout import (
    MISSING,
    PART,
    PARTS,
    PRESENT,
    ROWS,
    SCHEMA,
    WRITERS,
    ClipRecord,
    part_name,
    rows_name,
    shard_names,
    shard_of,
    times_name,
)
from features.store.manifest import Manifest, store_lock
from features.store.shard import Part, Sums, drop_shard, drop_streams, stream_versions, write_summed, write_sums

SHARD_BYTES, SHARD_CLIPS, SHARD_SECONDS = 64 << 20, 512, 60.0  # a shard is written when it reaches any of these


@final
class WriterLock:
    """A job that writes a store; held from its making to its release."""

    def __init__(self, directory: Path, streams: Collection[str]) -> None:
        """What killed jobs left in the folders of the streams goes, if nobody else writes."""
        self.name = f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:8]}"
        self.directory = directory
        self.file = FileLock(directory / WRITERS / f"{self.name}.lock")
        (directory / WRITERS).mkdir(exist_ok=True)
        with store_lock(directory):
            there = living_writers(directory)
            if there and not any(there.values()):
                _clear_unfinished(directory, streams)
                for writer in there:
                    (directory / WRITERS / f"{writer}.lock").unlink()
            self.file.acquire()

    def release(self) -> None:
        """Nothing of this writer is unfinished."""
        with store_lock(self.directory):
            Path(self.file.lock_file).unlink()
            self.file.release()


def living_writers(directory: Path) -> dict[str, bool]:
    """Jobs that have not ended in order -> whether they live. To be called with the store's lock held."""
    found = {}
    for path in sorted((directory / WRITERS).glob("*.lock")):
        try:
            with FileLock(path, timeout=0):
                found[path.stem] = False
        except Timeout:
            found[path.stem] = True
    return found


def _clear_unfinished(directory: Path, streams: Collection[str]) -> None:
    """Remove the files that no shard will list, and those that were being written."""
    shards = set(shard_names(directory))
    for folder in (PARTS, *streams):
        for suffix in (PART, ROWS):
            for path in (directory / folder).glob("*" + suffix):
                if shard_of(path) not in shards:
                    path.unlink(missing_ok=True)
    for aside in directory.glob("*/.*.[0-9]*"):
        aside.unlink(missing_ok=True)


@final
class StoreWriter:
    """Appends to a store; a context manager that writes what is left when it ends."""

    def __init__(self, directory: Path, manifest: Manifest) -> None:
        """``manifest``: with the streams that are going to be written."""
        self.directory, self.manifest = directory, manifest
        self.lock = WriterLock(directory, manifest.streams)
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
            self.lock.release()

    @property
    def name(self) -> str:
        """What its shards are called after."""
        return self.lock.name

    def add(self, records: Sequence[ClipRecord]) -> None:
        """Take all clips of one video; they stay together in one shard."""
        if not self._waiting:
            self._since = time.monotonic()
        self._waiting += records
        self._bytes += sum(s.nbytes for r in records for s in r.streams.values() if s is not None)
        self._bytes += sum(times.nbytes for record in records for times in record.times.values())
        late = time.monotonic() - self._since >= SHARD_SECONDS
        if self._bytes >= SHARD_BYTES or len(self._waiting) >= SHARD_CLIPS or late:
            self.flush()

    def flush(self) -> None:
        """Write what waits as one shard.

        Raises:
            InputError: it cannot be written; nothing of it stays.
        """
        if not self._waiting:
            return
        shard = f"{self.name}-{self._shards:06d}"
        streams = sorted({stream for record in self._waiting for stream in record.streams})
        try:
            self._write(shard, streams)
        except OSError as error:
            drop_shard(self.directory, shard, streams)
            raise InputError(
                f"{self.directory} cannot be written: {error.strerror or error}; what was written before is "
                "whole, so make room, and the same command goes on from there"
            ) from error
        self._waiting, self._bytes, self._shards = [], 0, self._shards + 1

    def _write(self, shard: str, streams: Sequence[str]) -> None:
        sums: Sums = {}
        for stream in streams:
            there = {r.clip_id: s for r in self._waiting if (s := r.streams.get(stream)) is not None}
            times = {r.clip_id: r.times[stream] for r in self._waiting if r.clip_id in there and stream in r.times}
            for name, arrays in ((rows_name(stream, shard), there), (times_name(stream, shard), times)):
                if arrays:
                    sums[name] = write_summed(self.directory, name, _encoded(arrays))
        part = Part(self._table(streams), {s: self.manifest.streams[s].versions[0] for s in streams})
        sums[part_name(shard)] = write_summed(self.directory, part_name(shard), part.encode())
        write_sums(self.directory, shard, sums)

    def _table(self, streams: Sequence[str]) -> pa.Table:
        now = time.time()
        rows: list[dict[str, Any]] = []
        for record in self._waiting:
            states = {name: MISSING if s is None else PRESENT for name, s in record.streams.items()}
            rows.append({**record.columns(), "written_at": now, **states})
        schema = pa.schema([*SCHEMA, *((stream, pa.string()) for stream in streams)])
        return pa.Table.from_pylist(rows, schema=schema)


def _encoded(arrays: Mapping[str, NDArray[Any]]) -> bytes:
    return save({clip_id: np.ascontiguousarray(array) for clip_id, array in arrays.items()})  # or scrambled


def clear_overwritten(directory: Path, manifest: Manifest) -> None:
    """Remove the stream files of overwritten versions; those of a job that is about to commit them stay."""
    for shard in shard_names(directory):
        versions = stream_versions(directory, shard)
        gone = [
            s
            for s, version in versions.items()
            if s in manifest.streams and version in manifest.streams[s].overwritten
        ]
        if gone:
            drop_streams(directory, shard, gone)
