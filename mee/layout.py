"""How the experts of one clip or query are packed side by side in one packed vector.

    packed = [ expert 0 (E_0) | expert 1 (E_1) | ... ]

The order of the experts is the M axis, everywhere. A layout also says what a missing expert means for a score.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING, get_args

from mee.config import Missing
from mee.errors import require

if TYPE_CHECKING:
    from torch import Tensor

Pattern = tuple[bool, ...]  # which experts a clip has


@dataclass(frozen=True)
class Layout:
    """Names and sizes of the experts, in the order of the M axis, and how packed vectors make a score."""

    names: tuple[str, ...]
    sizes: tuple[int, ...]
    missing: Missing = "evidence"  # rule of missing streams, see mee.scoring
    words: tuple[str, ...] = ()  # experts of which a clip has several vectors: the best counts

    def __post_init__(self) -> None:
        once = 0 < len(set(self.names)) == len(self.names)
        require(once, f"experts must be named, each once, got {self.names}")
        sized = len(self.sizes) == len(self.names) and min(self.sizes) >= 1
        require(
            self.missing in get_args(Missing), f"missing must be evidence or renormalise, got {self.missing!r:.40}"
        )
        require(set(self.words) <= set(self.names), f"words {self.words} are no experts, {self.names}")
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

    def spread(self, values: Tensor) -> Tensor:
        """(N, M), a value for each expert -> (N, total): the value in all of the expert's columns."""
        import torch  # here: what reads an index needs none

        parts = zip(values.split(1, dim=1), self.sizes)
        return torch.cat([part.expand(-1, size) for part, size in parts], dim=1)
