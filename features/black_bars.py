"""Black bars around a picture: letterbox and pillarbox, found in all frames of a clip together.

    dark line   a row (or column) whose pixels stay at most DARK in every frame, but for SPECKS of them
    bars        as many dark lines as lie at both opposite edges: min(top, bottom), min(left, right)

Bars lie on both sides alike, which a dark corner of a scene hardly ever does, so that a part of a clip is cut as
the whole of it is. Bars that hold subtitles or a logo are not found, nor are coloured or blurred ones.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

DARK = 24  # of 255: black after lossy coding, with its ringing at the picture's edge
SPECKS = 0.02
WIDEST = 0.3  # of the picture, at each side; what is darker than that is a dark scene


def without_bars(luma: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(T, H, W) luma of a clip, T at least 1 -> a view of it, (T, H', W'), without black bars."""
    brightest = luma.max(axis=0)
    rows, columns = (_bar(np.quantile(brightest, 1 - SPECKS, axis=axis)) for axis in (1, 0))
    height, width = brightest.shape
    return luma[:, rows : height - rows, columns : width - columns]


def _bar(lines: NDArray[np.float64]) -> int:
    """How many of these lines are a bar at each end; 0 where hardly anything else is there."""
    lit = np.flatnonzero(lines > DARK)
    if not len(lit):
        return 0
    bar = min(int(lit[0]), len(lines) - 1 - int(lit[-1]))
    return bar if bar <= WIDEST * len(lines) else 0
