"""One file from outside, without a store: its streams in memory, by extractors that were made before."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from threading import Event
from typing import Any, final

import numpy as np
import pandas as pd

from features.errors import MediaError
from features.extractors import Extractor, ExtractorSpec
from features.job.config import PrecomputeConfig
from features.job.result import ClipResult, FileTask, JobReport
from features.job.scheduler import Extraction
from features.job.worker import WorkerSetup
from features.store import Manifest


def extract_file(
    path: Path, extractors: Mapping[ExtractorSpec, Extractor], config: PrecomputeConfig, unwanted: Event
) -> list[ClipResult]:
    """The clips of a file in order of time, each with its streams; it is decoded in a worker, as in a job.

    Args:
        path: the file.
        extractors: by their resolved specs; a model is loaded when the first clip has something for it.
        config: of its streams nothing counts.
        unwanted: set by another thread, it ends the work within a second.

    Raises:
        MediaError: it cannot be read, exceeds a limit, or is unwanted; the message is the reason.
        InputError: a model cannot be loaded, or no process started.
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
    raise MediaError("nobody waits for it any more")


@final
class FileStreams:
    """Clips with their streams, as a `mee.data.FeatureSource`; a stream that was not extracted is missing."""

    def __init__(self, name: str, clips: Sequence[ClipResult], manifest: Manifest) -> None:
        """name: of the store of the manifest, which has all the streams that there may be."""
        self.name, self._streams = name, {each.clip.span.clip_id: each.streams for each in clips}
        made = {stream: entry.fingerprint for stream, entry in manifest.streams.items()}
        self.dims = {stream: int(by["dim"]) for stream, by in made.items()}
        self.columns = {stream: tuple(by["columns"]) for stream, by in made.items() if by["columns"]}
        self.fingerprints = self.versions = {name: entry.digest for name, entry in manifest.streams.items()}
        self.clips = pd.DataFrame([asdict(each.clip.span) for each in clips]).set_index("clip_id")
        self.failed = dict[str, str]()

    def read(self, modality: str, clip_ids: Sequence[str]) -> list[Any]:
        """One (T, D) float16 stream a clip; None where it is missing."""
        made = [self._streams[clip_id].get(modality) for clip_id in clip_ids]
        return [each and np.asarray(each.rows) for each in made]

    def words(self, modality: str, clip_ids: Sequence[str]) -> list[Any]:
        """Start, end and text of what is said or written in each clip; None where it is missing."""
        made = [self._streams[clip_id].get(modality) for clip_id in clip_ids]
        return [each and [(*times, line) for times, line in zip(each.times.tolist(), each.rows)] for each in made]
