"""How an availability pattern is written: "1011" says that the third expert is missing, "0000" that all are."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from mee.scoring import Pattern


def code_of(pattern: Sequence[bool]) -> str:
    """M flags -> M digits."""
    return "".join("1" if present else "0" for present in pattern)


def pattern_of(code: str) -> Pattern:
    """M digits -> M flags.

    Raises:
        ValueError: it is no code.
    """
    if not code or set(code) - {"0", "1"}:
        raise ValueError(f"'{code}' is no availability pattern")
    return tuple(digit == "1" for digit in code)


def code_column(available: NDArray[np.bool_]) -> pa.Array:
    """(N, M) flags -> N codes."""
    if not len(available):
        return pa.array([], type=pa.string())
    patterns, group = np.unique(available, axis=0, return_inverse=True)
    codes = pa.array([code_of(pattern) for pattern in patterns], type=pa.string())
    return codes.take(pa.array(group.reshape(-1)))


def by_pattern(available: NDArray[np.bool_]) -> Iterator[tuple[Pattern, NDArray[np.int64]]]:
    """Patterns of (N, M) flags that have a stream, each with the rising rows that have it."""
    if not len(available):
        return
    patterns, group = np.unique(available, axis=0, return_inverse=True)
    for number, pattern in enumerate(patterns):
        if pattern.any():
            yield tuple(pattern.tolist()), np.flatnonzero(group.reshape(-1) == number)
