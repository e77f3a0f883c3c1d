"""Parts of vectors: the experts of the pattern, then the constant; how long they are.

|<a, b>| <= sum over parts m of |a_m| |b_m|        (Cauchy)
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from index.rounding import gamma
from index.scanners.scanner import Floats, Shape

Doubles = NDArray[np.float64]
TINY: Final = 2.0**-100  # more than what all products of a score lose that are too small for float32


@lru_cache(maxsize=256)
def part_starts(shape: Shape) -> tuple[int, ...]:
    """At which column each part starts."""
    ends = np.cumsum((0, *shape.sizes)).tolist()
    return tuple(ends if shape.constant else ends[:-1])


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
    if part.shape[1] == 1:  # a constant may be too large to be squared
        return float(np.abs(part).max())
    return float(np.sqrt(np.float64(np.einsum("nd,nd->n", part, part).max())))
