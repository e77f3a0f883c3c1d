"""From the decoded frames of a video track to those of a clip: which ones, how turned, and how large.

On display at t is the last frame whose time is at most t (the first frame, for t before it). Frames are picked by
time, never by number: their rate may vary, and frames may be missing.

    [x']   [a c] [x]     (x, y): a stored pixel, y downwards; (x', y'): where it is shown. Quarter turns and
    [y'] = [b d] [y]     mirror images are applied; any other turn counts as the nearest of these.

Containers and codecs store this display matrix as nine numbers, a b u c d v x y w (ISO/IEC 14496-12, 8.3.2). The
short side of an upright frame is as requested, its long side in proportion, up to a cap.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar, cast

import numpy as np
from av.video.frame import VideoFrame
from numpy.typing import NDArray

from features.media.clip import FrameNeed, Frames, Span

EPSILON_S = 1e-4  # a frame due at t counts as on display at t despite rounding; 1 ms stamps stay apart
CLOSE_S = 1e-4  # closer than this to the end, nothing is on display any more
RESTART_S = 1.0  # a clock that falls back further was restarted
LONGEST = 4  # times the short side; a longer picture is squeezed, so that memory stays bounded

Picture = TypeVar("Picture")


def on_display(times: NDArray[np.float64], wanted: NDArray[np.float64]) -> NDArray[np.int64]:
    """(T,) positions among (N,) ascending frame times, N at least 1, of what is on display at (T,) times."""
    return np.maximum(np.searchsorted(times, wanted + EPSILON_S, side="right") - 1, 0)


def steady(
    timed: Iterator[tuple[float | None, Picture]], step: float, back: float = 0.5
) -> Iterator[tuple[float, Picture]]:
    """Frames in display order with times that never fall.

    A frame without a time, or after a restart of the clock, follows the frame before by ``step`` seconds, one that
    steps back a little by ``back`` of that; a single frame ahead of the next is put between both beside it.
    """
    first = next(timed, None)
    if first is None:
        return
    before, time, shown = math.inf, first[0] or 0.0, first[1]
    for stamp, picture in timed:
        following = time + step if stamp is None else stamp
        if before < following < time:
            time = (before + following) / 2
        elif following < time:
            following = time + (step if time - following > RESTART_S else back * step)
        yield time, shown
        before, time, shown = time, following, picture
    yield time, shown


class FramePicker(Generic[Picture]):
    """Passes once over frames and picks those on display at times that never fall."""

    def __init__(self, frames: Iterator[tuple[float, Picture]]) -> None:
        self._frames = frames
        self._shown: tuple[float, Picture] | None = next(frames, None)
        self._following = next(frames, None)

    def at(self, time: float) -> Picture | None:
        """The frame on display; None where there is no frame at all."""
        while self._following is not None and self._following[0] <= time + EPSILON_S:
            self._shown, self._following = self._following, next(self._frames, None)
        return None if self._shown is None else self._shown[1]

    @property
    def last_time(self) -> float | None:
        """Time of the very last frame, seconds, once it is on display; None before."""
        return None if self._shown is None or self._following is not None else self._shown[0]


class ReaderFailed(Exception):
    """A reader cannot decode this file, or no further; PyAV takes its place. The message is the reason."""


class Pictures(ABC):
    """The video track of one file, opened for fixed needs; read forward only, clip by clip."""

    served_by: str  # name of the reader that decodes
    note: str  # what is no damage: another reader than the requested one decodes, or what was met so far
    end_s: float  # until when pictures are on display; smaller once decoding has broken off early
    bad_packets: int  # that could not be decoded so far

    @abstractmethod
    def read(self, span: Span) -> Mapping[FrameNeed, Frames]:
        """Frames of one span; spans come in order of time. No entry where no frame is on display."""


def wanted_times(needs: Sequence[FrameNeed], span: Span, end_s: float) -> dict[FrameNeed, NDArray[np.float64]]:
    """Each need's times, (T,) seconds, as far as pictures last; empty where none is on display."""
    if span.start_s >= end_s - CLOSE_S:
        return {}
    wanted = {need: need.times(span.start_s, span.end_s) for need in needs}
    return {need: times[times < end_s - CLOSE_S] for need, times in wanted.items()}


@dataclass(frozen=True, kw_only=True)
class Orientation:
    """Rows and columns are swapped first, then mirrored."""

    transposed: bool = False
    bottom_up: bool = False
    right_to_left: bool = False

    def upright(self, stored: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """(H, W, 3) stored pixels -> (H, W, 3), or (W, H, 3), upright."""
        shown = stored.swapaxes(0, 1) if self.transposed else stored
        return shown[:: -1 if self.bottom_up else 1, :: -1 if self.right_to_left else 1]


def orientation(picture: VideoFrame) -> Orientation:
    """The orientation of one decoded picture."""
    matrix = picture.side_data.get("DISPLAYMATRIX")
    if matrix is None:
        return Orientation()
    a, b, _, c, d = np.frombuffer(bytes(cast("Any", matrix)), np.int32, 5).tolist()
    if abs(b) + abs(c) > abs(a) + abs(d):
        return Orientation(transposed=True, bottom_up=b < 0, right_to_left=c < 0)
    return Orientation(bottom_up=d < 0, right_to_left=a < 0)


def scaled_size(height: float, width: float, size: int) -> tuple[int, int]:
    """Height and width of an upright picture with square pixels, scaled to a short side of ``size`` pixels."""
    scale, cap = size / min(width, height), LONGEST * size
    return min(cap, max(size, round(height * scale))), min(cap, max(size, round(width * scale)))
