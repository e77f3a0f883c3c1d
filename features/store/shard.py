"""One shard's part and checksums: read, commit, and take streams out again. The format is in layout.py."""

from __future__ import annotations

import hashlib
import io
import json
import re
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import final

import pyarrow as pa
import pyarrow.parquet as pq

from features.errors import InputError
from features.store.atomic_files import write_whole
from features.store.layout import PARTS, part_name, rows_name, sums_path, times_name
from features.store.manifest import store_lock

Sums = dict[str, str]  # SHA-256 in hexadecimal by file, as seen from the store
NEEDED = ("clip_id", "video", "verdict", "written_at")  # without which no row can be read
_LINE = re.compile(r"([0-9a-f]{64})  (\S.*)")


@final
@dataclass(frozen=True)
class Part:
    """The content of a part."""

    table: pa.Table
    versions: Mapping[str, str]  # of each stream that it tells of, as in the manifest

    def encode(self) -> bytes:
        """The file."""
        content = io.BytesIO()
        table = self.table.replace_schema_metadata({"streams": json.dumps(dict(self.versions))})
        pq.write_table(table, content)
        return content.getvalue()


def read_part(directory: Path, shard: str) -> Part:
    """The rows of a shard; an InputError where they are damaged."""
    with _part(directory, shard) as path:
        table = pq.ParquetFile(path).read()
        return Part(table.replace_schema_metadata(), _versions(table.schema))


def stream_versions(directory: Path, shard: str) -> Mapping[str, str]:
    """The versions of a part, without its rows."""
    with _part(directory, shard) as path:
        return _versions(pq.read_schema(path))


def _versions(schema: pa.Schema) -> dict[str, str]:
    versions: dict[str, str] = json.loads((schema.metadata or {}).get(b"streams", b"null"))
    if not isinstance(versions, dict):
        raise ValueError("it does not say which versions of streams it tells of")
    if lacking := [name for name in (*NEEDED, *versions) if name not in schema.names]:
        raise ValueError(f"it has no column '{lacking[0]}'")
    return versions


@contextmanager
def _part(directory: Path, shard: str) -> Iterator[Path]:
    path = directory / part_name(shard)
    try:
        yield path
    except (pa.ArrowException, OSError, ValueError) as error:  # the last also of a column's name that is no text
        raise _damaged(directory, path, str(error)) from error


def read_sums(directory: Path, shard: str) -> Sums:
    """The checksums of a shard; an InputError where they are damaged."""
    path = sums_path(directory, shard)
    try:
        text = path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise _damaged(directory, path, str(error)) from error
    lines = [_LINE.fullmatch(line) for line in text.split("\n")[:-1]]
    sums = {line[2]: line[1] for line in lines if line is not None}
    known = all(name in _names(name.partition("/")[0], shard) for name in sums)
    if len(sums) < len(lines) or not text.endswith("\n") or not known or part_name(shard) not in sums:
        raise _damaged(directory, path, "it is no list of the checksums of a shard")
    return sums


def _names(folder: str, shard: str) -> tuple[str, ...]:
    """What the files of a shard in a folder of the store may be called: a list from outside names no others."""
    if folder.startswith("."):
        return ()
    return (part_name(shard),) if folder == PARTS else (rows_name(folder, shard), times_name(folder, shard))


def write_sums(directory: Path, shard: str, sums: Mapping[str, str]) -> None:
    """Commit a shard whose files are in place; the part's line comes last, so that a cut is noticed."""
    part = part_name(shard)
    ordered = [*sorted(sums.keys() - {part}), part]
    write_whole(sums_path(directory, shard), "".join(f"{sums[name]}  {name}\n" for name in ordered).encode())


def write_summed(directory: Path, name: str, content: bytes) -> str:
    """Write a file of a shard; returns its checksum."""
    write_whole(directory / name, content)
    return hashlib.sha256(content).hexdigest()


def drop_streams(directory: Path, shard: str, streams: Collection[str]) -> None:
    """Take streams out of a shard: first it no longer lists their files, then these go."""
    gone = {name(stream, shard) for stream in streams for name in (rows_name, times_name)}
    with store_lock(directory):  # a merge may be adding to the list
        sums = read_sums(directory, shard)
        if gone & sums.keys():
            write_sums(directory, shard, {name: digest for name, digest in sums.items() if name not in gone})
    for name in gone:
        (directory / name).unlink(missing_ok=True)


def drop_shard(directory: Path, shard: str, streams: Collection[str]) -> None:
    """Take a shard out of a store: first it no longer exists, then its files go."""
    sums_path(directory, shard).unlink(missing_ok=True)
    (directory / part_name(shard)).unlink(missing_ok=True)
    for stream in streams:
        for name in (rows_name, times_name):
            (directory / name(stream, shard)).unlink(missing_ok=True)


def _damaged(directory: Path, path: Path, reason: str) -> InputError:
    return InputError(
        f"{path} is damaged ({' '.join(reason.split())}). Take it out with mee store verify {directory} --mend, "
        "and run mee precompute again: the videos it told of are extracted anew"
    )
