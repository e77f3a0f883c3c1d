"""Which rows of a unit may be found: those that are neither removed nor filtered out."""

from __future__ import annotations

from functools import cached_property
from typing import final

import numpy as np
from numpy.typing import NDArray


@final
class Allowed:
    """A mask over N rows, in the forms that scanners want."""

    def __init__(self, mask: NDArray[np.bool_]) -> None:
        self.mask = mask  # (N,) bool

    def __len__(self) -> int:
        return len(self.mask)

    @cached_property
    def count(self) -> int:
        """How many rows are allowed."""
        return int(np.count_nonzero(self.mask))

    @cached_property
    def rows(self) -> NDArray[np.int64]:
        """(count,) the allowed rows, rising."""
        return np.flatnonzero(self.mask)

    @cached_property
    def bits(self) -> NDArray[np.uint8]:
        """The mask as FAISS's bitmaps have it: row i is bit i % 8 of byte i // 8."""
        return np.packbits(self.mask, bitorder="little")

    def __and__(self, other: Allowed) -> Allowed:
        return Allowed(self.mask & other.mask)


def both(one: Allowed | None, other: Allowed | None) -> Allowed | None:
    """What both allow; None allows everything."""
    if one is None or other is None:
        return other if one is None else one
    return one & other
