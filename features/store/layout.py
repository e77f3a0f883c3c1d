"""The format of a feature store on disk, version 2: a directory that many jobs fill without talking to each other.

    store.json                            format version, how videos are cut, what made each stream (manifest.py)
    parts/<shard>.parquet                 the rows of one shard, columns as below
    <stream>/<shard>.safetensors          {clip_id: (T, D) float16}; a clip that misses the stream has no entry
    <stream>/<shard>.times.safetensors    {clip_id: (T,) float32} seconds, the middle of what each row tells of
    checksums/<shard>.sha256              SHA-256 of all these files of the shard, as sha256sum writes it
    writers/<writer>.lock                 held while its job lives
    imports/<writer>-import.json          which files imported streams came from; these have no times

pandas, safetensors and, in the store's folder, `sha256sum -c --quiet checksums/*` open all of it without us.

**Commit.** A shard exists if and only if its checksums do. Its files are written aside, synced and renamed one by
one: streams, part, and the checksums last. So a file that they list was there, complete: where it is gone or
differs, it is damaged; a file that no checksums list belongs to a job that lives or was killed. With the part last
these two could not be told apart. Files never change once they are listed, only the list does: a stream that is
damaged or overwritten leaves it before its files are deleted, and a merge adds lines to it. Reading is
memory-mapped and compares no checksums; `mee store verify` does.

A shard is called <writer>-<number>, a writer <host>-<process>-<random>. A file being written is called
.<its name>.<process>.

**Columns of a part**

    clip_id video start_s end_s         the clip; times in seconds
    verdict note reader                 how reading went
    clips_of_video                      how many clips its file gives
    file_bytes file_sha256              the file: size, and SHA-256 of its content
    file_seconds width height fps       its playing time, upright picture in square pixels, pictures a second
    video_codec audio_codec audio_rate  as ffmpeg calls them; samples a second
    written_at                          seconds since 1970
    <stream>                            present, missing, or null where it is not extracted yet

Columns of the file are null where they do not apply, or where an import cannot know them. Its key-value metadata
`streams` holds {stream: version}: a stream's column counts where store.json lists this version, and `present`
where the checksums list the stream's file.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Self, final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from features.media import SourceFacts

PRESENT, MISSING = "present", "missing"  # what a row says of a stream; null: not extracted yet
Float16Stream = NDArray[np.float16]  # (T, D)
Times = NDArray[np.float32]  # (T,) seconds on the clip's video

SOURCE = tuple(each.name for each in fields(SourceFacts))
COLUMN_TYPES = {"float": pa.float64(), "int": pa.int32(), "str": pa.string()}
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
        *((each.name, COLUMN_TYPES[str(each.type).removesuffix(" | None")]) for each in fields(SourceFacts)),
        ("written_at", pa.float64()),
    ]
)
ROW = tuple(name for name in SCHEMA.names if name != "written_at")
PARTS, CHECKSUMS, WRITERS, IMPORTS = "parts", "checksums", "writers", "imports"  # folders that are not streams
RESERVED = frozenset((PARTS, CHECKSUMS, WRITERS, IMPORTS, "shard", *SCHEMA.names))  # no stream may be called so
ROWS, TIMES, PART, SUMS = ".safetensors", ".times.safetensors", ".parquet", ".sha256"


def rows_name(stream: str, shard: str) -> str:
    """The file of a stream's rows, as seen from the store."""
    return f"{stream}/{shard}{ROWS}"


def times_name(stream: str, shard: str) -> str:
    """The file of their times, as seen from the store."""
    return f"{stream}/{shard}{TIMES}"


def part_name(shard: str) -> str:
    """The file of a shard's rows, as seen from the store."""
    return f"{PARTS}/{shard}{PART}"


def sums_path(directory: Path, shard: str) -> Path:
    """The checksums of a shard; as long as they are not there, the shard does not exist."""
    return directory / CHECKSUMS / f"{shard}{SUMS}"


def shard_names(directory: Path) -> list[str]:
    """All shards that exist, sorted."""
    return sorted(p.name.removesuffix(SUMS) for p in (directory / CHECKSUMS).glob("[!.]*" + SUMS))


def shard_of(path: Path) -> str:
    """The shard that a file belongs to; the file's name where it is none of a shard."""
    return path.name.removesuffix(TIMES).removesuffix(ROWS).removesuffix(PART).removesuffix(SUMS)


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
