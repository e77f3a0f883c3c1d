"""Pictures: where a reader gets a clip's frames from, one clip after the other, forward only."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from features.clip import FrameNeed, Frames, Span

CLOSE_S = 1e-4


class Pictures(ABC):
    """The video track of one file, opened for a fixed set of needs."""

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
