"""Histograms of angles on a grid of image cells, each pixel shared between the two nearest bins.

    h[c, b] = sum over pixels p in cell c of weight_p * max(0, 1 - |angle_p - centre_b| / step),
    centre_b = b * step,  step = 2 pi / bins,  differences taken on the circle

Angles are radians in image coordinates: 0 points right, pi / 2 points down.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray


def cell_numbers(height: int, width: int, side: int) -> NDArray[np.int64]:
    """(H, W) number of the cell that each pixel lies in, row by row on a ``side`` x ``side`` grid."""
    rows = np.arange(height) * side // height
    columns = np.arange(width) * side // width
    return rows[:, None] * side + columns


def cell_sums(
    values: NDArray[np.float32] | NDArray[np.bool_], cells: NDArray[np.int64], side: int
) -> NDArray[np.float64]:
    """(side * side,) sums of an (H, W) map over the cells of ``cell_numbers``."""
    return np.asarray(np.bincount(cells.ravel(), values.ravel(), side * side), dtype=np.float64)


def angle_histogram(
    x: NDArray[np.float32], y: NDArray[np.float32], cells: NDArray[np.int64], side: int, bins: int
) -> NDArray[np.float64]:
    """The module's h for a vector field, each pixel weighted by its vector's length.

    Args:
        x: (H, W) components to the right.
        y: (H, W) components downward.
        cells: (H, W) from ``cell_numbers``.
        side: cells a row and a column.
        bins: directions around the full circle.

    Returns:
        (side * side, bins), not normalised.
    """
    position = np.arctan2(y, x) * np.float32(bins / (2 * np.pi))
    below = np.floor(position)
    share = (position - below).ravel()
    weight = np.hypot(x, y).ravel()
    first = cells.ravel() * bins
    lower = below.astype(np.int64).ravel()
    size = side * side * bins
    counts = np.bincount(first + lower % bins, weight * (1 - share), size)
    counts = counts + np.bincount(first + (lower + 1) % bins, weight * share, size)
    return np.asarray(counts, dtype=np.float64).reshape(side * side, bins)


def slopes(values: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Change a pixel of an (H, W) or (H, W, C) map, to the right and downward.

    By Scharr's kernel, whose angles are the truest of its size.
    """
    scale = 1 / 32  # what the kernel's weights add up to for a slope of one
    right, down = (cv2.Scharr(values, cv2.CV_32F, dx, 1 - dx, scale=scale) for dx in (1, 0))
    return np.asarray(right, dtype=np.float32), np.asarray(down, dtype=np.float32)


def hellinger(histogram: NDArray[np.float64], floor: float = 1e-9) -> NDArray[np.float64]:
    """Square root of the histogram's shares along its last axis; one that sums to ``floor`` keeps half of them.

    Euclidean distance between such vectors is the Hellinger distance (Arandjelovic and Zisserman,
    *Three things everyone should know to improve object retrieval*, CVPR 2012).
    """
    shares: NDArray[np.float64] = np.sqrt(histogram / (histogram.sum(-1, keepdims=True) + floor))
    return shares
