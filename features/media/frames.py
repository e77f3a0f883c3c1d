"""Where a reader gets a clip's frames from, and which decoded frame is on display at each wanted time.

On display at t is the last frame whose time is at most t (the first frame, for t before it). Frames are
picked by time, never by number: their rate may vary, and frames may be missing.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from features.media.clip import FrameNeed, Frames, Span

EPSILON_S = 1e-4  # a frame due at t counts as on display at t in spite of rounding; 1 ms stamps stay apart
CLOSE_S = 1e-4  # nearer than this to the end, nothing is on display any more
ANEW_S = 1.0  # a clock that falls back further has started anew

Picture = TypeVar("Picture")


def on_display(times: NDArray[np.float64], wanted: NDArray[np.float64]) -> NDArray[np.int64]:
    """(T,) positions among (N,) ascending frame times, N at least 1, of what is on display at (T,) times."""
    return np.maximum(np.searchsorted(times, wanted + EPSILON_S, side="right") - 1, 0)


def steady(timed: Iterator[tuple[float | None, Picture]], step: float) -> Iterator[tuple[float, Picture]]:
    """Frames in display order with times that never fall.

    A frame without a time, or from where the clock has started anew, follows the frame before by ``step``
    seconds; one that steps back a little, by half of that, so that those after it fall into place again. A lone
    frame that jumps ahead of its follower is put halfway between its neighbours.
    """
    before: float | None = None
    held: tuple[float, Picture] | None = None
    for stamp, picture in timed:
        if held is None:
            held = (0.0 if stamp is None else stamp, picture)
            continue
        time = held[0] + step if stamp is None else stamp
        if time < held[0]:
            if before is not None and time > before:
                held = ((before + time) / 2, held[1])
            else:
                time = held[0] + (step if held[0] - time > ANEW_S else step / 2)
        yield held
        before, held = held[0], (time, picture)
    if held is not None:
        yield held


class FramePicker(Generic[Picture]):
    """Walks forward once over frames and answers for wanted times that never fall."""

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


class Pictures(ABC):
    """The video track of one file, opened for a fixed set of needs; read forward only, clip by clip."""

    @property
    @abstractmethod
    def served_by(self) -> str:
        """Name of the reader that decodes."""

    @property
    @abstractmethod
    def note(self) -> str:
        """Why not the reader that was asked for decodes; empty where it does. It is no fault of the file."""

    @abstractmethod
    def read(self, span: Span) -> Mapping[FrameNeed, Frames]:
        """Frames of one span; spans come in order of time. No entry where no frame is on display."""

    @property
    @abstractmethod
    def end_s(self) -> float:
        """Until when pictures are on display, seconds; smaller once decoding has broken off early."""

    @abstractmethod
    def take_bad_packets(self) -> int:
        """How many packets could not be decoded since the last call."""


def wanted_times(needs: Sequence[FrameNeed], span: Span, end_s: float) -> dict[FrameNeed, NDArray[np.float64]]:
    """Each need's times, (T,) seconds, as far as pictures last; empty where none is on display."""
    if span.start_s >= end_s - CLOSE_S:
        return {}
    wanted = {need: need.times(span.start_s, span.end_s) for need in needs}
    return {need: times[times < end_s - CLOSE_S] for need, times in wanted.items()}
