"""What a worker process does with one file: decode it once, clip by clip, and run the extractors that live here.

    FileTask  ->  ClipPart, ClipPart, ..., FileEnd        or, at any point,  FileFailure

Shared extractors are made here only for their needs: a part takes along what they want of the clip, and the main
process, which holds the models, completes its record. It all runs in a child process with limits, because decoders
meet files from anywhere: whatever a file does to it, the job loses that file only.
"""

from __future__ import annotations

import hashlib
import traceback
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import final

from features.errors import MediaError
from features.extractors import Extractor, ExtractorSpec, make_extractor
from features.job.config import PrecomputeConfig
from features.job.process import WornOut, came_near, in_a_line, is_memory_error, limit_memory, use_one_thread
from features.media import DEGRADED, Clip, Cutting, Need, open_reader, size_of
from features.store import ClipRecord, checked


@final
@dataclass(frozen=True, slots=True)
class FileTask:
    """One file, and what is wanted of it."""

    root: Path  # the library's folder
    video: str  # path below it, with forward slashes
    streams: tuple[str, ...]
    attempt: int = 1

    @property
    def path(self) -> Path:
        """Of the file."""
        return self.root / self.video


@final
@dataclass(frozen=True, eq=False)
class ClipPart:
    """One clip: its record with the streams that are done, and what the other streams need of it."""

    record: ClipRecord
    clip: Clip | None = None  # restricted to the needs of shared extractors; None where no such stream is wanted


@final
@dataclass(frozen=True)
class FileEnd:
    """All clips of a file have been told of."""

    clips: int
    sha256: str  # of the file, hexadecimal


@final
@dataclass(frozen=True)
class FileFailure:
    """A file that gives no clips; those told of already do not count."""

    reason: str
    trace: str = ""  # of an extractor's or decoder's own mistake


@final
@dataclass(frozen=True)
class WorkerSetup:
    """All that a worker process is told of its job; called there, it makes what is done with each file."""

    specs: tuple[ExtractorSpec, ...]
    config: PrecomputeConfig

    def __call__(self) -> FileWorker:
        """Set this process up: one thread, everything loaded, and then the limit of memory."""
        if self.config.reader == "decord":
            from features.media import import_decord

            import_decord()
        use_one_thread()
        worker = FileWorker(self)
        for path in (Path("a.mp4"), Path("a.png")):
            open_reader(self.config.reader, path)
        limit_memory(self.config.memory)
        return worker


@final
class FileWorker:
    """Holds the extractors of a job; called with a file, it makes the messages about it."""

    def __init__(self, setup: WorkerSetup) -> None:
        self._config = setup.config
        self._extractors = {spec.stream: make_extractor(spec, setup.config.run) for spec in setup.specs}

    def __call__(self, task: FileTask) -> Iterator[ClipPart | FileEnd | FileFailure]:
        """As `messages`, with what goes wrong as the last of them."""
        damaged = False
        try:
            for message in self.messages(task):
                damaged |= isinstance(message, ClipPart) and message.record.verdict == DEGRADED
                if damaged and came_near():
                    raise MemoryError
                yield message
                del message  # or a clip would stay in memory while the next is decoded
        except Exception as error:
            if is_memory_error(error) or (isinstance(error, MediaError) and came_near()):
                raise MemoryError from error
            if isinstance(error, MediaError):
                yield FileFailure(str(error))
            elif isinstance(error, OSError):
                yield FileFailure(f"it cannot be read: {error.strerror or error}")
            else:
                yield FileFailure(in_a_line(error), "".join(traceback.format_exception(error)))
        if came_near():
            raise WornOut

    def messages(self, task: FileTask) -> Iterator[ClipPart | FileEnd]:
        """Decode one file once, and run every extractor that lives here over its clips."""
        config, extractors = self._config, {stream: self._extractors[stream] for stream in task.streams}
        needs = tuple(dict.fromkeys(need for extractor in extractors.values() for need in extractor.needs))
        elsewhere = {need for extractor in extractors.values() if extractor.shared for need in extractor.needs}
        size = size_of(task.path) or 0  # before: a file that grows is to be noticed
        clips = open_reader(config.reader, task.path).read(
            task.path, task.video, needs, Cutting(clip_seconds=config.clip_seconds), config.limits
        )
        count = 0
        for clip in clips:
            count += 1
            yield ClipPart(_record(clip, extractors, size), _restricted(clip, elsewhere) if elsewhere else None)
        if not count:
            raise MediaError("it holds neither pictures nor sound")
        with task.path.open("rb") as file:  # after decoding: the file is in the page cache
            yield FileEnd(count, hashlib.file_digest(file, "sha256").hexdigest())


def _record(clip: Clip, extractors: Mapping[str, Extractor], file_bytes: int) -> ClipRecord:
    """A clip's record with the streams of the extractors that live here."""
    here = {stream: extractor for stream, extractor in extractors.items() if not extractor.shared}
    made = {
        stream: checked(stream, extractor, extractor.extract([clip])[0], clip.span.clip_id)
        for stream, extractor in here.items()
    }
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
        streams={stream: None if kept is None else kept.rows for stream, kept in made.items()},
        times={stream: kept.times for stream, kept in made.items() if kept is not None},
        source=clip.source,
    )


def _restricted(clip: Clip, needs: Collection[Need]) -> Clip:
    """A clip with what some needs asked for."""
    frames = {need: frames for need, frames in clip.frames.items() if need in needs}
    sound = {need: wave for need, wave in clip.sound.items() if need in needs}
    return replace(clip, frames=frames, sound=sound)
