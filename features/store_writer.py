"""Writing a feature store: rows gather in memory, and go to disk as whole shards.

One writer a job. It holds a lock file while it lives; a later job that gets hold of a dead writer's lock takes
away what that writer left unfinished.
"""

from __future__ import annotations

import fcntl
import io
import json
import os
import socket
import time
import uuid
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from safetensors.numpy import save

from features.manifest import Manifest
from features.record import MISSING, PRESENT, SCHEMA, ClipRecord, made_by
from features.whole import write_whole

SHARD_BYTES, SHARD_CLIPS, SHARD_SECONDS = 64 << 20, 512, 10.0  # a shard is written when it reaches any of these


class StoreWriter:
    """Appends to a store; a context manager that writes what is left when it ends."""

    def __init__(self, directory: Path, manifest: Manifest) -> None:
        self.directory, self.manifest = directory, manifest
        self.name = f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:8]}"
        self._lock = self._take_lock()
        self._clear_dead_writers()
        self._waiting: list[ClipRecord] = []
        self._bytes, self._since, self._shards = 0, 0.0, 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.flush()
        (self.directory / "writers" / f"{self.name}.lock").unlink()
        self._lock.close()

    def add(self, records: Sequence[ClipRecord]) -> None:
        """Take all clips of one video; they stay together in one shard."""
        if not self._waiting:
            self._since = time.monotonic()
        self._waiting += records
        self._bytes += sum(s.nbytes for r in records for s in r.streams.values() if s is not None)
        late = time.monotonic() - self._since >= SHARD_SECONDS
        if self._bytes >= SHARD_BYTES or len(self._waiting) >= SHARD_CLIPS or late:
            self.flush()

    def flush(self) -> None:
        """Write what waits as one shard: streams first, the part that makes them count last."""
        if not self._waiting:
            return
        shard = f"{self.name}-{self._shards:06d}"
        streams = sorted({stream for record in self._waiting for stream in record.streams})
        for stream in streams:
            there = {r.clip_id: s for r in self._waiting if (s := r.streams.get(stream)) is not None}
            rows = {clip_id: np.ascontiguousarray(s) for clip_id, s in there.items()}  # save scrambles others
            if rows:
                write_whole(self.directory / stream / f"{shard}.safetensors", save(rows))
        write_whole(self.directory / "parts" / f"{shard}.parquet", self._part(streams))
        self._waiting, self._bytes, self._shards = [], 0, self._shards + 1

    def _part(self, streams: Sequence[str]) -> bytes:
        now = time.time()
        rows: list[dict[str, Any]] = []
        for record in self._waiting:
            row = {name: getattr(record, name) for name in SCHEMA.names if name != "written_at"}
            states = {name: MISSING if s is None else PRESENT for name, s in record.streams.items()}
            rows.append({**row, "written_at": now, **states})
        schema = pa.schema([*SCHEMA, *((stream, pa.string()) for stream in streams)])
        keys = {stream: self.manifest.streams[stream].key for stream in streams}
        schema = schema.with_metadata({"streams": json.dumps(keys)})
        content = io.BytesIO()
        pq.write_table(pa.Table.from_pylist(rows, schema=schema), content)
        return content.getvalue()

    def _take_lock(self) -> IO[bytes]:
        path = self.directory / "writers" / f"{self.name}.lock"
        path.parent.mkdir(parents=True, exist_ok=True)
        while True:
            lock = path.open("wb")
            fcntl.flock(lock, fcntl.LOCK_EX)
            if os.fstat(lock.fileno()).st_nlink:
                return lock
            lock.close()  # another job took us for dead before we held it

    def _clear_dead_writers(self) -> None:
        """Remove what writers that no longer live left without a part."""
        for path in (self.directory / "writers").glob("*.lock"):
            if path.stem == self.name:
                continue
            try:
                with path.open("r+b") as lock:  # network file systems lock only what is open for writing
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    self._clear_writer(path.stem)
                    path.unlink(missing_ok=True)
            except (BlockingIOError, FileNotFoundError):  # it lives, or ended just now
                continue

    def _clear_writer(self, writer: str) -> None:
        whole = {path.stem for path in (self.directory / "parts").glob(f"{writer}-*.parquet")}
        for stream in self.manifest.streams:
            for path in (self.directory / stream).glob(f"{writer}-*.safetensors"):
                if path.stem not in whole:
                    path.unlink(missing_ok=True)
        for aside in self.directory.glob(f"*/.{writer}-*"):
            aside.unlink(missing_ok=True)


def clear_overwritten(directory: Path, manifest: Manifest) -> None:
    """Remove the stream files of earlier generations, after --overwrite.

    Files without a part are left alone: a job that lives may be about to write it.
    """
    for part in (directory / "parts").glob("*.parquet"):
        for stream, key in made_by(part).items():
            if stream in manifest.streams and manifest.streams[stream].key != key:
                (directory / stream / f"{part.stem}.safetensors").unlink(missing_ok=True)
