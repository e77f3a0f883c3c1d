"""The log: what was put and removed since the last segment was written, one record for each call.

    log = "mee log", the index's identity and the log's name, on a line | record | record ...
    record = magic "MEEr" | bytes of the payload, u64 | its CRC-32, u32 | CRC-32 of these 16 bytes, u32 | payload
    payload = an Arrow IPC stream; numbers before it are little-endian

A row of the stream is a clip that was put: the columns of index/storage/columns.py, and `vector`, the float32
values of its present experts side by side. Where vectors are null, the clips were removed; they have their clip_id
only. A record counts once all of it is there: what is cut short at the end is what a crash left, or what is being
written.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import final

import numpy as np
import pyarrow as pa

from index.storage.columns import code_column, pattern_of, with_pattern
from index.storage.entries import Entries
from index.storage.manifest import Manifest, damaged, replace_file
from mee.layout import Layout

MAGIC = b"MEEr"
SIZES, CHECK = struct.Struct("<4sQI"), struct.Struct("<I")
HEADER = SIZES.size + CHECK.size


@dataclass(frozen=True)
class Removal:
    """Clips that were removed."""

    clip_ids: list[str]


Record = Entries | Removal


@final
class Log:
    """The writer's end of it."""

    def __init__(self, path: Path, size: int, records: int) -> None:
        """Go on where whole records end, and cut off what comes behind.

        Args:
            path: of the log.
            size: where its last whole record ends.
            records: how many it has.
        """
        self.size, self.records = size, records
        self._ragged = False  # whether something may stand behind the last whole record
        self._file = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        self.closed = False
        os.ftruncate(self._file, size)
        os.fsync(self._file)

    @classmethod
    def begin(cls, path: Path, identity: str) -> Log:
        """A new one without records."""
        head = _head(identity, path.name)
        replace_file(path, head)
        return cls(path, len(head), 0)

    def append(self, payload: bytes) -> None:
        """Write a record; it is on the disk when this returns."""
        record = memoryview(framed(payload))
        end = self.size + len(record)
        if self._ragged:
            os.ftruncate(self._file, self.size)
        self._ragged = True
        try:
            at = self.size
            while at < end:
                at += os.pwrite(self._file, record[at - self.size :], at)
            os.fsync(self._file)
        except BaseException:
            with suppress(OSError):
                os.ftruncate(self._file, self.size)
                self._ragged = False
            raise
        self._ragged = False
        self.size, self.records = end, self.records + 1

    def close(self) -> None:
        """Let the file go; once is enough."""
        if not self.closed:
            self.closed = True
            os.close(self._file)


def framed(payload: bytes) -> bytes:
    """A record."""
    sizes = SIZES.pack(MAGIC, len(payload), zlib.crc32(payload))
    return sizes + CHECK.pack(zlib.crc32(sizes)) + payload


def put_payload(entries: Entries, layout: Layout) -> bytes:
    """Checked clips as a payload."""
    present = np.repeat(entries.available, layout.sizes, axis=1)
    ends = np.concatenate([[0], 4 * present.sum(axis=1).cumsum()]).astype(np.int32)
    values = entries.packed[present]
    buffers = [None, pa.py_buffer(ends), pa.py_buffer(values)]
    vector = pa.Array.from_buffers(pa.binary(), len(entries), buffers)
    table = with_pattern(entries.table, code_column(entries.available))
    return _stream(table.append_column("vector", vector))


def removal_payload(clip_ids: Sequence[str]) -> bytes:
    """Removed clips as a payload."""
    ids = pa.array(clip_ids, type=pa.string())
    return _stream(pa.table({"clip_id": ids, "vector": pa.nulls(len(ids), pa.binary())}))


def read_log(directory: Path, manifest: Manifest, start: int = 0) -> tuple[list[Record], int]:
    """Whole records of an index's log, and where they end.

    Args:
        directory: of the index.
        manifest: of the index.
        start: where to begin; 0: with the first.
    """
    path = directory / manifest.log
    try:
        with path.open("rb") as file:
            head = _head(manifest.identity, path.name)
            start = max(start, len(head))
            if file.read(len(head)) != head:
                raise ValueError("it is not the log of this index")
            file.seek(start)
            rest = memoryview(file.read())
            if not rest and os.fstat(file.fileno()).st_size < start:
                raise ValueError("it is shorter than it was")
        records, end = [], start
        for payload in _payloads(rest, start):
            records.append(_parsed(payload, manifest.layout, end))
            end += HEADER + len(payload)
    except FileNotFoundError as error:
        raise damaged(path, "it is not there") from error
    except (OSError, ValueError) as error:
        raise damaged(path, str(error)) from error
    return records, end


def _head(identity: str, name: str) -> bytes:
    return f"mee log {identity} {name}\n".encode()


def _payloads(rest: memoryview, start: int) -> Iterator[memoryview]:
    at = 0
    while at < len(rest):
        header = bytes(rest[at : at + HEADER])
        if not MAGIC.startswith(header[:4]):
            if any(header) or any(rest[at:]):  # a power cut may leave zeros where a record was to be
                raise ValueError(f"at byte {start + at} there is no record")
            return
        if len(header) < HEADER:
            return
        _, size, check = SIZES.unpack_from(header)
        if CHECK.unpack_from(header, SIZES.size)[0] != zlib.crc32(header[: SIZES.size]):
            raise ValueError(f"the record at byte {start + at} does not say how long it is")
        payload = rest[at + HEADER : at + HEADER + size]
        if len(payload) < size:
            return
        if zlib.crc32(payload) != check:
            raise ValueError(f"the record at byte {start + at} is not what was written")
        yield payload
        at += HEADER + size


def _parsed(payload: memoryview, layout: Layout, place: int) -> Record:
    try:
        table = pa.ipc.open_stream(pa.py_buffer(payload)).read_all().combine_chunks()
        vector = table["vector"].combine_chunks()
        if vector.null_count == len(table):
            return Removal(table["clip_id"].to_pylist())
        codes = table["pattern"].dictionary_encode().combine_chunks()
        patterns = np.array([pattern_of(code) for code in codes.dictionary.to_pylist()], dtype=np.bool_)
        available = patterns[codes.indices.to_numpy()]
        packed = np.zeros((len(table), layout.total), dtype=np.float32)
        present = np.repeat(available, layout.sizes, axis=1)
        packed[present] = np.frombuffer(vector.buffers()[2] or b"", dtype=np.float32)[: int(present.sum())]
        return Entries(table.drop_columns(["vector", "pattern"]), packed, available)
    except (pa.ArrowException, KeyError, ValueError) as error:
        raise ValueError(f"the record at byte {place} is not of this index") from error


def _stream(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as stream:
        stream.write_table(table)
    content: bytes = sink.getvalue().to_pybytes()
    return content
