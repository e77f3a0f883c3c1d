"""Arrange: hits on a grid, alike ones side by side, by linear assignment sorting.

    x   vectors of the N hits, an expert's part times the square root of its weight, so that
        |x_a - x_b|^2 = sum over the experts of w_m |a_m - b_m|^2; of a missing stream: the mean of the others
    t   the mean of the vectors around a cell, by a Gaussian of the distance on the grid
    place the hits so that the sum of |x - t(cell)|^2 is least, and again with a smaller radius, ...

After Barthel, Hezel, Jung, Schall, Improved Evaluation and Generation of Grid Layouts using Distance Preservation
Quality and Linear Assignment Sorting, 2023 (arXiv 2205.04255). Nothing is random: it starts with the hits sorted
along their two main directions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import ceil, sqrt
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from index.storage import Snapshot

MOST = 256  # hits
SIZES = 32  # numbers of a vector that are kept, along the main directions
FIRST, LAST, STEPS = 0.4, 0.6, 10  # radius of the Gaussian: of the columns, at the end in cells, and how many
Numbers = NDArray[np.int64]


def arrange(vectors: NDArray[np.floating]) -> tuple[Numbers, Numbers]:
    """Place N vectors on a grid that is nearly square, row by row; the last row may be shorter.

    vectors: (N, D), finite; equal ones change places with the order in which they are given, nothing else does.

    Returns:
        rows, columns: (N,) of each, from 0; the grid has ceil(sqrt(N)) columns.

    Raises:
        ValueError: there are more than MOST.
    """
    from scipy.optimize import linear_sum_assignment  # here: searches need none of it

    count = len(vectors)
    if count > MOST:
        raise ValueError(f"at most {MOST} vectors are arranged, got {count}")
    if not count:
        return np.empty(0, np.int64), np.empty(0, np.int64)
    columns = ceil(sqrt(count))
    cells = np.stack(np.divmod(np.arange(count), columns), axis=1)  # (N, 2) row and column
    order = np.array(sorted(range(count), key=[row.tobytes() for row in vectors].__getitem__), dtype=np.int64)
    points = _main(vectors[order].astype(np.float64))
    placed = _sorted_along(points, columns)  # (N,) of each cell its point
    apart = ((cells[:, None] - cells) ** 2).sum(-1)
    for radius in np.geomspace(max(FIRST * columns, LAST), LAST, STEPS):
        near = np.exp(-apart / (2 * radius**2))
        wanted = near @ points[placed] / near.sum(1, keepdims=True)
        cost = (wanted**2).sum(1)[:, None] - 2 * wanted @ points.T
        placed = linear_sum_assignment(cost)[1]
    cell = np.empty(count, dtype=np.int64)
    cell[order[placed]] = np.arange(count)
    return cell // columns, cell % columns


def _main(vectors: NDArray[np.float64]) -> NDArray[np.float64]:
    """(N, D) -> (N, at most SIZES) coordinates along the main directions, from the mean."""
    vectors = vectors - vectors.mean(0)
    count = min(len(vectors), SIZES)
    values, along = np.linalg.eigh(vectors @ vectors.T)  # rising
    along = along[:, : -count - 1 : -1] * np.sqrt(np.maximum(values[: -count - 1 : -1], 0))
    signs = np.sign(along[np.abs(along).argmax(0), np.arange(count)])
    return np.asarray(along * np.where(signs, signs, 1))


def _sorted_along(points: NDArray[np.float64], columns: int) -> Numbers:
    """Points of the cells: rows by the first main direction, in each by the second."""
    order = points[:, 0].argsort(kind="stable")
    second = points[:, min(1, points.shape[1] - 1)]
    rows = (order[start : start + columns] for start in range(0, len(order), columns))
    return np.concatenate([row[second[row].argsort(kind="stable")] for row in rows])


def weighted(clip_ids: Sequence[str], weights: Mapping[str, float], snapshot: Snapshot) -> NDArray[np.float32]:
    """(N, D) vectors of clips as they are arranged; one that is not in the index any more has no stream.

    weights: of the experts, in a search; {}: equal ones.
    """
    vectors, there = snapshot.vectors_of(clip_ids)
    vectors[~np.isfinite(vectors)] = 0  # of damaged ones, which the search did not need
    for m, (name, its) in enumerate(zip(snapshot.layout.names, snapshot.layout.slices)):
        if (have := there[:, m]).any():
            vectors[have, its] -= vectors[have, its].mean(0)
            vectors[:, its] *= sqrt(weights.get(name, 0.0) if weights else 1.0)
    return vectors


def arranged(clip_ids: Sequence[str], weights: Mapping[str, float], snapshot: Snapshot) -> tuple[Numbers, Numbers]:
    """Rows and columns of clips, as of `arrange`, by the weights of a search's experts, as of `weighted`."""
    return arrange(weighted(clip_ids, weights, snapshot))
