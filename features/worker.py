"""What a worker process does: one file -> the records of its clips.

It runs in a child process with limits, because decoders meet files from anywhere: whatever a file does to it,
the job loses that file only.
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np

from features.clip import Clip
from features.cutting import Cutting
from features.errors import MediaError
from features.extractor import Extractor
from features.one_thread import use_one_thread
from features.reader import open_reader
from features.record import ClipRecord, Float16Stream
from features.registry import make_extractor

PR_SET_PDEATHSIG = 1  # of Linux's prctl: signal this process when its parent dies


@dataclass(frozen=True)
class FileTask:
    """One file, and what is wanted of it."""

    path: Path
    video: str
    streams: tuple[str, ...]
    reader: str
    clip_seconds: float | None


def start_worker(reader: str, memory_gb: float, parent: int) -> None:
    """Set a fresh worker process up: limits, one thread, an end with its parent."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)
    if reader == "decord":
        from features.decord_reader import import_decord

        import_decord()  # before OpenCV
    use_one_thread()
    if sys.platform == "linux":  # last: a worker that cannot even start would end the job
        limit, hard = int(memory_gb * 2**30), resource.getrlimit(resource.RLIMIT_AS)[1]
        limit = limit if hard == resource.RLIM_INFINITY else min(limit, hard)
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def extract_file(task: FileTask) -> list[ClipRecord]:
    """Decode one file once, and run every extractor over its clips.

    Raises:
        MediaError: the file cannot be read, or an extractor cannot work on it.
    """
    extractors = [_extractor(stream) for stream in task.streams]
    needs = tuple(dict.fromkeys(need for extractor in extractors for need in extractor.needs))
    clips = open_reader(task.reader, task.path).read(
        task.path, task.video, needs, Cutting(clip_seconds=task.clip_seconds)
    )
    size = task.path.stat().st_size
    records = [_record(clip, task.streams, extractors, size) for clip in clips]
    if not records:
        raise MediaError("it holds neither pictures nor sound")
    return [replace(record, clips_of_video=len(records)) for record in records]


@cache
def _extractor(stream: str) -> Extractor:
    return make_extractor(stream)


def _record(clip: Clip, streams: Sequence[str], extractors: Sequence[Extractor], file_bytes: int) -> ClipRecord:
    rows = {stream: _stream(stream, extractor, clip) for stream, extractor in zip(streams, extractors)}
    span = clip.span
    return ClipRecord(
        clip_id=span.clip_id,
        video=span.video,
        start_s=span.start_s,
        end_s=span.end_s,
        verdict=clip.verdict,
        note=clip.note,
        reader=clip.reader,
        clips_of_video=1,
        file_bytes=file_bytes,
        streams=rows,
    )


def _stream(stream: str, extractor: Extractor, clip: Clip) -> Float16Stream | None:
    """One stream as it is stored, checked against what its extractor promises."""
    (made,) = extractor.extract([clip])
    if made is None:
        return None
    with np.errstate(over="ignore"):
        stored = made.rows.astype(np.float16)
    if stored.ndim != 2 or stored.shape[1] != extractor.dim or len(stored) == 0 or not np.isfinite(stored).all():
        raise MediaError(
            f"its {stream} extractor gave no (T, {extractor.dim}) finite numbers at {clip.span.clip_id}"
        )
    return stored
