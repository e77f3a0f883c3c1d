"""Exact scores of single pairs: sums in float64, rounded to float32; this is what answers are ranked by."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from index.scanners.scanner import Floats, Rows
from index.unit import Unit, damage
from index.weighted import Weighted
from mee.errors import InputError

GATHERED = 2**16  # numbers of clips that are multiplied at a time: they stay in the cache


def exact_scores(units: Sequence[Unit], weighted: Weighted, query: Rows, number: Rows, row: Rows) -> Floats:
    """Score pairs of a query and a clip.

    Args:
        units: where the clips are.
        weighted: the queries.
        query: (N,) which query, rising.
        number: (N,) the clips' units.
        row: (N,) their rows in them.

    Returns:
        (N,) float32 scores. Each pair is added up by itself, so that equal clips are equal to the bit.

    Raises:
        InputError: a clip's vector is not finite, so its file is damaged.
    """
    scores = np.empty(len(number), dtype=np.float32)
    for unit, mine in grouped(number):
        vectors, of_pattern = units[unit].vectors, weighted[units[unit].pattern]
        step = max(1, GATHERED // of_pattern.width)
        for start in range(0, len(mine), step):
            some = mine[start : start + step]
            its = query[some]
            exact = of_pattern.exact(its if its[0] != its[-1] else its[:1])  # a single query is not repeated
            scores[some] = (vectors[row[some]] * exact).sum(1)
        if not np.isfinite(scores[mine]).all():
            raise InputError(damage(units[unit]))
    return scores


def grouped(number: Rows) -> list[tuple[int, NDArray[np.int64]]]:
    """Each value that occurs among (N,) numbers, with its places."""
    order = np.argsort(number, kind="stable")
    values, starts = np.unique(number[order], return_index=True)
    return list(zip(values.tolist(), np.split(order, starts[1:]))) if len(number) else []
