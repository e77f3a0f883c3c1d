"""What a store holds, stream by stream, in a few numbers: for people who look at one."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, final

from features.store.feature_store import FeatureStore
from features.store.manifest import StreamEntry
from features.store.part import ROWS, TIMES, stream_files
from features.store.rows import are_failures


@final
@dataclass(frozen=True, kw_only=True)
class StreamSummary:
    """One stream of a store."""

    stream: str
    extractor: str
    version: int  # of the extractor's code
    model: str | None
    revision: str | None
    size: int  # D
    sampling: list[str]  # what is read of a file for it: "frames 1/s 224 px", "sound 16000 Hz"
    parameters: Mapping[str, Any]  # beyond the sampling
    fingerprint: str
    begun: int  # how often: 1, and one more for each --overwrite
    code: Mapping[str, str]  # versions by package, when it was begun
    present: int  # clips
    missing: int
    unknown: int  # clips of which it is not extracted yet
    rows: int  # (T, D) rows that lie there, all shards
    bytes: int  # of all its files
    files: int
    timed: bool  # whether all its files have times beside them

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def summarise(store: FeatureStore) -> list[StreamSummary]:
    """Count what is there; of each file of rows, the header is read."""
    usable = store.rows[~are_failures(store.rows)]
    summaries = []
    for stream, entry in store.manifest.streams.items():
        states = usable[stream].value_counts()
        present, missing = int(states.get("present", 0)), int(states.get("missing", 0))
        rows, size, files, timed = _on_disk(store.directory, stream, int(entry.fingerprint["dim"]))
        made_by = entry.fingerprint
        summaries.append(
            StreamSummary(
                stream=stream,
                extractor=made_by["extractor"],
                version=made_by["version"],
                model=made_by.get("model"),
                revision=made_by.get("revision"),
                size=made_by["dim"],
                sampling=_sampling(entry),
                parameters={key: value for key, value in _parameters(entry).items() if key != "needs"},
                fingerprint=entry.digest,
                begun=entry.generation,
                code=entry.code,
                present=present,
                missing=missing,
                unknown=len(usable) - present - missing,
                rows=rows,
                bytes=size,
                files=files,
                timed=timed,
            )
        )
    return summaries


def _parameters(entry: StreamEntry) -> Mapping[str, Any]:
    parameters = entry.fingerprint.get("parameters")
    return parameters if isinstance(parameters, Mapping) else {}


def _sampling(entry: StreamEntry) -> list[str]:
    """The needs of an extractor, in words."""
    words = []
    for need in _parameters(entry).get("needs", ()):
        for kind, what in need.items():
            if kind == "FrameNeed":
                window = f", windows of {what['window']} every {what['stride']}" if what["window"] > 1 else ""
                words.append(f"frames {what['fps']:g}/s {what['size']} px{window}")
            elif kind == "SoundNeed":
                words.append(f"sound {what['rate']} Hz")
            else:
                words.append(f"{kind} " + " ".join(f"{key}={value}" for key, value in what.items()))
    return words


def _on_disk(directory: Path, stream: str, dim: int) -> tuple[int, int, int, bool]:
    """Rows, bytes and files of a stream, and whether all have times."""
    rows = size = 0
    held: set[str] = set()
    timed: set[str] = set()
    for path in stream_files(directory, stream):
        length = path.stat().st_size
        size += length
        if path.name.endswith(TIMES):
            timed.add(path.name.removesuffix(TIMES))
            continue
        held.add(path.name.removesuffix(ROWS))
        with path.open("rb") as file:
            head = file.read(8)
        if len(head) == 8:  # else damaged: verify tells
            rows += max(0, length - 8 - struct.unpack("<Q", head)[0]) // (2 * dim)
    return rows, size, len(held) + len(timed), bool(held) and held <= timed
