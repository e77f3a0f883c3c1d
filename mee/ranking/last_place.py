"""Clips that nothing can find share the last place, whatever a normalisation takes from their scores.

    S''(q, j) = lowest, where j has no stream that is scored, else S'(q, j)

Without it a clip that has the lowest score for every caption of the bank would be given that much more.
"""

from __future__ import annotations

from typing import final

from torch import Tensor

from mee.ranking.scores import Scores


@final
class LastPlaced(Scores):
    """Scores of which some clips are held below all others."""

    def __init__(self, scores: Scores, lost: Tensor, lowest: float) -> None:
        """Hold them there.

        Args:
            scores: of Q queries and G clips.
            lost: (G,) bool: the clips that nothing can find.
            lowest: below every score of the others.
        """
        self.scores, self.lost, self.lowest = scores, lost.to(scores.device), lowest
        self.queries, self.candidates = scores.queries, scores.candidates
        self.margin, self.device = scores.margin, scores.device

    def block(self, rows: slice) -> Tensor:
        """(q, G), see `Scores`."""
        return self.scores.block(rows).masked_fill(self.lost, self.lowest)

    def pairs(self, queries: Tensor, candidates: Tensor) -> Tensor:
        """(N,), see `Scores`."""
        return self.scores.pairs(queries, candidates).masked_fill(self.lost[candidates], self.lowest)
