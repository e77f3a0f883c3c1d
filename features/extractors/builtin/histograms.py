"""Histograms of angles and of colours on a grid of image cells, each pixel shared between the two nearest bins.

    h[c, b] = sum over pixels p in cell c of weight_p * max(0, 1 - |angle_p - centre_b| / step),
    centre_b = b * step,  step = 2 pi / bins,  differences taken on the circle

Angles are radians in image coordinates: 0 points right, pi / 2 points down. They are OpenCV's, right to 2e-4.

Colours: how much of each of 20 an image cell shows.

    a(p) = chroma(S) * hue(H) x light(V)  +  (1 - chroma(S)) * grey(V),   sum over the 20 bins = 1

H, S, V are the pixel's hue, saturation and value. Hue is shared between the two nearest of 8 centres
(red 0, orange 45, ... degrees), light between dark and bright, grey between 4 levels from black to
white; chroma rises from 0 to 1 between 15 % and 40 % saturation, less for dark pixels, whose hue is noise.
The bins: 8 dark hues, 8 bright hues, 4 greys.
"""

from __future__ import annotations

from functools import cache, lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray


@lru_cache(maxsize=8)
def cell_numbers(height: int, width: int, side: int) -> NDArray[np.int64]:
    """(H, W) number of the cell that each pixel lies in, row by row on a ``side`` x ``side`` grid. Read only."""
    rows, columns = (np.arange(length) * side // length for length in (height, width))
    cells = rows[:, None] * side + columns
    cells.flags.writeable = False
    return cells


def cell_sums(
    values: NDArray[np.float32] | NDArray[np.bool_], cells: NDArray[np.int64], side: int
) -> NDArray[np.float64]:
    """(side * side,) sums of an (H, W) map over the cells of ``cell_numbers``."""
    return np.asarray(np.bincount(cells.ravel(), values.ravel(), side * side), dtype=np.float64)


def angle_histogram(
    x: NDArray[np.float32], y: NDArray[np.float32], cells: NDArray[np.int64], side: int, bins: int
) -> NDArray[np.float64]:
    """The module's h for a vector field, each pixel weighted by its vector's length: (side * side, bins).

    x and y are (H, W) components to the right and downward, ``cells`` those of ``cell_numbers`` for this ``side``.
    """
    length, angle = cv2.cartToPolar(x, y)
    position = np.asarray(angle, dtype=np.float32) * np.float32(bins / (2 * np.pi))
    below = position.astype(np.int64)  # up to `bins`, for an angle that is rounded to the full circle
    upper = length * (position - below)
    wide = bins + 1
    place = (cells * wide + below).ravel()
    total, above = (
        np.bincount(place, weight.ravel(), side * side * wide).reshape(-1, wide) for weight in (length, upper)
    )
    counts = total - above
    counts[:, 1:] += above[:, :-1]
    counts[:, 0] += counts[:, -1]
    return np.asarray(counts[:, :-1], dtype=np.float64)


def slopes(values: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Change a pixel of an (H, W) or (H, W, C) map, to the right and downward.

    By Scharr's kernel, whose angles are the truest of its size.
    """
    scale = 1 / 32  # what the kernel's weights add up to for a slope of one
    right, down = (cv2.Scharr(values, cv2.CV_32F, dx, 1 - dx, scale=scale) for dx in (1, 0))
    return np.asarray(right, dtype=np.float32), np.asarray(down, dtype=np.float32)


def hellinger(histogram: NDArray[np.float64], floor: float = 1e-9) -> NDArray[np.float64]:
    """Square root of the histogram's shares along its last axis; one that sums to ``floor`` keeps half of them.

    The distance of such vectors is Hellinger's (Arandjelovic, Zisserman, *Three things everyone should know to
    improve object retrieval*, CVPR 2012).
    """
    return np.asarray(np.sqrt(histogram / (histogram.sum(-1, keepdims=True) + floor)))


HUES, GREYS = 8, 4
COLOURS = 2 * HUES + GREYS
_LEVELS = 32  # of each channel in the look-up table: the bins are far wider than one step


def _ramp(values: NDArray[np.float32], low: float, high: float) -> NDArray[np.float32]:
    """0 up to ``low``, 1 from ``high`` on, straight between."""
    return np.asarray(np.clip((values - np.float32(low)) / np.float32(high - low), 0, 1))


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
    """(side * side, 20) colour histograms, each of sum 1, of the cells of an (H, W, 3) RGB image.

    For counting it is shrunk until a cell is ``cell`` pixels wide and high.
    """
    small = np.asarray(cv2.resize(image, (side * cell, side * cell), interpolation=cv2.INTER_AREA), dtype=np.uint8)
    code = (small >> 3).astype(np.int64) @ np.array([_LEVELS**2, _LEVELS, 1])
    blocks = _table().take(code, axis=0).reshape(side, cell, side, cell, COLOURS)
    return np.asarray(blocks.mean((1, 3), dtype=np.float64).reshape(side * side, COLOURS))
