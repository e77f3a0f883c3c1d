"""Text on screen: the lines that can be read in a clip's frames, one a second, as PP-OCR reads them.

    frame  --detector-->  boxes of lines, top to bottom  --recogniser-->  text, confidence
    lines of a frame that are nearly those of a frame up to PATIENCE_S before are the same, which last longer

A line counts from confidence SCORE on, if it has two letters or digits. Two lines are nearly the same if difflib's
ratio of their letters, without spaces and case, is at least ALIKE; the better read of them is kept. A line lasts
until the frame after the last that shows it, or its clip's end.

Both networks are in the wheel of rapidocr (pip install 'mee[ocr]'); nothing is downloaded. PP-OCR: Du et al.,
arXiv 2009.09941 and its successors; Apache-2.0.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from features.errors import InputError
from features.extractors.base import Extractor, Fingerprint, Words
from features.media import Clip, FrameNeed, Frames

FPS, SIZE = 1.0, 480  # letters of 10 pixels are read in a 480-pixel frame
SCORE, ALIKE, LETTERS = 0.85, 0.75, 2
PATIENCE_S = 2 / FPS  # one frame without the line, such as a blurred one, does not end it
MOST_LINES = 200  # of a frame: a page has 60
NETWORKS = ("det", "rec")  # in the names of the wheel's files


@dataclass
class Line:
    """One line on screen."""

    text: str
    score: float  # of the best reading
    start: float  # seconds, of the first and the last frame that show it
    last: float


@final
class ScreenTextExtractor(Extractor):
    """The lines on screen; it runs where the frames are decoded."""

    modality = "text"
    version = 1
    dim = 0
    need = FrameNeed(fps=FPS, size=SIZE)
    needs = (need,)
    parameters = MappingProxyType({"score": SCORE, "alike": ALIKE, "patience": PATIENCE_S})

    def __init__(self) -> None:
        found = find_spec("rapidocr")
        files = sorted((Path(found.origin).parent / "models").glob("*.onnx")) if found and found.origin else []
        self.networks = {kind: path for kind in NETWORKS for path in files if f"_{kind}_" in path.name}
        if len(self.networks) < len(NETWORKS):
            raise InputError(
                "to read text on screen the package rapidocr is needed, with its networks: pip install 'mee[ocr]'"
            )

    @property
    def fingerprint(self) -> Fingerprint:
        """The digest of the networks' files stands for the weights."""
        content = b"".join(self.networks[kind].read_bytes() for kind in NETWORKS)
        revision = f"sha256:{hashlib.sha256(content).hexdigest()[:16]}"
        return replace(super().fingerprint, model="rapidocr", revision=revision)

    @cached_property
    def _read(self) -> Any:
        from rapidocr import RapidOCR

        one = {f"EngineConfig.onnxruntime.{kind}_op_num_threads": 1 for kind in ("intra", "inter")}
        files = {f"{kind.capitalize()}.model_path": str(path) for kind, path in self.networks.items()}
        sizes = {"Det.limit_side_len": SIZE, "Global.use_cls": False, "Global.log_level": "critical"}
        return RapidOCR(params={**one, **files, **sizes})

    def extract(self, clips: Sequence[Clip]) -> list[Words | None]:
        """The lines of each clip, by when they appear and then from top to bottom; None without any."""
        return [self._words(clip.frames.get(self.need), clip.span.end_s) for clip in clips]

    def _words(self, frames: Frames | None, end_s: float) -> Words | None:
        if frames is None:
            return None
        shown = [(float(time), self.lines(picture)) for time, picture in zip(frames.times, frames.pixels)]
        return Words.of((line.start, min(line.last + 1 / FPS, end_s), line.text) for line in merged(shown))

    def lines(self, picture: NDArray[np.uint8]) -> list[tuple[str, float]]:
        """Text and confidence of each line in an (H, W, 3) RGB picture, from top to bottom."""
        read = self._read(np.ascontiguousarray(picture[..., ::-1]))
        lines = zip(read.txts or (), map(float, read.scores or ()))
        good = [(text, score) for text, score in lines if score >= SCORE and len(_letters(text)) >= LETTERS]
        return good[:MOST_LINES]


def merged(shown: Sequence[tuple[float, Sequence[tuple[str, float]]]]) -> list[Line]:
    """Lines over time, of the time, lines and confidences of frames in order."""
    found: list[Line] = []
    before: dict[str, Line] = {}  # letters -> a line of the frames before
    for time, lines in shown:
        now: dict[str, Line] = {}
        for text, score in lines:
            letters = _letters(text)
            if letters in now:
                continue
            near = [letters] if letters in before else get_close_matches(letters, before, 1, ALIKE)
            line = before.pop(near[0]) if near else Line(text, score, time, time)
            if near:
                line.last = time
                if score > line.score:
                    line.text, line.score = text, score
            else:
                found.append(line)
            now[letters] = line
        before = {key: line for key, line in before.items() if time - line.last < PATIENCE_S} | now
    return found


def _letters(text: str) -> str:
    return "".join(filter(str.isalnum, text.casefold()))
