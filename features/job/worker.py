"""What a worker process does with one file: decode it once, clip by clip, and run its own extractors.

    FileTask  ->  ClipResult, ClipResult, ..., FileEnd        or, at any point,  FileFailure

Shared extractors are made here only for their needs: a ClipResult carries the frames and sound that they want to
the main process, which holds the models. Decoding runs in a child process with limits, because media files come
from anywhere: whatever a file does to the process, only that file is lost.
"""

from __future__ import annotations

import hashlib
import traceback
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple, final

from features.errors import MediaError
from features.extractors import ExtractorSpec, make_extractor
from features.job.config import PrecomputeConfig
from features.job.process import came_near, limit_memory, reason_of, use_one_thread
from features.job.result import ClipResult, FileTask
from features.media import DEGRADED, FIRST_LOOK, Stamp, load_reader, read_clips, stamp_of
from features.store import checked


class FileEnd(NamedTuple):
    """All clips of a file have been sent."""

    stamp: Stamp
    sha256: str  # of the file, hexadecimal


class FileFailure(NamedTuple):
    """A file that gives no clips; those sent already do not count."""

    reason: str
    trace: str = ""  # of an unexpected error in an extractor or decoder


@dataclass(frozen=True)
class WorkerSetup:
    """What a worker process is started with; called there, it makes what is called with each file."""

    specs: tuple[ExtractorSpec, ...]
    config: PrecomputeConfig
    first_look: bool = False  # one frame a clip is read

    @property
    def reader(self) -> str:
        """Of videos, as of `read_clips`."""
        return FIRST_LOOK if self.first_look else self.config.reader

    def __call__(self) -> FileWorker:
        """Set this process up: one thread, what decoding takes imported, and then the limit of memory."""
        load_reader(self.reader)
        use_one_thread()
        worker = FileWorker(self)
        limit_memory(self.config.memory)
        return worker


@final
class FileWorker:
    """Holds the extractors of a job; called with a file, it yields the messages about it."""

    def __init__(self, setup: WorkerSetup) -> None:
        self._config, self._reader = setup.config, setup.reader
        self._extractors = {spec.stream: make_extractor(spec, setup.config.run) for spec in setup.specs}

    def __call__(self, task: FileTask) -> Iterator[ClipResult | FileEnd | FileFailure]:
        """The messages about one file; raises MemoryError where it needs more memory."""
        try:
            yield from self._messages(task)
        except Exception as error:
            expected = isinstance(error, MediaError | OSError)
            yield FileFailure(reason_of(error), "" if expected else "".join(traceback.format_exception(error)))

    def _messages(self, task: FileTask) -> Iterator[ClipResult | FileEnd]:
        """Decode one file once, and run this worker's extractors over its clips."""
        config, extractors = self._config, {stream: self._extractors[stream] for stream in task.streams}
        needs = [need for extractor in extractors.values() for need in extractor.needs]
        shared = {need for extractor in extractors.values() if extractor.shared for need in extractor.needs}
        stamp = stamp_of(task.path)
        seconds, limits, reader = config.clip_seconds, config.limits, self._reader
        empty, damaged = True, False
        for clip in read_clips(task.path, task.video, needs, clip_seconds=seconds, limits=limits, reader=reader):
            empty, damaged = False, damaged or clip.verdict == DEGRADED
            streams = {
                stream: checked(stream, extractor, extractor.extract([clip])[0], clip.span.clip_id)
                for stream, extractor in extractors.items()
                if not extractor.shared
            }
            frames = {need: frames for need, frames in clip.frames.items() if need in shared}
            sound = {need: wave for need, wave in clip.sound.items() if need in shared}
            yield ClipResult(replace(clip, frames=frames, sound=sound), streams)
        if empty:
            raise MediaError("it holds neither pictures nor sound")
        with task.path.open("rb") as file:  # after decoding: the file is in the page cache
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        if damaged and came_near():
            raise MemoryError
        if stamp is None or stamp != stamp_of(task.path):
            raise MediaError("it changed while it was read; run this again when it is whole")
        yield FileEnd(stamp, sha256)
