"""A third-party shared extractor: mean colours, made where the model is. It records its calls."""

import os
import time
from typing import ClassVar

import numpy as np

from features.errors import InputError, MediaError
from features.extractors.base import Extractor, Stream
from features.media.clip import FrameNeed


class Shared(Extractor):
    """Mean colour of each frame; or a failure, as the file's name says."""

    modality = "shared"
    version = 1
    shared = True
    dim = 3
    needs = (FrameNeed(fps=4, size=256),)
    calls: ClassVar = []  # (process, clip ids) of each call, where it was called
    seen: ClassVar = []  # needs that each clip came with
    delay = 0.0  # seconds that a call takes
    before = None  # called with the clips

    def extract(self, clips):
        type(self).calls.append((os.getpid(), [clip.span.clip_id for clip in clips]))
        type(self).seen += [set(clip.frames) | set(clip.sound) for clip in clips]
        if self.before is not None:
            type(self).before(clips)
        time.sleep(self.delay)
        return [self._stream(clip) for clip in clips]

    def _stream(self, clip):
        frames = clip.frames.get(self.needs[0])
        if frames is None:
            return None
        rows = np.float32(frames.pixels.mean(axis=(1, 2)))
        match clip.span.clip_id.split("-")[0]:
            case "bug":
                raise RuntimeError("two\nlines")
            case "sick":
                raise MediaError("the model cannot work on it")
            case "weightless":
                raise InputError("the weights are not there")
            case "nowhere":
                return Stream(np.full_like(rows, np.nan), frames.times)
            case "timeless":
                return Stream(rows, frames.times[:-1])
        return Stream(rows, frames.times)


class Forgetful(Shared):
    """Loses the last clip of each call."""

    def extract(self, clips):
        return super().extract(clips)[:-1]
