"""How the experts of one clip or query are packed side by side in one packed vector, and put on one scale.

    packed = [ expert 0 (E_0) | expert 1 (E_1) | ... ]

The order of the experts is the M axis, everywhere. A layout also says what a missing expert means for a score.

A scale gives weights that need no training: how much a sentence stands out. A bank of general sentences is scored
against a gallery. Of each expert m, over the clips that have its stream:

    mean_m, spread_m      mean and standard deviation of all similarities, bank x gallery
    top_m, top_spread_m   the same of each sentence's best similarity

    s(q, v) = sum over m in A(v) of w_m(q) (<t_m(q), x_m(v)> - mean_m) / spread_m
    w(q)    = softmax of l_m(q) + SHARPNESS * (best_m(q) - top_m) / top_spread_m

best_m(q) is the best similarity of the sentence in the gallery: a sentence about a sound finds a clip whose sound
fits better than the best clip of nearly every other sentence. Division by the spread changes the logits, the mean
is an offset: so the score is that of mee.scoring, up to a factor of the query, and search stays exact.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING, get_args

import numpy as np
from numpy.typing import NDArray

from mee.config import Missing
from mee.errors import require

if TYPE_CHECKING:
    from torch import Tensor

Doubles = NDArray[np.float64]
SHARPNESS = 1.0  # 1 and 2 are equal within error on clips and sentences that no table shows
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


@dataclass(frozen=True)
class Scale:
    """Measured with one bank and one gallery; each has a number for each of the M experts."""

    mean: tuple[float, ...]
    spread: tuple[float, ...]  # above 0
    top: tuple[float, ...]
    top_spread: tuple[float, ...]  # above 0

    def logits(self, best: Doubles) -> Doubles:
        """(Q, M) best similarities of sentences -> (Q, M) to be added to their mixture logits.

        -inf of an expert that no clip has leaves it out.
        """
        stands_out = (best - np.array(self.top)) / np.array(self.top_spread)
        return np.asarray(SHARPNESS * stands_out - np.log(self.spread))
