"""Third-party extractors: one does to each file what the file's name says, one costs nothing."""

import errno
import os
import signal
import sys
import time
from pathlib import Path

import numpy as np

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


class _OpenCVError(Exception):
    """cv2.error where memory is used up."""

    code = -4
