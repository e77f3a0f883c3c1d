"""ClipRecord: what a store is told of one clip, and its columns on disk."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

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
