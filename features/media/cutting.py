"""Which spans a file is cut into.

Pieces of equal length from time 0; a last piece shorter than half a clip joins the one before. By default
a file of up to 30 s stays whole and a longer one is cut every 10 s. A piece in which nothing is shown or
heard is left out.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from features.errors import InputError
from features.media.clip import Span

WHOLE_S, PIECE_S = 30.0, 10.0
SLACK_S = 0.1  # a file that is three frames longer than 30 s was meant to be 30 s long
SHORTEST_S = 0.1  # clip ids tell times to the millisecond


@dataclass(frozen=True, kw_only=True)
class Cutting:
    """How long clips are. ``clip_seconds=None``: whole up to 30 s, else 10 s."""

    clip_seconds: float | None = None

    def __post_init__(self) -> None:
        if self.clip_seconds is not None and not SHORTEST_S <= self.clip_seconds < math.inf:
            raise InputError(f"clip_seconds must be at least {SHORTEST_S}, got {self.clip_seconds}")

    def spans(self, video: str, held: NDArray[np.float64]) -> list[Span]:
        """Cut one file.

        Args:
            video: the file's path below the library's folder.
            held: (N, 2) seconds from and to which each picture or piece of sound lasts, N at least 1.

        Returns:
            Spans in order of time; one that takes in the whole file has the path itself as its id.
        """
        end = float(held[:, 1].max())
        piece = self.clip_seconds
        if piece is None:
            piece = max(end, PIECE_S) if end <= WHOLE_S + SLACK_S else PIECE_S
        count = int(end / piece + 1e-9)
        count = max(1, count + (end - count * piece >= piece / 2))
        if count == 1:
            return [Span(clip_id=video, video=video, start_s=0.0, end_s=round(end, 3))]
        edges = {}
        for number in _occupied(held, piece, count):
            edges[number] = (number * piece, end if number == count - 1 else (number + 1) * piece)
        return [_part(video, start, stop) for start, stop in edges.values()]


def _occupied(held: NDArray[np.float64], piece: float, count: int) -> list[int]:
    """Numbers of the pieces that something is held in, ascending."""
    first = np.minimum(held[:, 0] / piece + 1e-9, count - 1).astype(np.int64)
    last = np.minimum(np.ceil(held[:, 1] / piece - 1e-9) - 1, count - 1).astype(np.int64)
    numbers = set(first.tolist())
    for begin, stop in {(b, s) for b, s in zip(first.tolist(), last.tolist()) if s > b}:
        numbers.update(range(begin, stop + 1))
    return sorted(numbers)


def _part(video: str, start: float, stop: float) -> Span:
    """A span of a longer file, named by a W3C media fragment: ``path#t=10,20``."""
    start, stop = round(start, 3), round(stop, 3)
    return Span(clip_id=f"{video}#t={_decimal(start)},{_decimal(stop)}", video=video, start_s=start, end_s=stop)


def _decimal(seconds: float) -> str:
    """The shortest decimal, to the millisecond: 10, 2.5."""
    return f"{seconds:.3f}".rstrip("0").rstrip(".")
