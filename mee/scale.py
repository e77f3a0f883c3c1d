"""One scale for the experts of a mixture, and weights that need no training: how much a sentence stands out.

A bank of general sentences is scored against a gallery. Of each expert m, over the clips that have its stream:

    mean_m, spread_m      mean and standard deviation of all similarities, bank x gallery
    top_m, top_spread_m   the same of each sentence's best similarity

    s(q, v) = sum over m in A(v) of w_m(q) (<t_m(q), x_m(v)> - mean_m) / spread_m
    w(q)    = softmax of l_m(q) + SHARPNESS * (best_m(q) - top_m) / top_spread_m

best_m(q) is the best similarity of the sentence in the gallery: a sentence that is about sound finds a clip whose
sound fits better than the best of nearly every other sentence. Division by the spread changes the logits, the mean
is an offset: so the score is that of mee.scoring, and search stays exact.

Nothing here imports torch: an index holds a scale.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Doubles = NDArray[np.float64]
SHARPNESS = 1.0


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
