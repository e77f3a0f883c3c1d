"""How long the parts of vectors are (the experts of the pattern, then the offset), and what float32 loses by it.

    |<a, b>| <= sum over parts m of |a_m| |b_m|        (Cauchy and Schwarz)
    |fl(q . x) - q . x| <= gamma_n sum of |q_i x_i| <= gamma_n sum over parts of ||q_m|| ||x_m||
    gamma_n = n u / (1 - n u),   u = 2^-24

for float32 and any order of n operations on each product (Higham, Accuracy and Stability of Numerical Algorithms,
section 3.1).
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from index.scanners.scanner import Floats, Shape

LARGEST_NORM = 1.001  # of a clip's expert; what is put into an index is held to it
UNIT = 2.0**-24  # of float32
ULP = 2.0**-22  # more than a score's own rounding to float32, and than that of a threshold made of it
BFLOAT16 = 2.0**-8  # largest relative error of a number rounded to bfloat16, which has 8 bits


def gamma(terms: int) -> float:
    """gamma_n of an inner product of so many terms, of inputs that are rounded to float32 and a rounded result."""
    operations = terms + 6
    return operations * UNIT / (1 - operations * UNIT)


Doubles = NDArray[np.float64]
TINY: Final = 2.0**-100  # more than what all products of a score lose that are too small for float32


@lru_cache(maxsize=256)
def part_starts(shape: Shape) -> tuple[int, ...]:
    """At which column each part starts."""
    ends = np.cumsum((0, *shape.sizes)).tolist()
    return tuple(ends if shape.offset else ends[:-1])


def part_norms(vectors: NDArray[np.floating[Any]], shape: Shape) -> Doubles:
    """(N, parts) the norm of each part of (N, W) vectors, in float64."""
    squares = np.square(vectors, dtype=np.float64)
    return np.asarray(np.sqrt(np.add.reduceat(squares, part_starts(shape), axis=1)))


def longest_parts(vectors: Floats, shape: Shape) -> Doubles:
    """(parts,) no row of (N, W) vectors has a longer part; summed in float32, and rounded up for that."""
    starts = part_starts(shape)
    ends = (*starts[1:], shape.width)
    longest = [_longest(vectors[:, a:b]) for a, b in zip(starts, ends)]
    return np.array(longest) * (1 + gamma(shape.width)) + TINY


def _longest(part: Floats) -> float:
    if part.shape[1] == 1:  # an offset may be too large to be squared
        return float(np.abs(part).max())
    return float(np.sqrt(np.float64(np.einsum("nd,nd->n", part, part).max())))
