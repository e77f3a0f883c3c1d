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
from math import nan, sqrt

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mee.errors import require
from mee.evaluation.metrics import query_values
from mee.evaluation.result import Direction


def paired_difference(a: ArrayLike, b: ArrayLike, cluster: ArrayLike) -> tuple[float, float]:
    """The mean of b - a over paired queries, and its standard error, clustered.

    Args:
        a: (N,) a value for each query, such as 100 * (rank <= 1) for R@1 in percent, or a mean of it over seeds.
        b: (N,) values of the same queries in the same order.
        cluster: (N,) of any kind that can be sorted, such as clip ids: queries of one clip have equal values.

    Returns:
        The difference and its standard error, in the unit of the values; NaN for the error of a single cluster.

    Raises:
        ValueError: there is no query, the lengths differ, or a value is not finite.
    """
    a, b, groups = np.asarray(a, np.float64), np.asarray(b, np.float64), np.asarray(cluster)
    shapes = f"values and clusters must be vectors of one length, not 0, got {a.shape}, {b.shape}, {groups.shape}"
    require(b.ndim == 1 and a.shape == b.shape == groups.shape and len(b) > 0, shapes)
    each = b - a
    require(bool(np.isfinite(each).all()), "values must be finite")
    difference = float(each.mean())
    _, place = np.unique(groups, return_inverse=True)
    sums = np.bincount(place, each - difference)
    count = len(sums)
    return difference, sqrt(count / (count - 1) * float(sums @ sums)) / len(each) if count > 1 else nan


def clustered_errors(a: Sequence[Direction], b: Sequence[Direction]) -> dict[str, float]:
    """The standard errors of how far b's figures are from a's, of all that are means over queries.

    a and b are one direction of two systems over the same captions, each measured with one or more seeds. Their
    means are compared: the error is that over clips, not that of another training. {} where ranks are not kept, or
    are not of the same clips, two at least.
    """
    clips = {tuple(map(len, part.ranks)) for part in (*a, *b)}
    sizes = clips.pop()
    if clips or len(sizes) < 2:
        return {}

    def means(side: Sequence[Direction]) -> dict[str, NDArray[np.float64]]:
        seeds = [query_values(np.concatenate(part.ranks)) for part in side]
        return {name: np.mean([seed[name] for seed in seeds], axis=0) for name in seeds[0]}

    old, new, cluster = means(a), means(b), np.repeat(np.arange(len(sizes)), sizes)
    return {name: paired_difference(old[name], new[name], cluster)[1] for name in old}
