"""Pictures decoded by decord where its frames are right, and by PyAV everywhere else.

decord is fast where every frame is wanted. Outside what ``objection`` allows it returns wrong frames without an
error, or never returns; and it does not report damage that its decoder conceals, which PyAV counts.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from features.errors import InputError
from features.media.clip import FrameNeed, Frames, Span
from features.media.frames import Orientation, Pictures, on_display, wanted_times
from features.media.probe import MediaFacts, PictureFacts
from features.media.pyav_reader import PyavPictures

log = logging.getLogger(__name__)

CONTAINERS = frozenset(("mov", "mp4", "matroska", "webm", "avi"))
CODECS = frozenset(("h264", "mpeg4", "vp8", "vp9"))
SQUARE = 0.01  # a pixel this close to square counts as square
SAME_S = 2e-3  # decord keeps times in single precision
BATCH = 32  # frames decoded at once, so that full-length batches do not lie in memory twice


def import_decord() -> Any:
    """The decord package. OpenCV is imported before it, or OpenCV would get decord's zlib and read no png."""
    try:
        decord = import_module("decord")
    except (ImportError, OSError) as error:
        raise InputError("decord is not installed here: pip install decord, or use --reader pyav") from error
    decord.logging.set_level(decord.logging.QUIET)
    return decord


def objection(facts: MediaFacts) -> str:
    """Why decord must not read this file; empty where it may."""
    picture = facts.picture
    if picture is None:
        return "no pictures"
    checks = {
        f"container {facts.container}": CONTAINERS.isdisjoint(facts.container.split(",")),
        f"codec {picture.codec}": picture.codec not in CODECS,
        f"pixels {picture.pixel_format}": picture.pixel_format != "yuv420p",
        "a picture stored turned or mirrored": picture.orientation != Orientation(),
        "pixels that are not square": abs(picture.aspect - 1) > SQUARE,
        "open groups of pictures": picture.leading > 0,
        "an edit list that trims": picture.trimmed,
        "damaged packets": picture.corrupt > 0 or _falls_short(facts),
        "pictures before the first that can be decoded": bool((np.diff(picture.times) <= 0).any()),
    }
    return next((reason for reason, holds in checks.items() if holds), "")


def _falls_short(facts: MediaFacts) -> bool:
    return facts.declared_s is not None and facts.declared_s - facts.extent_s > 1.0


class DecordPictures(Pictures):
    """A video track decoded by decord, and by PyAV from where decord fails."""

    served_by, note = "decord", ""

    def __init__(self, path: Path, facts: MediaFacts, picture: PictureFacts, needs: Sequence[FrameNeed]) -> None:
        """``picture``: of these facts. Raises ValueError, with the reason, where decord cannot be trusted."""
        self._path, self._file, self._facts, self._needs = path, facts, picture, tuple(needs)
        self._instead: PyavPictures | None = None
        decord = import_decord()
        self._errors: tuple[type[Exception], ...] = (
            decord.DECORDError,
            decord.DECORDLimitReachedError,
            RuntimeError,
        )
        height, width = self._facts.shape(max(need.size for need in needs))
        try:
            self._video = decord.VideoReader(str(path), decord.cpu(0), width, height, 1, 1)
            stamps = self._video.get_frame_timestamp(range(len(self._video)))[:, 0]
        except (*self._errors, AssertionError) as error:
            raise ValueError("decord cannot open it") from error
        times = picture.times
        if len(stamps) != len(times):
            raise ValueError(f"decord sees {len(stamps)} frames, there are {len(times)}")
        apart = np.abs(np.sort(stamps) - stamps.min() - times)
        if (apart > SAME_S + 1e-6 * times).any():
            raise ValueError("decord sees frames at other times than the packets")

    @property
    def end_s(self) -> float:
        return self._facts.end_s if self._instead is None else self._instead.end_s

    def take_bad_packets(self) -> int:
        return 0 if self._instead is None else self._instead.take_bad_packets()

    def read(self, span: Span) -> Mapping[FrameNeed, Frames]:
        if self._instead is None:
            try:
                return self._read(span)
            except self._errors as error:
                log.info("decord gives up on %s at %.1f s: %s", self._path, span.start_s, error)
                self.served_by, self.note = PyavPictures.served_by, f"decord gave up at {span.start_s:.1f} s"
                self._instead = PyavPictures(self._path, self._file, self._facts, self._needs)
        return self._instead.read(span)

    def _read(self, span: Span) -> Mapping[FrameNeed, Frames]:
        wanted = wanted_times(self._needs, span, self.end_s)
        if not wanted:
            return {}
        picked = {need: on_display(self._facts.times, times) for need, times in wanted.items()}
        pixels = {
            need: np.empty((len(which), *self._facts.shape(need.size), 3), np.uint8) for need, which in picked.items()
        }
        union = np.unique(np.concatenate(list(picked.values())))
        for start in range(0, len(union), BATCH):
            numbers = union[start : start + BATCH]
            for number, frame in zip(numbers, self._video.get_batch(numbers.tolist()).asnumpy()):
                self._place(frame, int(number), picked, pixels)
        return {need: Frames(pixels=pixels[need], times=wanted[need]) for need in wanted}

    def _place(
        self,
        frame: NDArray[np.uint8],
        number: int,
        picked: Mapping[FrameNeed, NDArray[np.int64]],
        pixels: Mapping[FrameNeed, NDArray[np.uint8]],
    ) -> None:
        """Put one decoded frame wherever it is wanted."""
        by_size: dict[int, NDArray[np.uint8]] = {}
        for need, which in picked.items():
            low, high = np.searchsorted(which, [number, number + 1])
            if low < high:
                if need.size not in by_size:
                    by_size[need.size] = _shrunk(frame, *self._facts.shape(need.size))
                pixels[need][low:high] = by_size[need.size]


def _shrunk(frame: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    if frame.shape[:2] == (height, width):
        return frame
    return np.asarray(cv2.resize(frame, (width, height), interpolation=cv2.INTER_AREA), np.uint8)


def open_pictures(path: Path, facts: MediaFacts, picture: PictureFacts, needs: Sequence[FrameNeed]) -> Pictures:
    """The pictures of a file, by the reader that decodes them rightly."""
    reason = objection(facts)
    if not reason:
        try:
            return DecordPictures(path, facts, picture, needs)
        except ValueError as error:
            reason = str(error)
    return PyavPictures(path, facts, picture, needs, note=f"not read by decord: {reason}")
