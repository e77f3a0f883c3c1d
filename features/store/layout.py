"""The format of a feature store on disk, version 6: a directory that many jobs fill without coordination.

    store.json                            format version, how videos are cut, what made each stream (manifest.py)
    parts/<shard>.parquet                 the rows of one shard, columns as below
    <stream>/<shard>.safetensors          {clip_id: (T, D) float16}; no entry where a clip misses the stream
    <stream>/<shard>.times.safetensors    {clip_id: (T,) float32} seconds, the middle of what each row covers
    <stream>/<shard>.parquet              instead, of words: clip_id, start_s, end_s, words; a row an utterance
    checksums/<shard>.sha256              SHA-256 of all these files of the shard, in the format of sha256sum
    writers/<writer>.lock                 held while its job runs
    writers/<writer>.json                 what that job is going to write (writers.py)
    imports/<writer>-import.json          which files imported streams came from; these have no times

pandas, safetensors and, in the store's folder, `sha256sum -c --quiet checksums/*` read all of it without mee.

**Commit.** A shard exists if and only if its checksums do. Each file is written under a temporary name, synced and
renamed: first the streams, then the part, the checksums last. So a listed file was complete: if it is gone or
differs, it is damaged. A file that no checksums list belongs to a job that is running or was killed. (If the part
came last, these two cases would look the same.) Files never change once they are listed, only the list does: a
damaged or overwritten stream is removed from it before its files are deleted, and a merge adds lines to it.
Reading is memory-mapped and compares no checksums; `mee store verify` does.

A shard is called <writer>-<number>, a writer <host>-<process>-<random>. The temporary name of a file is
.<its name>.<process>.

**Order.** A shard's number is one more than the highest in the store when it is written. Of several rows of a clip
those of the highest number count, whatever the clock said. Only shards of one number, whose jobs knew nothing of
each other, are ordered by the time of writing, and then by name.

**From anyone.** A store may have been made by anyone. Streams, shards, writers and versions are called
`[A-Za-z0-9_-]+`, and files stand in the folders above: no name in a file of a store can be a path. Links, pipes
and devices are refused, and sizes are compared before memory is taken.

**Columns of a part**

    clip_id video start_s end_s         the clip; times in seconds
    verdict note reader                 how decoding went
    clips_of_video                      number of clips of its file
    file_bytes file_sha256 file_mtime   the file: size, SHA-256 of its content, seconds since 1970 of its change
    file_seconds width height fps       duration, upright picture in square pixels, frames a second
    video_codec audio_codec audio_rate  as ffmpeg names them; samples a second
    written_at                          seconds since 1970, for information
    <stream>                            present, missing, or null where it is not extracted yet

A row of verdict `dropped` is a tombstone: rows of its video in shards of lower numbers no longer count. A row
without any stream only records another file_mtime of the same content.

Columns of the file are null where they do not apply, or where an import cannot know them. The key-value metadata
`streams` holds {stream: version}: a stream's column counts if store.json lists this version, and `present`
counts if the checksums list the stream's file.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from features.files import NAME
from features.media import SourceFacts

PRESENT, MISSING = "present", "missing"  # values of a stream's column; null: not extracted yet
DROPPED = "dropped"  # the verdict of a tombstone
Float16Stream = NDArray[np.float16]  # (T, D)
Lines = tuple[str, ...]  # T utterances
Times = NDArray[np.floating]  # (T,) float32 seconds on the clip's video; of lines (T, 2) float64, start and end

SOURCE = tuple(each.name for each in fields(SourceFacts))
COLUMN_TYPES = {"float": pa.float64(), "int": pa.int32(), "str": pa.string()}
SCHEMA = pa.schema(
    {"clip_id": pa.string(), "video": pa.string(), "start_s": pa.float64(), "end_s": pa.float64()}
    | dict.fromkeys(("verdict", "note", "reader"), pa.string())
    | {"clips_of_video": pa.int32(), "file_bytes": pa.int64(), "file_sha256": pa.string()}
    | {each.name: COLUMN_TYPES[str(each.type).removesuffix(" | None")] for each in fields(SourceFacts)}
    | {"file_mtime": pa.float64(), "written_at": pa.float64()}
)
ROW = tuple(name for name in SCHEMA.names if name != "written_at")
STORE_FILE = "store.json"
FOLDERS = PARTS, CHECKSUMS, WRITERS, IMPORTS = "parts", "checksums", "writers", "imports"  # not of streams
RESERVED = frozenset((*FOLDERS, "shard", *SCHEMA.names))  # no names of streams
SHARD = re.compile(NAME.pattern + "-[0-9]{6,9}")
MOST_NUMBERS = 1 << 28  # in a stream of one clip: 512 MB
LONGEST_NOTE = 500  # characters; it is repeated for each clip of a file
ROWS, TIMES, PART, SUMS = ".safetensors", ".times.safetensors", ".parquet", ".sha256"
WORDS = PART


class StreamNames(NamedTuple):
    """The files that a shard may have of a stream, relative to the store."""

    rows: str
    times: str
    words: str  # instead of both


def stream_names(stream: str, shard: str) -> StreamNames:
    """All of them."""
    return StreamNames(*(f"{stream}/{shard}{suffix}" for suffix in (ROWS, TIMES, WORDS)))


def part_name(shard: str) -> str:
    """The file of a shard's part, relative to the store."""
    return f"{PARTS}/{shard}{PART}"


def sums_path(directory: Path, shard: str) -> Path:
    """The checksums of a shard; the shard exists if and only if this file does."""
    return directory / CHECKSUMS / f"{shard}{SUMS}"


def shard_names(directory: Path) -> list[str]:
    """All shards, sorted."""
    names = (path.name.removesuffix(SUMS) for path in (directory / CHECKSUMS).glob("*" + SUMS))
    return sorted(name for name in names if SHARD.fullmatch(name))


def number_of(shard: str) -> int:
    """The number of a shard: which of two was written later."""
    return int(shard.rpartition("-")[2])


def is_name(name: object) -> bool:
    """Whether a stream, a writer or a version may be called so."""
    return isinstance(name, str) and NAME.fullmatch(name) is not None


def is_stream(name: object) -> bool:
    """Whether it is a name, and not one of the store's own; also where capitals do not tell files apart."""
    return is_name(name) and str(name).lower() not in RESERVED


def shard_of(path: Path) -> str:
    """The shard that a file belongs to, by its name."""
    return path.name.removesuffix(TIMES).removesuffix(ROWS).removesuffix(PART).removesuffix(SUMS)


@dataclass(frozen=True, kw_only=True)
class ClipRecord:
    """One row: a clip, or a file that failed, with the streams that were extracted."""

    clip_id: str
    video: str
    start_s: float
    end_s: float
    verdict: str
    note: str
    reader: str
    clips_of_video: int
    file_bytes: int
    file_sha256: str = ""  # hexadecimal; empty where it is not known
    file_mtime: float | None = None  # None where it is not known
    source: SourceFacts | None = None  # None where it is not known
    streams: Mapping[str, Float16Stream | Lines | None] = field(default_factory=dict)  # None: missing
    times: Mapping[str, Times] = field(default_factory=dict)  # of the rows of streams; imports have none

    @classmethod
    def of_row(cls, clip_id: str, row: Mapping[str, Any], streams: Mapping[str, Float16Stream | None]) -> Self:
        """A record that repeats a row of the store, the columns of ROW without clip_id, but for its streams."""
        known = {name: value for name, value in row.items() if value is not None}
        source = {name: known.pop(name) for name in SOURCE if name in known}
        facts = SourceFacts(**source) if "file_seconds" in source else None
        return cls(clip_id=clip_id, streams=streams, source=facts, **known)

    @classmethod
    def tombstone(cls, video: str) -> Self:
        """After it the rows of a video no longer count; new ones may stand in the same shard."""
        facts: dict[str, Any] = {"start_s": 0.0, "end_s": 0.0, "note": "", "reader": "", "clips_of_video": 0}
        return cls(clip_id=f"{video}#{DROPPED}", video=video, verdict=DROPPED, file_bytes=0, **facts)

    def columns(self) -> dict[str, Any]:
        """The values of ROW, by column."""
        source = dict.fromkeys(SOURCE) if self.source is None else asdict(self.source)
        own = {name: getattr(self, name) for name in ROW if name not in source}
        own["note"] = self.note[:LONGEST_NOTE]
        return {**own, "file_sha256": self.file_sha256 or None, **source}
