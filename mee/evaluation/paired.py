"""Paired comparison: how far two systems differ over the same queries, with captions of one clip as one cluster.

    d_q = b_q - a_q,    D = mean over the N queries of d_q
    s.e.(D)^2 = C / (C - 1) * sum over the C clusters c of (sum over q in c of (d_q - D))^2 / N^2

Captions of one clip find the same clip among the same others, so their ranks are not independent: a standard error
over queries would be too small. D is a ratio of two sums over clusters, of d_q and of 1, and this is the usual
variance of a ratio estimator (Cochran, Sampling Techniques, 1977, chapter 6), equal to the cluster-robust one of
Liang and Zeger (Biometrika, 1986). With one caption a clip it is the standard error of a mean of N differences.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import isclose, isfinite, nan, sqrt
from statistics import fmean

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mee.errors import InputError, require
from mee.evaluation.metrics import query_values
from mee.evaluation.result import Direction

Differences = dict[str, tuple[float, float | None]]  # figure -> b - a, and its standard error if that is known


def paired_difference(a: ArrayLike, b: ArrayLike, cluster: ArrayLike) -> tuple[float, float]:
    """The mean of b - a over paired queries, and its standard error, clustered.

    Args:
        a: (N,) a value for each query, such as 100 * (rank <= 1) for R@1 in percent, or a mean of it over seeds; 0
            for the mean of b alone.
        b: (N,) values of the same queries in the same order.
        cluster: (N,) of any kind that can be sorted, such as clip ids: queries of one clip have equal values.

    Returns:
        The difference and its standard error, in the unit of the values; NaN for the error of a single cluster.

    Raises:
        ValueError: there is no query, the lengths differ, or a value is not finite.
    """
    b, groups = np.asarray(b, np.float64), np.asarray(cluster)
    a = np.asarray(a, np.float64)
    shapes = f"values and clusters must be vectors of one length, got {a.shape}, {b.shape} and {groups.shape}"
    require(b.ndim == 1 and a.shape in ((), b.shape) and groups.shape == b.shape, shapes)
    require(len(b) > 0, "there is no query to compare")
    each = b - a
    require(bool(np.isfinite(each).all()), "values must be finite")
    difference = float(each.mean())
    _, place = np.unique(groups, return_inverse=True)
    sums = np.bincount(place, each - difference)
    count = len(sums)
    return difference, sqrt(count / (count - 1) * float(sums @ sums)) / len(each) if count > 1 else nan


def compare(a: Sequence[Direction], b: Sequence[Direction]) -> Differences:
    """How far each figure of b is from that of a, in its unit.

    With several seeds their means are compared: the error is that over clips, not that over other trainings. Geom
    has it by the delta method; MedR has none, nor has nDCG@10 where captions have several right clips.

    Args:
        a: one direction of a system, measured with one or more seeds; none for the figures of b themselves.
        b: the same direction of another one.

    Raises:
        InputError: the captions or the galleries differ, or a result does not keep its ranks.
    """
    parts = (*a, *b)
    if not all(part.ranks for part in parts):
        raise InputError("a result has no rank of each query, so there is nothing to pair")
    if len({(part.digest, part.clusters, part.candidates) for part in parts}) > 1:
        raise InputError("results of other captions, or of another number of clips, cannot be paired")
    cluster = np.repeat(np.arange(len(b[0].clusters)), b[0].clusters)
    before, after, found = _means(a), _means(b), Differences()
    for name in (name for name in b[0].metrics if all(name in part.metrics for part in parts)):
        if name in after and (not a or name in before):
            difference, error = paired_difference(before.get(name, 0.0), after[name], cluster)
        else:
            old, new = (fmean(part.metrics[name] for part in side) if side else 0.0 for side in (a, b))
            difference, error = new - old, nan
        found[name] = (difference, error if isfinite(error) else None)
    return found


def _means(parts: Sequence[Direction]) -> dict[str, NDArray[np.float64]]:
    """(N,) values of each query, means over seeds; only those that the figures are the means of."""
    tables = [query_values(np.asarray(part.ranks)) for part in parts]
    return {
        name: np.mean([table[name] for table in tables], axis=0)
        for name in (tables[0] if tables else ())
        if all(
            name in table and isclose(table[name].mean(), part.metrics.get(name, nan), rel_tol=1e-9, abs_tol=1e-9)
            for table, part in zip(tables, parts)
        )
    }
