"""Part: the rows of one shard, and what its other files must be.

    parts/<shard>.parquet    columns of features.store.part.SCHEMA, and one of each stream: present, missing,
    nothing key-value metadata       streams    {stream: key of the manifest's entry that made it}
                             files      {<stream>/<shard>.safetensors: {"size": bytes, "sha256": ...}}
                             code       version of mee that wrote it
                             sha256     of this very file, with these 64 digits all put to 0

So whoever writes a shard says, without talking to anybody, what all of it must be, and one flipped bit shows.
Parts without files and sha256 are of an earlier version, and are read all the same.

ClipRecord: what a store is told of one clip, and its columns on disk.

    clip_id video start_s end_s         the clip; times in seconds
    verdict note reader                 how reading went
    clips_of_video                      how many clips its file gives
    file_bytes file_sha256              the file: size, and SHA-256 of its content
    file_seconds width height fps       its playing time, upright picture in square pixels, pictures a second
    video_codec audio_codec audio_rate  as ffmpeg calls them; samples a second
    written_at                          seconds since 1970
    <stream>                            present, missing, or nothing where it is not extracted yet

Of the file's columns those are empty that do not apply, that an import cannot know, and that a store written
before they were there does not have.

Where the files of a store lie.

    store.json
    parts/<shard>.parquet
    <stream>/<shard>.safetensors
    <stream>/<shard>.times.safetensors
    writers/<writer>.lock
    imports/<writer>-import.json

A shard is called after its writer: <host>-<process>-<random>-<number>. A file being written is called
.<its name>.<process> until it is whole.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, NamedTuple, Self, final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from features.errors import InputError
from features.media.clip import SourceFacts

NO_DIGEST = "0" * 64
UNREADABLE = (pa.ArrowException, OSError, UnicodeDecodeError)  # the last: of a column's name


class FileFacts(NamedTuple):
    """What one file of a shard must be."""

    size: int  # bytes
    sha256: str

    @classmethod
    def of(cls, content: bytes) -> FileFacts:
        """Of a file with this content."""
        return cls(len(content), hashlib.sha256(content).hexdigest())


@final
@dataclass(frozen=True)
class Part:
    """The content of a part."""

    table: pa.Table
    keys: Mapping[str, str]  # for each stream that it tells of, the key of the manifest's entry
    files: Mapping[str, FileFacts] | None = None  # by name as seen from the store; None: it does not say
    code: str = field(default="", compare=False)

    def encode(self) -> bytes:
        """The file."""
        files = {name: facts._asdict() for name, facts in (self.files or {}).items()}
        told: dict[str, str] = {"streams": json.dumps(self.keys)}
        if self.files is not None:
            told["files"] = json.dumps(files)
        content = io.BytesIO()
        schema = self.table.schema.remove_metadata()
        # a stored schema would repeat the metadata
        with pq.ParquetWriter(content, schema, store_schema=False) as writer:
            writer.write_table(self.table.replace_schema_metadata())
            writer.add_key_value_metadata({**told, "code": self.code, "sha256": NO_DIGEST})
        return _sealed(content.getvalue())


def made_by(path: Path) -> dict[str, str]:
    """For each stream that the rows of a part tell of, the key of the manifest's entry it belongs to.

    Raises:
        InputError: the file is damaged.
    """
    return _keys(path, _metadata(_read(path, pq.read_schema)))


def read_part(path: Path) -> Part:
    """The rows of a part and what it says of its shard.

    Raises:
        InputError: the file is damaged.
    """
    table = _read(path, lambda path: pq.ParquetFile(path).read())
    told = _metadata(table.schema)
    keys = _keys(path, told)
    try:
        stated = json.loads(told["files"]) if "files" in told else None
        files = None if stated is None else {name: FileFacts(**facts) for name, facts in stated.items()}
    except (TypeError, ValueError, AttributeError) as error:
        raise _damaged(path, "it does not say what its shard is made of") from error
    return Part(table.replace_schema_metadata(), keys, files, told.get("code", ""))


def is_intact(content: bytes) -> bool | None:
    """Whether the file of a part is, bit by bit, what was written; None where it does not say what that was."""
    try:
        told = pq.read_schema(io.BytesIO(content)).metadata or {}
    except UNREADABLE:
        return False
    digest = told.get(b"sha256")
    if digest is None:  # one of an earlier version tells of streams and nothing else; others have lost their seal
        return None if b"streams" in told and b"files" not in told else False
    place = content.rfind(digest)
    blank = content[:place] + NO_DIGEST.encode() + content[place + len(NO_DIGEST) :]
    return len(digest) == len(NO_DIGEST) and hashlib.sha256(blank).hexdigest().encode() == digest


def _sealed(content: bytes) -> bytes:
    place = content.rfind(NO_DIGEST.encode())  # the last of the metadata, which stands at the end
    digest = hashlib.sha256(content).hexdigest().encode()
    return content[:place] + digest + content[place + len(digest) :]


def _metadata(schema: pa.Schema) -> dict[str, str]:
    return {
        key.decode(errors="replace"): value.decode(errors="replace")
        for key, value in (schema.metadata or {}).items()
    }


def _keys(path: Path, told: Mapping[str, str]) -> dict[str, str]:
    try:
        keys: dict[str, str] = json.loads(told["streams"])
    except (KeyError, ValueError) as error:
        raise _damaged(path, "it does not say which extractors made it") from error
    if not isinstance(keys, dict):
        raise _damaged(path, "it does not say which extractors made it")
    return keys


def _read(path: Path, read: Callable[[Path], Any]) -> Any:
    try:
        return read(path)
    except UNREADABLE as error:
        raise _damaged(path, str(error)) from error


def _damaged(path: Path, reason: str) -> InputError:
    return InputError(
        f"{path} is damaged ({' '.join(reason.split())}). Delete it and run mee precompute again: the videos it "
        "told of are extracted anew"
    )


PRESENT, MISSING = "present", "missing"  # what a row says of a stream; nothing: not extracted yet
Float16Stream = NDArray[np.float16]  # (T, D)
Times = NDArray[np.float32]  # (T,) seconds on the clip's video


@final
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
    source: SourceFacts | None = None  # None where it is not known
    streams: Mapping[str, Float16Stream | None] = field(default_factory=dict)  # None: missing
    times: Mapping[str, Times] = field(default_factory=dict)  # of the rows of streams; imports have none
    written_at: float | None = None  # seconds since 1970; None: now

    @classmethod
    def of_row(cls, clip_id: str, row: Mapping[str, Any], streams: Mapping[str, Float16Stream | None]) -> Self:
        """A record that repeats a row of the store, but for its streams.

        Args:
            clip_id: of the row.
            row: the columns of ROW without clip_id; None where nothing is known.
            streams: of the new record.
        """
        known = {name: value for name, value in row.items() if value is not None}
        source = {name: known.pop(name) for name in SOURCE if name in known}
        facts = SourceFacts(**source) if "file_seconds" in source else None
        return cls(clip_id=clip_id, streams=streams, source=facts, **known)

    def columns(self) -> dict[str, Any]:
        """The values of ROW, by column."""
        source = dict.fromkeys(SOURCE) if self.source is None else asdict(self.source)
        own = {name: getattr(self, name) for name in ROW if name not in source}
        return {**own, "file_sha256": self.file_sha256 or None, **source}


SOURCE = tuple(each.name for each in fields(SourceFacts))
SCHEMA = pa.schema(
    [
        ("clip_id", pa.string()),
        ("video", pa.string()),
        ("start_s", pa.float64()),
        ("end_s", pa.float64()),
        ("verdict", pa.string()),
        ("note", pa.string()),
        ("reader", pa.string()),
        ("clips_of_video", pa.int32()),
        ("file_bytes", pa.int64()),
        ("file_sha256", pa.string()),
        ("file_seconds", pa.float64()),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("fps", pa.float64()),
        ("video_codec", pa.string()),
        ("audio_codec", pa.string()),
        ("audio_rate", pa.int32()),
        ("written_at", pa.float64()),  # seconds since 1970
    ]
)
ROW = tuple(name for name in SCHEMA.names if name != "written_at")
PARTS, WRITERS, IMPORTS = "parts", "writers", "imports"  # folders that are not streams
RESERVED = frozenset((PARTS, WRITERS, IMPORTS, "shard", *SCHEMA.names))  # no stream may bear these names


ROWS, TIMES, PART = ".safetensors", ".times.safetensors", ".parquet"


def part_path(directory: Path, shard: str) -> Path:
    """The rows of a shard; as long as it is not there, the shard does not exist."""
    return directory / PARTS / f"{shard}{PART}"


def part_paths(directory: Path) -> list[Path]:
    """The parts of all shards that exist, in order of their names."""
    return sorted(path for path in (directory / PARTS).glob("*" + PART) if not path.name.startswith("."))


def rows_name(stream: str, shard: str) -> str:
    """The file of a stream's rows, as seen from the store."""
    return f"{stream}/{shard}{ROWS}"


def times_name(stream: str, shard: str) -> str:
    """The file of their times, as seen from the store."""
    return f"{stream}/{shard}{TIMES}"


def shard_of(path: Path) -> str:
    """The shard that a stream's file, or a part, belongs to."""
    return path.name.removesuffix(TIMES).removesuffix(ROWS).removesuffix(PART)


def stream_files(directory: Path, stream: str, prefix: str = "") -> Iterator[Path]:
    """A stream's files of the shards whose names begin so."""
    for path in (directory / stream).glob("*" + ROWS):
        if path.name.startswith(prefix) and not path.name.startswith("."):
            yield path
