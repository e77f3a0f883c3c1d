"""One file from outside, without a store: what it holds, and its streams in memory.

    look           which kinds of signal it has, before any model is loaded
    extract_file   its clips with their streams, by extractors that are there already

Both decode in a worker process with limits, as a job does; nothing is written.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from threading import Event
from typing import Any, NamedTuple, final

import numpy as np
import pandas as pd

from features.errors import MediaError
from features.extractors import Extractor, ExtractorSpec
from features.job.config import PrecomputeConfig
from features.job.isolated import IsolatedCalls
from features.job.result import ClipResult, FileTask, JobReport
from features.job.scheduler import Extraction
from features.job.worker import WorkerSetup
from features.media import FrameNeed, Limits, Need, SoundNeed, read_clips
from features.store import Manifest

UNWANTED = "nobody waits for it any more"


class Held(NamedTuple):
    """What a file holds."""

    pictures: bool
    moving: bool  # it lasts
    sound: bool

    def meets(self, need: Need) -> bool:
        """Whether it may have what an extractor needs; subtitles are not looked for."""
        if isinstance(need, FrameNeed):
            return self.pictures and (need.window == 1 or self.moving)
        return self.sound if isinstance(need, SoundNeed) else self.moving


def look(path: Path, config: PrecomputeConfig, unwanted: Event) -> Held:
    """What a file holds, by a pass over its packets; limits are those of the config.

    Raises:
        MediaError: it cannot be read, or exceeds a limit, or ``unwanted`` was set; the message is the reason.
        InputError: no process can be started.
    """
    with closing(IsolatedCalls(timeout=config.timeout, memory=config.memory)) as process:
        held: Held = process.call(unwanted, _look, path, config.limits)
    return held


def _look(path: Path, limits: Limits) -> Held:
    clip = next(read_clips(path, path.name, (), limits=limits), None)
    if clip is None or clip.source is None:
        raise MediaError("it holds neither pictures nor sound")
    lasts = clip.span.end_s > clip.span.start_s
    return Held(clip.source.width is not None, lasts, clip.source.audio_codec is not None)


def extract_file(
    path: Path, extractors: Mapping[ExtractorSpec, Extractor], config: PrecomputeConfig, unwanted: Event
) -> list[ClipResult]:
    """The clips of a file in order of time, each with its streams; parameters and errors as of `look`.

    ``extractors``: loaded, by their resolved specs; those of the config do not count.
    """
    by_stream = {spec.stream: extractor for spec, extractor in extractors.items()}
    extraction = Extraction(by_stream, WorkerSetup(tuple(extractors), config), 1, JobReport(1, 0))
    with closing(extraction.results([FileTask(path.parent, path.name, tuple(by_stream))])) as results:
        for result in results:
            if unwanted.is_set():
                break
            if result is not None and result.failed:
                raise MediaError(result.outcome.note)
            if result is not None:
                return result.clips
    raise MediaError(UNWANTED)


@final
class FileStreams:
    """Clips with their streams as a `mee.data.FeatureSource`; streams that were not extracted are missing."""

    def __init__(self, name: str, clips: Sequence[ClipResult], manifest: Manifest) -> None:
        """name: how messages call it; manifest: of a store with all the streams that there may be."""
        self.name, self._clips = name, {each.clip.span.clip_id: each for each in clips}
        entries = manifest.streams.items()
        self.dims = {stream: int(entry.fingerprint["dim"]) for stream, entry in entries}
        self.columns = {
            s: tuple(entry.fingerprint["columns"]) for s, entry in entries if entry.fingerprint["columns"]
        }
        self.fingerprints = {stream: entry.digest for stream, entry in entries}
        self.versions, self.failed = self.fingerprints, dict[str, str]()
        self.clips = pd.DataFrame([asdict(each.clip.span) for each in clips]).set_index("clip_id")

    def read(self, modality: str, clip_ids: Sequence[str]) -> list[Any]:
        """One (T, D) float16 stream a clip; None where it is missing."""
        return [made and np.asarray(made.rows) for made in self._made(modality, clip_ids)]

    def words(self, modality: str, clip_ids: Sequence[str]) -> list[Any]:
        """What is said or written in each clip: start, end and text; None where it is missing."""
        return [
            made and [(*times, line) for times, line in zip(made.times.tolist(), made.rows)]
            for made in self._made(modality, clip_ids)
        ]

    def _made(self, modality: str, clip_ids: Sequence[str]) -> list[Any]:
        return [self._clips[clip_id].streams.get(modality) for clip_id in clip_ids]
