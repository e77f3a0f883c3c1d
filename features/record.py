"""ClipRecord: what a store is told of one clip, and its columns on disk.

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
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Self, final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from features.source_facts import SourceFacts

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
