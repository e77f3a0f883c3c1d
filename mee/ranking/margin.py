"""How far a float32 matrix product may be from the sum that it stands for.

    |fl(x . y) - x . y| <= 8 sqrt(n) u |x|.|y|,   u = 2^-24

with n products in any order of summation: the bound that holds but with a probability of 2 exp(-8^2 / 2) < 1e-13
for rounding errors that are mean-independent (Higham and Mary, 2019, theorem 3.1 with lambda = 8), plus two
roundings of the inputs and one of the result.
"""

from __future__ import annotations

from math import sqrt

ROUNDING = 2.0**-24


def summation_margin(terms: int, size: float) -> float:
    """Bound of the error of a float32 inner product.

    Args:
        terms: how many products are added up.
        size: largest sum of their absolute values; for unit vectors, 1.
    """
    return (8 * sqrt(terms) + 4) * ROUNDING * size
