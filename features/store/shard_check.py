"""Whether a shard is what was written: its part, and every file that the part tells of.

the part                   its seal; that store.json has an entry for each of its streams
<stream>/...safetensors    there, of the size and SHA-256 that the part says; a finite (T, D) float16, T at least
                           1, for each clip that is present, and for no other
...times.safetensors       the same; a finite (T,) float32 for clips of these
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, final

import numpy as np
import pyarrow as pa
from safetensors import SafetensorError, safe_open

from features.errors import InputError
from features.store.manifest import NAME, StreamEntry
from features.store.part import (
    PRESENT,
    SCHEMA,
    FileFacts,
    Part,
    is_intact,
    part_path,
    read_part,
    rows_name,
    times_name,
)

NEEDED = SCHEMA.names[: SCHEMA.names.index("file_bytes") + 1]  # columns that parts of every version have
NOT_FINITE = np.uint16(0x7C00)  # the exponent bits of a float16, all set


@final
@dataclass(frozen=True, kw_only=True)
class Finding:
    """Something about one file of a store that a person should know."""

    name: str  # of the file, as seen from the store
    what: str
    wrong: bool = True  # False: harmless
    shard: str = ""  # that has to be extracted again
    stream: str = ""  # the only one of that shard; empty: all of it
    deletable: bool = False  # nothing is lost with the file


@final
@dataclass
class ShardCheck:
    """What was found of one shard."""

    findings: list[Finding] = field(default_factory=list)
    files: dict[str, int] = field(default_factory=dict)  # that were looked at: bytes by name
    superseded: int = 0  # streams of it that were begun anew since
    sealed: bool = True  # it holds checksums


def check_shard(directory: Path, shard: str, streams: Mapping[str, StreamEntry]) -> ShardCheck:
    """Read all of a shard.

    Args:
        directory: of the store.
        shard: its name.
        streams: the manifest's.
    """
    path, name = part_path(directory, shard), f"parts/{shard}.parquet"
    check = ShardCheck(files={name: path.stat().st_size})
    try:
        intact = is_intact(path.read_bytes())
        part = read_part(path)
        if lacking := [column for column in (*NEEDED, *part.keys) if column not in part.table.schema.names]:
            raise InputError(f"it has no column '{lacking[0]}'")
    except (InputError, pa.ArrowException, OSError) as error:
        reason = " ".join(str(error).split()).removeprefix(f"{path} is ")
        check.findings.append(Finding(name=name, what=f"cannot be read: {reason}", shard=shard))
        return check
    check.sealed = intact is not None and part.files is not None
    if intact is False:
        check.findings.append(
            Finding(name=name, what="is not what was written: its checksum differs", shard=shard)
        )
        return check
    for stream, key in part.keys.items():
        wrong = _wrong_entry(stream, key, streams.get(stream))
        if wrong:
            check.findings.append(Finding(name=name, what=wrong))
        elif key != streams[stream].key:
            check.superseded += 1
        else:
            dim = int(streams[stream].fingerprint["dim"])
            for file, what in _stream(directory, shard, stream, part, dim, check):
                check.findings.append(Finding(name=file, what=what, shard=shard, stream=stream))
    return check


def _wrong_entry(stream: str, key: str, entry: StreamEntry | None) -> str:
    """What is wrong with where a part says that a stream belongs; empty: nothing."""
    if entry is None:
        return f"tells of a stream '{stream}' that {NAME} has no entry for"
    generation = key.rpartition("-")[2]
    if not generation.isdecimal() or int(generation) > entry.generation:
        return f"tells of a '{stream}' that is newer ({key}) than that of {NAME} ({entry.key})"
    return ""


def _stream(
    directory: Path, shard: str, stream: str, part: Part, dim: int, check: ShardCheck
) -> Iterator[tuple[str, str]]:
    """For one stream of a part, files with what is wrong with each."""
    states = part.table.select(["clip_id", stream]).to_pydict()
    present = {clip_id for clip_id, state in zip(states["clip_id"], states[stream]) if state == PRESENT}
    files = part.files or {}
    rows_file, times_file = rows_name(stream, shard), times_name(stream, shard)
    lengths: dict[str, int] = {}
    wrong = ""
    if present and part.files is not None and rows_file not in files:
        wrong = "has no checksum in its part"
    elif present or rows_file in files:
        wrong = _changed(directory / rows_file, files.get(rows_file), rows_file, check)
        wrong = wrong or _look(directory / rows_file, lambda tensors: _wrong_rows(tensors, present, dim, lengths))
    if wrong:
        yield rows_file, wrong
    if times_file in files:
        late = _changed(directory / times_file, files[times_file], times_file, check)
        if not (wrong or late):  # else nobody knows how many there should be
            late = _look(directory / times_file, lambda tensors: _wrong_times(tensors, lengths))
        if late:
            yield times_file, late


def _look(path: Path, judge: Callable[[Any], str]) -> str:
    """What is wrong with the arrays of a file; empty: nothing."""
    try:
        with safe_open(path, framework="numpy") as tensors:
            return judge(tensors)
    except (SafetensorError, OSError, ValueError, TypeError) as error:
        return f"cannot be read: {' '.join(str(error).split())}"


def _changed(path: Path, facts: FileFacts | None, name: str, check: ShardCheck) -> str:
    """How a file differs from what was written; empty: not at all, or nobody knows."""
    try:
        size = path.stat().st_size
        check.files[name] = size
        if facts is None:
            return ""
        if size != facts.size:
            return f"has {size} of {facts.size} bytes"
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError:
        return "is not there"
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    return "" if digest == facts.sha256 else "is not what was written: its checksum differs"


def _wrong_rows(tensors: Any, present: set[str], dim: int, lengths: dict[str, int]) -> str:
    names = set(tensors.keys())
    if lacking := sorted(present - names):
        return f"has no stream of '{lacking[0]}', which its part calls present"
    if surplus := sorted(names - present):
        return f"has a stream of '{surplus[0]}', which its part does not call present"
    for clip_id in sorted(tensors.keys()):
        rows = tensors.get_tensor(clip_id)
        if rows.dtype != np.float16 or rows.ndim != 2 or rows.shape[1] != dim or not len(rows):
            return f"'{clip_id}' is {rows.dtype} {rows.shape}, and the stream is (T, {dim}) float16"
        if ((rows.view(np.uint16) & NOT_FINITE) == NOT_FINITE).any():
            return f"'{clip_id}' holds NaN or infinity"
        lengths[clip_id] = len(rows)
    return ""


def _wrong_times(tensors: Any, lengths: Mapping[str, int]) -> str:
    for clip_id in sorted(tensors.keys()):
        times = tensors.get_tensor(clip_id)
        wanted = (lengths.get(clip_id),)
        if times.dtype != np.float32 or times.shape != wanted:
            return f"'{clip_id}' is {times.dtype} {times.shape}, and its rows want {wanted} float32"
        if not np.isfinite(times).all():
            return f"'{clip_id}' holds NaN or infinity"
    return ""
