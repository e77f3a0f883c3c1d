"""Shared extractors: clips of all workers gather, and each model runs once over a batch of them.

    waiting clips  ->  batch of up to CLIPS clips and BYTES bytes  ->  extract(batch), one call a stream

A batch that raises is tried again clip by clip, so that only the file at fault fails. Memory holds one batch, and
beside it what the workers' pipes hold: at most a clip a worker.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import final

from features.errors import InputError, MediaError
from features.extractors import Extractor
from features.job.process import in_a_line
from features.job.result import ClipResult, FileResult
from features.media import Clip
from features.store import CheckedStream, checked

log = logging.getLogger(__name__)

BYTES = 256 << 20  # of frames and sound in a batch
IN_A_ROW = 10  # files that a model fails on, one after the other, until the job ends: the model is at fault

Made = CheckedStream | None | Exception  # what the extractor raised on the clip


@final
class ModelBatches:
    """The clips that wait for the models, and the models."""

    def __init__(self, extractors: Mapping[str, Extractor], clips: int) -> None:
        """Shared extractors by stream, and the most clips of a batch."""
        self._extractors, self._clips = extractors, clips
        self._waiting: list[tuple[FileResult, ClipResult]] = []
        self._failed_on: dict[str, set[str]] = {stream: set() for stream in extractors}

    @property
    def full(self) -> bool:
        """Whether the models must run before another clip is added."""
        return len(self._waiting) >= self._clips or sum(clip.nbytes for _, clip in self._waiting) >= BYTES

    def add(self, file: FileResult, clip: ClipResult) -> None:
        """Put a clip at the end of the batch."""
        self._waiting.append((file, clip))

    def drop(self, file: FileResult) -> None:
        """Remove the clips of a file that has failed."""
        self._waiting = [each for each in self._waiting if each[0] is not file]

    def run(self) -> Iterator[tuple[FileResult, ClipResult, str]]:
        """Run every model over the clips that wait; for each why it failed, or "": its streams are complete."""
        batch, self._waiting = self._waiting, []
        reasons = [""] * len(batch)
        for stream, extractor in self._extractors.items():
            places = [place for place, (file, _) in enumerate(batch) if stream in file.task.streams]
            results = _extract(stream, extractor, [batch[place][1].clip for place in places])
            for place, made in zip(places, results):
                file, clip = batch[place]
                self._check_model(stream, file.task.video, made)
                if isinstance(made, Exception):
                    reasons[place] = reasons[place] or _reason(made)
                else:
                    clip.streams[stream] = made
        for (file, clip), reason in zip(batch, reasons):
            clip.clip = replace(clip.clip, frames={}, sound={}, said={})
            yield file, clip, reason

    def _check_model(self, stream: str, video: str, made: Made) -> None:
        """Tell a model that fails, say on a broken GPU, from files that it cannot work on."""
        failed_on = self._failed_on[stream]
        if not isinstance(made, Exception):
            failed_on.clear()
        elif not isinstance(made, MediaError):
            failed_on.add(video)
        if len(failed_on) >= IN_A_ROW and isinstance(made, Exception):
            raise InputError(
                f"the model of '{stream}' broke on {len(failed_on)} files in a row, so it is hardly their fault; "
                f"the last time: {_reason(made)}"
            )


def _extract(stream: str, extractor: Extractor, clips: Sequence[Clip]) -> list[Made]:
    """One result a clip."""
    if not clips:
        return []
    try:
        made = extractor.extract(clips)
        if len(made) != len(clips):
            raise RuntimeError(f"its {stream} extractor gave {len(made)} streams for {len(clips)} clips")
    except Exception as error:
        if isinstance(error, InputError) and not isinstance(error, MediaError):
            raise  # no file is at fault: missing weights, an unknown option
        if len(clips) > 1:
            log.info("%s failed on %d clips, which are tried one by one: %s", stream, len(clips), error)
            return [result for clip in clips for result in _extract(stream, extractor, [clip])]
        if not isinstance(error, MediaError):
            log.exception("the extractor of %s failed on %s", stream, clips[0].span.clip_id)
        return [error]
    results: list[Made] = []
    for clip, one in zip(clips, made):
        try:
            results.append(checked(stream, extractor, one, clip.span.clip_id))
        except MediaError as error:
            results.append(error)
    return results


def _reason(error: Exception) -> str:
    return str(error) if isinstance(error, MediaError) else in_a_line(error)
