"""Pictures decoded by decord, where its frames are right; elsewhere PyAV takes its place.

decord is fast where every frame is wanted. Outside what ``objection`` allows it returns wrong frames without an
error, or never returns; and it does not report damage that its decoder conceals, which PyAV counts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from features.errors import InputError
from features.media.clip import FrameNeed, Frames, Span
from features.media.frames import Orientation, Pictures, ReaderFailed, on_display, wanted_times
from features.media.probe import MediaFacts, PictureFacts

CONTAINERS = frozenset(("mov", "mp4", "matroska", "webm", "avi"))
CODECS = frozenset(("h264", "mpeg4", "vp8", "vp9"))
SQUARE = 0.01  # a pixel this close to square counts as square
SHORT_S = 1.0  # a file this much shorter than its header says counts as damaged
SAME_S = 2e-3  # decord keeps times in single precision
BATCH = 32  # frames decoded at once, so that full-size batches are not in memory twice


def import_decord() -> Any:
    """The decord package. OpenCV is imported before it, or OpenCV would get decord's zlib and read no png."""
    try:
        decord = import_module("decord")
    except (ImportError, OSError) as error:
        raise InputError("decord is not installed here: pip install decord, or use --reader pyav") from error
    decord.logging.set_level(decord.logging.QUIET)
    return decord


def objection(facts: MediaFacts, picture: PictureFacts) -> str:
    """Why decord must not read this file; empty where it may."""
    checks = {
        f"container {facts.container}": CONTAINERS.isdisjoint(facts.container.split(",")),
        f"codec {picture.codec}": picture.codec not in CODECS,
        f"pixels {picture.pixel_format}": picture.pixel_format != "yuv420p",
        "a picture stored turned or mirrored": picture.orientation != Orientation(),
        "pixels that are not square": abs(picture.aspect - 1) > SQUARE,
        "open groups of pictures": picture.leading > 0,
        "an edit list that trims": picture.trimmed,
        "damaged packets": picture.corrupt > 0 or (facts.declared_s or 0.0) - facts.extent_s > SHORT_S,
        "pictures before the first that can be decoded": bool((np.diff(picture.times) <= 0).any()),
    }
    return next((reason for reason, holds in checks.items() if holds), "")


class DecordPictures(Pictures):
    """A video track decoded by decord."""

    served_by, note, bad_packets = "decord", "", 0

    def __init__(self, path: Path, facts: MediaFacts, picture: PictureFacts, needs: Sequence[FrameNeed]) -> None:
        """``picture``: of these facts. Raises ReaderFailed where decord cannot be trusted."""
        if reason := objection(facts, picture):
            raise ReaderFailed(f"not read by decord: {reason}")
        self._facts, self._needs, self.end_s = picture, tuple(needs), picture.end_s
        decord = import_decord()
        self._errors = (decord.DECORDError, decord.DECORDLimitReachedError, RuntimeError)
        height, width = picture.shape(max(need.size for need in needs))
        try:
            self._video = decord.VideoReader(str(path.absolute()), decord.cpu(0), width, height, 1, 1)
            stamps = self._video.get_frame_timestamp(range(len(self._video)))[:, 0]
        except (*self._errors, AssertionError) as error:
            raise ReaderFailed("not read by decord: it cannot open it") from error
        times = picture.times
        if len(stamps) != len(times):
            raise ReaderFailed(f"not read by decord: it sees {len(stamps)} frames, there are {len(times)}")
        if (np.abs(np.sort(stamps) - stamps.min() - times) > SAME_S + 1e-6 * times).any():
            raise ReaderFailed("not read by decord: it sees frames at other times than the packets")

    def read(self, span: Span) -> Mapping[FrameNeed, Frames]:
        """As all `Pictures`; raises ReaderFailed where decord stops."""
        wanted = wanted_times(self._needs, span, self.end_s)
        picked = {need: on_display(self._facts.times, times) for need, times in wanted.items()}
        shapes = {need: (len(which), *self._facts.shape(need.size), 3) for need, which in picked.items()}
        pixels = {need: np.empty(shape, np.uint8) for need, shape in shapes.items()}
        union = np.unique(np.concatenate([np.empty(0, np.int64), *picked.values()]))
        for start in range(0, len(union), BATCH):
            numbers = union[start : start + BATCH]
            try:
                decoded = self._video.get_batch(numbers.tolist()).asnumpy()
            except self._errors as error:
                raise ReaderFailed(f"decord gave up at {span.start_s:.1f} s") from error
            shrunk: dict[tuple[int, int], NDArray[Any]] = {}  # by number and size
            for need, which in picked.items():
                for place in range(*np.searchsorted(which, [numbers[0], numbers[-1] + 1])):
                    key = (int(which[place]), need.size)
                    if key not in shrunk:
                        shrunk[key] = decoded[np.searchsorted(numbers, key[0])]
                        height, width = self._facts.shape(need.size)
                        if shrunk[key].shape[:2] != (height, width):
                            shrunk[key] = cv2.resize(shrunk[key], (width, height), interpolation=cv2.INTER_AREA)
                    pixels[need][place] = shrunk[key]
        return {need: Frames(pixels=pixels[need], times=wanted[need]) for need in wanted}
