"""ClipRecord: what a store is told of one clip, and its columns on disk."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from features.errors import InputError

PRESENT, MISSING = "present", "missing"  # what a row says of a stream; nothing: not extracted yet
Float16Stream = NDArray[np.float16]  # (T, D)


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
    streams: Mapping[str, Float16Stream | None] = field(default_factory=dict)  # None: missing


ROW = ("clip_id", "video", "start_s", "end_s", "verdict", "note", "reader", "clips_of_video", "file_bytes")
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
        ("written_at", pa.float64()),  # seconds since 1970
    ]
)


def made_by(part: Path) -> dict[str, str]:
    """For each stream that the rows of a part tell of, the key of the manifest's entry it belongs to.

    Raises:
        InputError: the file is damaged.
    """
    return _made_by(part, _read(part, pq.read_schema))


def read_part(part: Path) -> tuple[pa.Table, dict[str, str]]:
    """The rows of a part, and its `made_by`.

    Raises:
        InputError: the file is damaged.
    """
    table = _read(part, pq.read_table)
    return table, _made_by(part, table.schema)


def _read(part: Path, read: Callable[[Path], Any]) -> Any:
    try:
        return read(part)
    except (pa.ArrowException, OSError) as error:
        raise _damaged(part, str(error)) from error


def _made_by(part: Path, schema: pa.Schema) -> dict[str, str]:
    try:
        keys: dict[str, str] = json.loads(schema.metadata[b"streams"])
    except (TypeError, KeyError, ValueError) as error:
        raise _damaged(part, "it does not say which extractors made it") from error
    return keys


def _damaged(part: Path, reason: str) -> InputError:
    return InputError(
        f"{part} is damaged ({' '.join(reason.split())}). Delete it and run mee precompute again: the videos it "
        "told of are extracted anew"
    )
