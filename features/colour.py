"""Soft colour names: how much of each of 20 colours an image cell shows.

    a(p) = chroma(S) * hue(H) x light(V)  +  (1 - chroma(S)) * grey(V),   sum over the 20 bins = 1

H, S, V are the pixel's hue, saturation and value. Hue is shared between the two nearest of 8 centres
(red 0, orange 45, ... degrees), light between dark and bright, grey between 4 levels from black to
white; chroma rises from 0 to 1 between 15 % and 40 % saturation, less for dark pixels, whose hue is noise.
The bins: 8 dark hues, 8 bright hues, 4 greys.
"""

from __future__ import annotations

from functools import cache

import cv2
import numpy as np
from numpy.typing import NDArray

HUES, GREYS = 8, 4
COLOURS = 2 * HUES + GREYS
_LEVELS = 32  # of each channel in the look-up table: the bins are far wider than one step


def _ramp(values: NDArray[np.float32], low: float, high: float) -> NDArray[np.float32]:
    """0 up to ``low``, 1 from ``high`` on, straight between."""
    share: NDArray[np.float32] = np.clip((values - np.float32(low)) / np.float32(high - low), 0, 1)
    return share


@cache
def _table() -> NDArray[np.float32]:
    """(32768, 20) shares a(p) of every colour whose channels have 32 levels, red varying slowest."""
    level = ((np.arange(_LEVELS) + 0.5) / _LEVELS).astype(np.float32)
    rgb = np.stack(np.meshgrid(level, level, level, indexing="ij"), -1).reshape(1, -1, 3)
    hue, saturation, value = cv2.cvtColor(rgb, cv2.COLOR_RGB2HSV)[0].T  # degrees, [0, 1], [0, 1]
    chroma = _ramp(saturation, 0.15, 0.40) * _ramp(value, 0.08, 0.25)
    away = np.abs((hue[:, None] - np.arange(HUES) * 360 / HUES + 180) % 360 - 180)
    hues = np.maximum(0, 1 - away * HUES / 360) * chroma[:, None]
    bright = _ramp(value, 0.35, 0.75)[:, None]
    step = np.abs(value[:, None] * (GREYS - 1) - np.arange(GREYS))
    greys = np.maximum(0, 1 - step) * (1 - chroma)[:, None]
    return np.concatenate([hues * (1 - bright), hues * bright, greys], 1).astype(np.float32)


def colour_shares(image: NDArray[np.uint8], side: int, cell: int = 16) -> NDArray[np.float64]:
    """Colour histogram of each cell of a ``side`` x ``side`` grid.

    Args:
        image: (H, W, 3) RGB.
        side: cells a row and a column.
        cell: pixels a cell is wide and high once the image is shrunk for counting.

    Returns:
        (side * side, 20), each row sums to 1.
    """
    small = np.asarray(cv2.resize(image, (side * cell, side * cell), interpolation=cv2.INTER_AREA), dtype=np.uint8)
    code = (small >> 3).astype(np.int64) @ np.array([_LEVELS**2, _LEVELS, 1])
    blocks = _table()[code].reshape(side, cell, side, cell, COLOURS)
    shares: NDArray[np.float64] = blocks.mean((1, 3), dtype=np.float64).reshape(side * side, COLOURS)
    return shares
