"""Shared extractors: clips of all workers gather, and each model runs once over them.

    waiting clips  ->  batch of up to CLIPS clips and BYTES bytes  ->  extract(batch), one call a stream

A batch that raises is tried again clip by clip, so that only the file to blame fails. Memory holds one batch, and
besides it what the workers' pipes hold: at most a clip a worker.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import final

from features.errors import InputError, MediaError
from features.extractors import Extractor, Stream
from features.job.process import in_a_line
from features.job.worker import FileTask
from features.media import Clip
from features.store import CheckedStream, ClipRecord, checked

log = logging.getLogger(__name__)

BYTES = 256 << 20  # of frames and sound in a batch
IN_A_ROW = 10  # files that a model breaks on, one after the other, until the model is to blame


@final
@dataclass(frozen=True, eq=False)
class WaitingClip:
    """A clip that lacks the streams of shared extractors."""

    task: FileTask
    record: ClipRecord
    clip: Clip
    streams: tuple[str, ...]  # that it lacks

    @property
    def nbytes(self) -> int:
        """Of its frames and sound."""
        frames = sum(frames.pixels.nbytes for frames in self.clip.frames.values())
        return frames + sum(wave.nbytes for wave in self.clip.sound.values())


Result = CheckedStream | None | Exception  # what the extractor raised on the clip


@final
class ModelBatches:
    """The clips that wait for the models, and the models."""

    def __init__(self, extractors: Mapping[str, Extractor], clips: int) -> None:
        """Shared extractors by stream, and the most clips of a batch."""
        self._extractors, self._clips = extractors, clips
        self._waiting: list[WaitingClip] = []
        self._broken_on: dict[str, set[FileTask]] = {stream: set() for stream in extractors}

    @property
    def full(self) -> bool:
        """Whether it is time to run: more must not be added."""
        return len(self._waiting) >= self._clips or sum(each.nbytes for each in self._waiting) >= BYTES

    def add(self, waiting: WaitingClip) -> None:
        """Take a clip in."""
        self._waiting.append(waiting)

    def drop(self, task: FileTask) -> None:
        """Forget the clips of a file that has failed meanwhile."""
        self._waiting = [each for each in self._waiting if each.task != task]

    def run(self) -> Iterator[tuple[FileTask, ClipRecord | str]]:
        """Run every model over the clips that wait; for each its complete record, or why it failed."""
        batch, self._waiting = self._waiting, []
        results: list[dict[str, Result]] = [{} for _ in batch]
        for stream, extractor in self._extractors.items():
            places = [place for place, each in enumerate(batch) if stream in each.streams]
            for place, result in zip(places, _extract(stream, extractor, [batch[p].clip for p in places])):
                results[place][stream] = result
                self._judge(stream, batch[place].task, result)
        for each, made in zip(batch, results):
            errors = [result for result in made.values() if isinstance(result, Exception)]
            yield each.task, _reason(errors[0]) if errors else _completed(each.record, made)

    def _judge(self, stream: str, task: FileTask, result: Result) -> None:
        """Tell a model that is broken, a GPU in disorder say, from files that are."""
        broken_on = self._broken_on[stream]
        if not isinstance(result, Exception):
            broken_on.clear()
        elif not isinstance(result, MediaError):
            broken_on.add(task)
        if len(broken_on) >= IN_A_ROW and isinstance(result, Exception):
            raise InputError(
                f"the model of '{stream}' broke on {len(broken_on)} files in a row, so it is hardly their fault; "
                f"the last time: {_reason(result)}"
            )


def _extract(stream: str, extractor: Extractor, clips: Sequence[Clip]) -> list[Result]:
    """One result a clip."""
    if not clips:
        return []
    try:
        made = _made(stream, extractor, clips)
    except Exception as error:
        if isinstance(error, InputError) and not isinstance(error, MediaError):
            raise  # no file is to blame: weights that are not there, an unknown option
        if len(clips) > 1:
            log.info("%s failed on %d clips, which are tried one by one: %s", stream, len(clips), error)
            return [result for clip in clips for result in _extract(stream, extractor, [clip])]
        if not isinstance(error, MediaError):
            log.exception("the extractor of %s failed on %s", stream, clips[0].span.clip_id)
        return [error]
    return [_checked(stream, extractor, one, clip) for one, clip in zip(made, clips)]


def _made(stream: str, extractor: Extractor, clips: Sequence[Clip]) -> list[Stream | None]:
    made = extractor.extract(clips)
    if len(made) != len(clips):
        raise RuntimeError(f"its {stream} extractor gave {len(made)} streams for {len(clips)} clips")
    return made


def _checked(stream: str, extractor: Extractor, made: Stream | None, clip: Clip) -> Result:
    try:
        return checked(stream, extractor, made, clip.span.clip_id)
    except MediaError as error:
        return error


def _reason(error: Exception) -> str:
    return str(error) if isinstance(error, MediaError) else in_a_line(error)


def _completed(record: ClipRecord, made: Mapping[str, Result]) -> ClipRecord:
    kept = {stream: result for stream, result in made.items() if isinstance(result, CheckedStream)}
    return replace(
        record,
        streams={**record.streams, **{s: kept[s].rows if s in kept else None for s in made}},
        times={**record.times, **{s: result.times for s, result in kept.items()}},
    )
