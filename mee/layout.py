"""How the experts of one clip or query are packed side by side in one packed vector.

    packed = [ expert 0 (E_0) | expert 1 (E_1) | ... ]

The order of the experts is the M axis, everywhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, compress

import torch
from torch import Tensor

from mee.errors import require


@dataclass(frozen=True)
class Layout:
    """Names and embedding sizes of the experts, in the order of the M axis."""

    names: tuple[str, ...]
    sizes: tuple[int, ...]

    def __post_init__(self) -> None:
        once = 0 < len(set(self.names)) == len(self.names)
        require(once, f"experts must be named, each once, got {self.names}")
        sized = len(self.sizes) == len(self.names) and min(self.sizes) >= 1
        require(sized, f"every expert needs a positive size, got {self.sizes} for {self.names}")

    @property
    def total(self) -> int:
        """Length of a packed vector."""
        return sum(self.sizes)

    @property
    def slices(self) -> tuple[slice, ...]:
        """Each expert's columns of a packed vector."""
        ends = tuple(accumulate(self.sizes))
        return tuple(slice(end - size, end) for end, size in zip(ends, self.sizes))

    def take(self, packed: Tensor, pattern: Sequence[bool]) -> Tensor:
        """(N, total) -> (N, sum of the present sizes): the columns of the experts in `pattern`, no others."""
        if all(pattern):
            return packed
        return torch.cat([packed[:, columns] for columns in compress(self.slices, pattern)], dim=1)
