"""Paired comparison: how far two systems differ over the same queries, with captions of one clip as one cluster.

    d_q = b_q - a_q,    D = mean over the N queries of d_q
    s.e.(D)^2 = C / (C - 1) * sum over the C clusters c of (sum over q in c of (d_q - D))^2 / N^2

Captions of one clip find the same clip among the same others, so their ranks are not independent: a standard error
over queries would be too small. D is a ratio of two sums over clusters, of d_q and of 1, and this is the usual
variance of a ratio estimator (Cochran, Sampling Techniques, 1977, chapter 6), equal to the cluster-robust one of
Liang and Zeger (Biometrika, 1986). With one caption a clip it is the standard error of a mean of N differences.
"""

from __future__ import annotations

from math import nan, sqrt

import numpy as np
from numpy.typing import ArrayLike

from mee.errors import require


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
