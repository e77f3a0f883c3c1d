"""Third-party extractors: one does to each file what the file's name says, one costs nothing, one is shared."""

import errno
import os
import signal
import sys
import time
from pathlib import Path
from typing import ClassVar

import numpy as np

from features.errors import InputError, MediaError
from features.extractors.base import Extractor, Stream
from features.media.clip import FrameNeed

LARGE = 1 << 34  # bytes


class Odd(Extractor):
    """Mean colour of each frame; or a crash, a hang, and the like."""

    modality = "odd"
    version = 1
    dim = 3
    needs = (FrameNeed(fps=2, size=16),)

    def extract(self, clips):
        return [self._stream(clip) for clip in clips]

    def _stream(self, clip):
        rows = self._extract(clip)
        if rows is None:
            return None
        if clip.span.video.startswith("untimed-"):
            return Stream(rows, np.zeros(0))
        return Stream(rows, clip.frames[self.needs[0]].times[: len(rows)])

    def _extract(self, clip):
        match clip.span.video.split("-")[0]:
            case "hang":
                time.sleep(600)
            case "exit":
                os._exit(7)
            case "segfault":
                os.kill(os.getpid(), signal.SIGSEGV)
            case "hog":
                np.ones(LARGE, np.uint8)
            case "enomem":
                raise OSError(errno.ENOMEM, "Cannot allocate memory")
            case "cv2memory":
                raise _OpenCVError
            case "once":  # crashes, but not again
                mark = Path(os.environ["ODD_MARKS"], clip.span.video)
                if not mark.exists():
                    mark.touch()
                    os.kill(os.getpid(), signal.SIGKILL)
            case "orphan":  # kills the job that reads it, but not again
                mark = Path(os.environ["ODD_MARKS"], clip.span.video)
                if not mark.exists():
                    mark.touch()
                    os.kill(os.getppid(), signal.SIGKILL)
                    time.sleep(600)
            case "late":  # crashes at its last clip
                if clip.span.start_s >= 2:
                    os._exit(7)
            case "mark":  # leaves a file for each clip that is extracted
                Path(os.environ["ODD_MARKS"], f"{clip.span.video} {clip.span.start_s:g}").touch()
            case "modules":
                heavy = {"torch", "transformers", "pandas"}
                assert not heavy & set(sys.modules), heavy & set(sys.modules)
            case "raise":
                raise RuntimeError("two\nlines")
            case "nan":
                return np.full((1, 3), np.nan, np.float32)
            case "wide":
                return np.ones((1, 4), np.float32)
            case "huge":
                return np.full((1, 3), 1e9, np.float32)  # beyond float16
            case "none":
                return None
        return np.float32(clip.frames[self.needs[0]].pixels.mean(axis=(1, 2)))


class Halves(Extractor):
    """Mean colours of the upper and the lower third, two frames a second."""

    modality = "halves"
    version = 1
    dim = 6
    needs = (FrameNeed(fps=2, size=16),)

    def extract(self, clips):
        return [self._stream(clip) for clip in clips]

    def _stream(self, clip):
        frames = clip.frames.get(self.needs[0])
        if frames is None:
            return None
        third = max(1, frames.pixels.shape[1] // 3)
        parts = (frames.pixels[:, :third], frames.pixels[:, -third:])
        return Stream(np.float32(np.concatenate([p.mean(axis=(1, 2)) for p in parts], axis=1)), frames.times)


class Shared(Extractor):
    """Mean colour of each frame, or a failure, as the file's name says; made where the model is."""

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


class Misnamed(Odd):
    """Names fewer columns than it has."""

    columns = ("red", "green")


class _OpenCVError(Exception):
    """cv2.error where memory is used up."""

    code = -4


class Incomplete(Extractor):
    """Sets neither its size nor its needs."""

    modality, version = "odd", 1

    def extract(self, clips):
        return [None for _ in clips]
