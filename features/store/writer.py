"""Writing a feature store: rows gather in memory and are written to disk as complete shards.

One writer a job. It holds writers/<writer>.lock while it runs. A writer that starts while no other runs removes
the unfinished files of killed jobs.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import socket
import time
import uuid
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Self, final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from safetensors.numpy import save

from features.errors import InputError, MediaError
from features.extractors import Extractor, Stream, Words
from features.files import make_folder, remove, write_whole
from features.store import layout
from features.store.manifest import Manifest, checksummed
from features.store.shard import WORDS, decoded, drop_shard, drop_streams, parse_words, read_part, write_sums
from features.store.writers import Work, find_writers, open_lock, store_lock

SHARD_BYTES, SHARD_CLIPS, SHARD_SECONDS = 64 << 20, 512, 60.0  # a shard is written when it reaches any of these


class CheckedStream(NamedTuple):
    """One stream of one clip in the form of the store."""

    rows: layout.Float16Stream | layout.Lines  # (T, D), or T lines
    times: layout.Times  # (T,) or (T, 2) seconds


def checked(stream: str, extractor: Extractor, made: Stream | Words | None, clip_id: str) -> CheckedStream | None:
    """The output of an extractor in the form of the store; None where the clip misses the stream.

    Raises MediaError if it is none: T at least 1, D the extractor's `dim`, finite numbers, a time a row; words
    where D is 0.
    """
    if made is None:
        return None
    if isinstance(made, Words) is not (extractor.dim == 0):
        raise MediaError(f"its {stream} extractor gave words instead of numbers, or the reverse, at {clip_id}")
    if isinstance(made, Words):
        return CheckedStream(made.lines, made.times)
    with np.errstate(over="ignore"):
        rows = np.asarray(made.rows).astype(np.float16)
    times = np.asarray(made.times, np.float32)
    if rows.ndim != 2 or rows.shape[1] != extractor.dim or len(rows) == 0 or not np.isfinite(rows).all():
        raise MediaError(f"its {stream} extractor gave no (T, {extractor.dim}) finite numbers at {clip_id}")
    if times.shape != rows.shape[:1] or not np.isfinite(times).all():
        raise MediaError(f"its {stream} extractor gave no time for each row at {clip_id}")
    return CheckedStream(rows, times)


def _forget(directory: Path, *writers: str) -> None:
    for name in (f"{writer}.{suffix}" for writer in writers for suffix in ("json", "lock")):
        remove(directory / layout.WRITERS / name)


def _clear_unfinished(directory: Path, streams: Collection[str]) -> None:
    """Remove files of shards without checksums, and temporary files."""
    shards = set(layout.shard_names(directory))
    for folder in (layout.PARTS, *streams):
        for suffix in (layout.PART, layout.ROWS):
            for path in (directory / folder).glob("*" + suffix):
                if layout.SHARD.fullmatch(layout.shard_of(path)) and layout.shard_of(path) not in shards:
                    remove(path)
    for folder in (*layout.FOLDERS, *streams):
        for temporary in (directory / folder).glob(".*.[0-9]*"):
            remove(temporary)


def clear_overwritten(directory: Path, manifest: Manifest) -> None:
    """Remove the stream files of overwritten versions, but not those that a running job has not committed yet."""
    for shard in layout.shard_names(directory):
        versions, known = read_part(directory, shard).versions, manifest.streams
        if gone := [s for s, version in versions.items() if s in known and version in known[s].overwritten]:
            drop_streams(directory, shard, gone)


@final
class StoreWriter:
    """Appends to a store; a context manager that writes the pending rows at its end."""

    def __init__(self, directory: Path, manifest: Manifest, work: Work | None = None) -> None:
        """``manifest``: with the streams that are going to be written; ``work``: None where others may do it too.

        Raises:
            InputError: a running job does this work, or has overwritten these streams.
        """
        manifest.check_folders(directory)
        self.directory, self.manifest = directory, manifest
        host = re.sub("[^A-Za-z0-9_-]", "-", socket.gethostname())[:60]
        self.name = f"{host}-{os.getpid()}-{uuid.uuid4().hex[:8]}"
        self.lock = open_lock(directory / layout.WRITERS / f"{self.name}.lock")
        self._pending: list[layout.ClipRecord] = []
        self._bytes, self._since, self._number = 0, 0.0, -1
        make_folder(directory / layout.WRITERS)
        with store_lock(directory):
            if work is not None:
                work.refuse_same(directory)
                there = Manifest.read(directory).streams
                if gone := [s for s in work.streams if manifest.streams[s].versions[0] in there[s].overwritten]:
                    raise InputError(f"{directory}: another job has just overwritten '{gone[0]}'; run this again")
            others = find_writers(directory)
            if others and not any(others.values()):
                _clear_unfinished(directory, manifest.streams)
                _forget(directory, *others)
            self.lock.acquire()
            if work is not None:
                work.note(directory / layout.WRITERS / f"{self.name}.json")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self.flush()
        finally:
            self.close()

    def close(self) -> None:
        """Release the lock: no file of this writer is unfinished. Pending rows are not written."""
        with store_lock(self.directory):
            _forget(self.directory, self.name)
            self.lock.release()

    def add(self, records: Sequence[layout.ClipRecord]) -> None:
        """Add all clips of one video; they stay together in one shard."""
        if not self._pending:
            self._since = time.monotonic()
        self._pending += records
        self._bytes += sum(_size(s) for r in records for s in r.streams.values() if s is not None)
        self._bytes += sum(times.nbytes for record in records for times in record.times.values())
        late = time.monotonic() - self._since >= SHARD_SECONDS
        if self._bytes >= SHARD_BYTES or len(self._pending) >= SHARD_CLIPS or late:
            self.flush()

    def note_import(self, content: Mapping[str, Any]) -> None:
        """Record in the store which files an import came from."""
        write_whole(self.directory / layout.IMPORTS / f"{self.name}-import.json", checksummed(content))

    def flush(self) -> None:
        """Write the pending rows as one shard; after an error nothing of it remains."""
        if not self._pending:
            return
        self._number = max(self._number, *map(layout.number_of, layout.shard_names(self.directory)), -1) + 1
        shard = f"{self.name}-{self._number:06d}"
        if not layout.SHARD.fullmatch(shard):
            raise InputError(f"{self.directory} has no numbers left for its shards; write to another store")
        streams = sorted({stream for record in self._pending for stream in record.streams})
        sums = {}
        try:
            for name, content in self._files(shard, streams):
                write_whole(self.directory / name, content)
                sums[name] = hashlib.sha256(content).hexdigest()
            write_sums(self.directory, shard, sums)
        except OSError as error:
            drop_shard(self.directory, shard, streams)
            raise InputError(
                f"{self.directory} cannot be written: {error.strerror or error}; what was written before is "
                "whole, so make room, and the same command goes on from there"
            ) from error
        self._pending, self._bytes = [], 0

    def _files(self, shard: str, streams: Sequence[str]) -> Iterator[tuple[str, bytes]]:
        """Name and content of each file of a shard, the part last."""
        for stream in streams:
            there: dict[str, Any] = {
                r.clip_id: s for r in self._pending if (s := r.streams.get(stream)) is not None
            }
            times = {r.clip_id: r.times[stream] for r in self._pending if r.clip_id in there and stream in r.times}
            names = layout.stream_names(stream, shard)
            if there and self.manifest.holds_words(stream):
                yield names.words, _words_file(there, times)
                continue
            for name, arrays in zip(names, (there, times)):
                if arrays:  # safetensors writes the memory of an array in its order
                    yield name, save({clip_id: np.ascontiguousarray(array) for clip_id, array in arrays.items()})
        now = time.time()
        rows: list[dict[str, Any]] = []
        for record in self._pending:
            states = {name: layout.MISSING if s is None else layout.PRESENT for name, s in record.streams.items()}
            rows.append({**record.columns(), "written_at": now, **states})
        schema = pa.schema([*layout.SCHEMA, *((stream, pa.string()) for stream in streams)])
        versions = {stream: self.manifest.streams[stream].versions[0] for stream in streams}
        table = pa.Table.from_pylist(rows, schema=schema).replace_schema_metadata(
            {"streams": json.dumps(versions)}
        )
        part = io.BytesIO()
        pq.write_table(table, part)
        coded = (column.dictionary_encode() if column.type == pa.string() else column for column in table.columns)
        try:
            decoded(pa.table(list(coded), names=table.column_names), part.tell())
        except (pa.ArrowException, ValueError) as error:
            raise InputError(f"{self.directory}: what would be written cannot be read back: {error}") from error
        yield layout.part_name(shard), part.getvalue()


def _size(rows: layout.Float16Stream | layout.Lines) -> int:
    return rows.nbytes if isinstance(rows, np.ndarray) else sum(map(len, rows))


def _words_file(lines: Mapping[str, layout.Lines], times: Mapping[str, layout.Times]) -> bytes:
    """A row an utterance; times are not compressed, so that a file says by its size how much it may hold."""
    seconds = np.concatenate([times[clip_id] for clip_id in lines])
    clip_ids = [clip_id for clip_id, said in lines.items() for _ in said]
    columns = [clip_ids, seconds[:, 0], seconds[:, 1], [line for said in lines.values() for line in said]]
    coding = dict(zip(WORDS.names, ("SNAPPY", "NONE", "NONE", "SNAPPY")))
    file, texts = io.BytesIO(), [each.name for each in WORDS if each.type == pa.string()]
    pq.write_table(pa.table(columns, schema=WORDS), file, compression=coding, use_dictionary=texts)
    parse_words(pa.BufferReader(file.getvalue()), file.tell())
    return file.getvalue()
