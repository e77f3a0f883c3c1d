"""Queries answered by kinds that prove nothing: their best candidates by estimate, re-ranked by exact scores."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil

import numpy as np

from index.pairs import exact_scores
from index.recall import SearchParameters
from index.scanners.scanner import Floats, Rows
from index.unit import Unit
from index.weighted import Weighted

AT = 10  # answers that the parameters are meant for


def approximate(
    units: Sequence[Unit], weighted: Weighted, k: int, parameters: SearchParameters
) -> tuple[Rows, Floats, Rows, Rows]:
    """What is probably among the best k clips of each query.

    Args:
        units: that can be scanned.
        weighted: the queries, for the units' patterns.
        k: at least 1.
        parameters: how many candidates to score exactly for the best 10 (for more in proportion), and how hard
            to look for them.

    Returns:
        (N,) queries, exact scores, units and rows.
    """
    wanted = ceil(parameters.rerank * max(k, AT) / AT)
    wanted = max(k, wanted)
    estimates, rows, numbers = [], [], []
    for n, unit in enumerate(units):
        vectors = weighted[unit.pattern]
        found, places = unit.scan(vectors.rounded, wanted, effort=parameters.effort)
        found[~vectors.speaks] = -np.inf
        estimates.append(found)
        rows.append(places)
        numbers.append(np.full(places.shape, n))
    estimate, row, number = (np.concatenate(columns, axis=1) for columns in (estimates, rows, numbers))
    if wanted < estimate.shape[1]:
        best = np.argpartition(-estimate, wanted - 1, axis=1)[:, :wanted]
        estimate, row, number = (np.take_along_axis(array, best, 1) for array in (estimate, row, number))
    query, place = (estimate > -np.inf).nonzero()
    number, row = number[query, place], row[query, place]
    return query, exact_scores(units, weighted, query, number, row), number, row
