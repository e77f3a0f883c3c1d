"""One shard's part and checksums: read, commit, and remove streams. The format is in layout.py."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from features.errors import InputError
from features.files import write_whole
from features.store.layout import PARTS, part_name, stream_names, sums_path
from features.store.manifest import store_lock

Sums = dict[str, str]  # SHA-256 in hexadecimal, by file relative to the store
NEEDED = ("clip_id", "video", "verdict", "written_at")  # columns without which no row can be read
_LINE = re.compile(r"([0-9a-f]{64})  (\S.*)")


def read_part(directory: Path, shard: str, *, rows: bool = True) -> tuple[pa.Table, dict[str, str]]:
    """Read the part of a shard, without `rows` only its metadata.

    Returns:
        The table, and the version of each of its streams.

    Raises:
        InputError: it is damaged.
    """
    path = directory / part_name(shard)
    try:
        with pq.ParquetFile(path) as file:
            table = file.read() if rows else file.schema_arrow.empty_table()
        versions = json.loads((table.schema.metadata or {}).get(b"streams", b"null"))
        if not isinstance(versions, dict):
            raise ValueError("it does not list the versions of its streams")
        if lacking := [name for name in (*NEEDED, *versions) if name not in table.column_names]:
            raise ValueError(f"it has no column '{lacking[0]}'")
    except (pa.ArrowException, OSError, ValueError) as error:  # the last also where a column's name is not UTF-8
        raise _damaged(directory, path, str(error)) from error
    return table, versions


def read_sums(directory: Path, shard: str) -> Sums:
    """Read the checksums of a shard; they name no files but those of this shard, all inside the store.

    Raises:
        InputError: they are damaged.
    """
    path = sums_path(directory, shard)
    try:
        text = path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise _damaged(directory, path, str(error)) from error
    lines = [_LINE.fullmatch(line) for line in text.split("\n")[:-1]]
    sums = {line[2]: line[1] for line in lines if line is not None}
    part = part_name(shard)
    streams = {name.partition("/")[0] for name in sums.keys() - {part}}
    known = {name for stream in streams for name in stream_names(stream, shard)}
    foreign = (
        any(stream.startswith(".") or stream in ("", PARTS) for stream in streams) or sums.keys() - {part} - known
    )
    if foreign or len(sums) < len(lines) or not text.endswith("\n") or part not in sums:
        raise _damaged(directory, path, "it is not a list of a shard's checksums")
    return sums


def write_sums(directory: Path, shard: str, sums: Mapping[str, str]) -> None:
    """Commit a shard whose files are in place; the part's line comes last, so that a cut file is noticed."""
    part = part_name(shard)
    ordered = [*sorted(sums.keys() - {part}), part]
    write_whole(sums_path(directory, shard), "".join(f"{sums[name]}  {name}\n" for name in ordered).encode())


def drop_streams(directory: Path, shard: str, streams: Collection[str]) -> None:
    """Remove streams from a shard: first from its checksums, then their files."""
    gone = {name for stream in streams for name in stream_names(stream, shard)}
    with store_lock(directory):  # a merge may be adding to the list
        sums = read_sums(directory, shard)
        if gone & sums.keys():
            write_sums(directory, shard, {name: digest for name, digest in sums.items() if name not in gone})
    for name in gone:
        (directory / name).unlink(missing_ok=True)


def drop_shard(directory: Path, shard: str, streams: Collection[str]) -> None:
    """Remove a shard from a store: first its checksums, then its files."""
    sums_path(directory, shard).unlink(missing_ok=True)
    for name in (part_name(shard), *(name for stream in streams for name in stream_names(stream, shard))):
        (directory / name).unlink(missing_ok=True)


def _damaged(directory: Path, path: Path, reason: str) -> InputError:
    return InputError(
        f"{path} is damaged ({' '.join(reason.split())}). Remove it with mee store verify {directory} --repair, "
        "then run mee precompute again: it extracts the videos of this shard again"
    )
