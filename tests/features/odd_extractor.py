"""A third party's extractor that does to each file what the file's name says."""

import os
import signal
import time

import numpy as np

from features.clip import FrameNeed
from features.extractor import Extractor, Stream


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
        return None if rows is None else Stream(rows, clip.frames[self.needs[0]].times[: len(rows)])

    def _extract(self, clip):
        match clip.span.video.split("-")[0]:
            case "hang":
                time.sleep(600)
            case "exit":
                os._exit(7)
            case "segfault":
                os.kill(os.getpid(), signal.SIGSEGV)
            case "hog":
                np.ones(1 << 34, np.uint8)
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
