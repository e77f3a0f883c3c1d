"""The tables of a segment: clips, found by row or by name; words, with their vectors; and how both are read.

Arrow trusts the bytes of a file: an offset of a text that lies outside of them, or a wrong number of nulls, makes
it read and write elsewhere. So the file is read message by message (as the stream that an Arrow file holds behind
its first 8 bytes). A message that would be decompressed, converted or looked up is refused; of each column the
offsets are checked, the texts are UTF-8, and nulls are counted again. Nothing is copied.

Words of an expert, those of a clip side by side and in order of time; each row has a vector:

    clip      int64     the clip's row in the table of clips, rising
    start_s   float64   finite, in seconds on the video
    end_s     float64
    words     string    what is said or written then
"""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from struct import unpack_from
from typing import TypeVar, final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from index.scanners import Floats, Rows, WordRows, array_of, mapped_bytes

NEEDED = {"clip_id": pa.string(), "video": pa.string(), "start_s": pa.float64(), "end_s": pa.float64()}
OPTIONAL = {"offset": pa.float64(), "version": pa.string()}
STANDARD = {**NEEDED, "pattern": pa.string(), **OPTIONAL}  # of a table of clips, see index/storage/entries.py
FEW = 64  # rows that are read one by one
PASS = 100  # rows of a sorted table that are scanned in the time that one clip is looked up
MAGIC = b"ARROW1\0\0"
HASHED, LONGEST = 1 << 14, 1024  # texts hashed at a time: they stay in the cache; bytes of a text that count
MURMUR, KEPT = np.uint64(0xC6A4A7935BD1E995), np.array([(1 << 8 * n) - 1 for n in range(9)], np.uint64)
KINDS = (pa.string(), pa.float64(), pa.int64(), pa.bool_(), pa.null())  # of columns
WORDS = {"clip": pa.int64(), "start_s": pa.float64(), "end_s": pa.float64(), "words": pa.string()}
# of scripts without spaces between words, each letter is one
WORD = re.compile("[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]|[^\\W_]+")
APOSTROPHES = re.compile("['\u2019\u02bc]")
Number = TypeVar("Number", np.float64, np.int64)
HEADER, ENDIANNESS, COMPRESSION = 2, 0, 3  # fields of Arrow's Message, Schema and RecordBatch


@final
class ClipTable:
    """N clips sorted by clip_id, found by row or by name without reading all of them."""

    def __init__(self, arrow: pa.Table) -> None:
        """Take a table with the columns of index/storage/entries.py."""
        self.arrow = arrow
        self._ids = arrow["clip_id"]

    def __len__(self) -> int:
        return len(self.arrow)

    def ids(self, rows: NDArray[np.int64]) -> list[str]:
        """Clip ids of some rows."""
        if len(rows) <= FEW:
            return [self._ids[row].as_py() for row in rows.tolist()]
        found: list[str] = self._ids.take(pa.array(rows)).to_pylist()
        return found

    @cached_property
    def hashes(self) -> NDArray[np.uint64]:
        """(N,) a hash of each clip's id, of the first bytes of very long ones."""
        return np.concatenate([np.empty(0, np.uint64), *map(_hashes, self._ids.chunks)])

    def find(self, clip_id: str) -> int | None:
        """The row of a clip."""
        rows = self.rows_of([clip_id]).tolist()
        return rows[0] if rows else None

    def rows_of(self, clip_ids: Sequence[str]) -> NDArray[np.int64]:
        """Rows of those clips that are here."""
        if len(clip_ids) > 1 and len(clip_ids) * PASS > len(self):
            import pyarrow.compute as pc  # here: opening takes 40 ms less without

            rows = pc.index_in(pa.array(clip_ids, type=pa.string()), value_set=self._ids)
            return np.asarray(rows.drop_null(), dtype=np.int64)
        found, every = [], range(len(self))
        for clip_id in clip_ids:
            row = bisect_left(every, clip_id, key=lambda row: self._ids[row].as_py())
            if row < len(self) and self._ids[row].as_py() == clip_id:
                found.append(row)
        return np.array(found, dtype=np.int64)


@final
@dataclass(frozen=True, eq=False)
class Words:
    """R rows of an expert of words."""

    table: pa.Table
    values: Floats  # (R, E), memory-mapped or in memory

    @cached_property
    def clip(self) -> Rows:
        """(R,) the clips, as rows of the table of clips, rising."""
        chunks = (_values(each, np.int64) for each in self.table["clip"].chunks)
        return np.concatenate([np.empty(0, np.int64), *chunks])

    @cached_property
    def rows(self) -> WordRows:
        """The vectors, by clip."""
        first = np.flatnonzero(np.diff(self.clip, prepend=-1))
        return WordRows(self.values, np.append(first, len(self.clip)))

    @cached_property
    def clips(self) -> Rows:
        """(C,) the clips that have some."""
        return self.clip[self.rows.starts[:-1]]

    def of(self, clip: int) -> slice:
        """The rows of a clip."""
        return slice(*np.searchsorted(self.clip, [clip, clip + 1]).tolist())

    @cached_property
    def _folded(self) -> list[str]:
        return list(map(folded, self.table["words"].to_pylist()))

    def containing(self, phrase: str) -> NDArray[np.bool_]:
        """(R,) which rows contain words, side by side; case, white space and punctuation do not count."""
        wanted = folded(phrase)
        return np.array([wanted in text for text in self._folded], dtype=np.bool_)


def folded(text: str) -> str:
    """The words of a text, each between spaces, without what `Words.containing` ignores."""
    plain = APOSTROPHES.sub("", unicodedata.normalize("NFKC", text).casefold())
    return f" {' '.join(WORD.findall(plain))} "


def arranged(parts: Sequence[tuple[Words, Rows]]) -> tuple[pa.Table, Rows, Rows]:
    """The words of several tables in one, each given with its clips' rows in a new table of clips, -1: gone.

    Returns the table, and where each of its rows comes from: the number of the part, and the row there.
    """
    clip = np.concatenate([new[words.clip] for words, new in parts])
    part = np.repeat(np.arange(len(parts)), [len(words.values) for words, _ in parts])
    row = np.concatenate([np.arange(len(words.values)) for words, _ in parts])
    order = np.argsort(clip, kind="stable")
    order = order[clip[order] >= 0]
    table = pa.concat_tables([words.table for words, _ in parts]).take(pa.array(order))
    return table.set_column(0, "clip", pa.array(clip[order])).combine_chunks(), part[order], row[order]


def open_words(table: Path, values: Path, size: int, clips: int) -> Words:
    """Map the files of words with vectors of a size, of a segment of so many clips; raises as `open_table`."""
    words = Words(_read(table, WORDS), array_of(mapped_bytes(values), (-1, size), np.float32))
    count, clip = len(words.values), words.clip
    if not 0 < len(clip) == count or not 0 <= clip[0] <= clip[-1] < clips or (clip[1:] < clip[:-1]).any():
        raise ValueError(f"its rows are not those of {count:,} vectors of {clips:,} clips")
    return words


def open_table(path: Path, clips: int) -> ClipTable:
    """Map a file of so many clips.

    Raises:
        ValueError: it is not a table that an index writes.
        OSError: it cannot be read.
    """
    table = _read(path, NEEDED, STANDARD)
    if len(table) != clips:
        raise ValueError(f"it has {len(table):,} clips of {clips:,}")
    return ClipTable(table)


def _read(
    path: Path, needed: Mapping[str, pa.DataType], standard: Mapping[str, pa.DataType] | None = None
) -> pa.Table:
    """Map a table whose needed columns have no null; standard: all that is fixed, beside which any may be."""
    content = mapped_bytes(path)
    if content[: len(MAGIC)].tobytes() != MAGIC:
        raise ValueError("it is no Arrow file")
    messages = iter(pa.ipc.MessageReader.open_stream(pa.BufferReader(pa.py_buffer(content[len(MAGIC) :]))))
    head = next(messages, None)
    if head is None or head.type != "schema" or _has(head, ENDIANNESS):
        raise ValueError("it does not begin with the schema of a table of this processor's byte order")
    schema = _checked(pa.ipc.read_schema(head), needed if standard is None else standard, standard is not None)
    batches: list[pa.RecordBatch] = []
    for message in messages:
        if message.type != "record batch" or _has(message, COMPRESSION) or len(batches) > len(content) >> 30:
            raise ValueError("it is compressed, in many parts, or holds something else than rows")
        given = pa.ipc.read_record_batch(message, schema)
        given.validate()  # the sizes of its buffers
        columns = [_column(column, len(given)) for column in given.columns]
        batches.append(pa.RecordBatch.from_arrays(columns, schema=schema))
    table = pa.Table.from_batches(batches, schema)
    for name, kind in needed.items():
        numbers = kind == pa.float64()
        chunks = table[name].chunks if numbers else ()
        if table[name].null_count or not all(np.isfinite(_values(each, np.float64)).all() for each in chunks):
            raise ValueError(f"a clip has no {'finite ' if numbers else ''}{name}")
    return table


def _hashes(texts: pa.Array) -> NDArray[np.uint64]:
    """(N,) hashes of texts without nulls, by steps as of MurmurHash64A (Appleby), 8 bytes at a time."""
    found = np.empty(len(texts), np.uint64)
    offsets = np.frombuffer(
        texts.buffers()[1] if len(texts) else bytes(4), np.int32, len(texts) + 1, 4 * texts.offset
    )
    for first in range(0, len(texts), HASHED):
        ends = offsets[first : first + HASHED + 1].astype(np.int64)
        content = np.frombuffer(texts.buffers()[2] or b"", np.uint8)[ends[0] : ends[-1]]
        content = np.concatenate([content, np.zeros(8, np.uint8)])
        words = np.ndarray((len(content) - 7,), "<u8", content, strides=(1,))
        start, size = ends[:-1] - ends[0], np.diff(ends)
        hashes = size.astype(np.uint64)
        for at in range(0, min(LONGEST, int(size.max())), 8):
            left = np.clip(size - at, 0, 8)
            mixed = (hashes ^ (words[np.minimum(start + at, len(words) - 1)] & KEPT[left])) * MURMUR
            hashes = np.where(left > 0, mixed ^ (mixed >> np.uint64(47)), hashes)
        hashes *= MURMUR
        found[first : first + HASHED] = hashes ^ (hashes >> np.uint64(32))
    return found


def _has(message: pa.Message, number: int) -> bool:
    """Whether a field of a message's header is there; Arrow has checked that its offsets lie inside."""
    metadata = memoryview(message.metadata)

    def place(table: int, number: int) -> int:  # 0: a flatbuffer has the default there
        fields = table - unpack_from("<i", metadata, table)[0]
        known = unpack_from("<H", metadata, fields)[0] >= 6 + 2 * number
        offset: int = unpack_from("<H", metadata, fields + 4 + 2 * number)[0] if known else 0
        return offset and table + offset

    at = place(unpack_from("<I", metadata)[0], HEADER)
    return bool(at and place(at + unpack_from("<I", metadata, at)[0], number))


def _checked(schema: pa.Schema, standard: Mapping[str, pa.DataType], more: bool) -> pa.Schema:
    """Its names and types alone; more: whether columns of other names may be there."""
    names = schema.names
    lacking = standard.keys() - set(names)
    if lacking:
        raise ValueError(f"it has no column '{min(lacking)}'")
    if len(set(names)) < len(names):
        raise ValueError("it has two columns of one name")
    for name, kind in zip(names, schema.types):
        wanted = (standard[name],) if name in standard else KINDS if more else ()
        if kind not in wanted and not (name in OPTIONAL and kind == pa.null()):
            raise ValueError(f"column '{name}' holds {kind}")
    return pa.schema(list(zip(names, schema.types)))


def _column(column: pa.Array, rows: int) -> pa.Array:
    """The same column, whose content may be anything."""
    buffers = column.buffers()
    if column.type == pa.null():
        return pa.nulls(rows)
    if column.type == pa.string() and rows:
        offsets = np.frombuffer(buffers[1], np.int32, rows + 1)
        if offsets[0] < 0 or (offsets[1:] < offsets[:-1]).any():
            raise ValueError("a text ends before it begins")
        if not _ascii(buffers[2]):
            column.validate(full=True)
    return pa.Array.from_buffers(column.type, rows, buffers, -1 if column.null_count else 0)  # -1: to be counted


def _values(numbers: pa.Array, kind: type[Number]) -> NDArray[Number]:
    """Without nulls; by its buffer, as pyarrow's own ways import more of it, or pandas."""
    return np.frombuffer(numbers.buffers()[1] if len(numbers) else b"", kind, len(numbers), 8 * numbers.offset)


def _ascii(text: pa.Buffer | None) -> bool:
    content = np.frombuffer(text or b"", np.uint8)
    whole = len(content) // 8 * 8
    eights = np.bitwise_or.reduce(content[:whole].view(np.uint64), initial=0)
    return not (int(eights) & 0x8080808080808080 or (content[whole:] & 0x80).any())
