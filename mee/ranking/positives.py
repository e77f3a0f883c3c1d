"""Positives: which candidates are right for which queries, as pairs."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Positives:
    """P right pairs of Q queries and G candidates, each once."""

    query: Tensor  # (P,) int64
    candidate: Tensor  # (P,) int64
    queries: int
    candidates: int

    def __post_init__(self) -> None:
        flat = self.query * self.candidates + self.candidate
        if len(torch.unique(flat)) != len(flat):
            raise ValueError("a right pair is named twice")

    def __len__(self) -> int:
        return len(self.query)

    @property
    def flipped(self) -> Positives:
        """The other direction: candidates ask for queries."""
        return Positives(self.candidate, self.query, self.candidates, self.queries)

    def by_query(self) -> Positives:
        """The same pairs, queries ascending."""
        order = self.query.argsort(stable=True)
        return Positives(self.query[order], self.candidate[order], self.queries, self.candidates)

    def to(self, device: torch.device) -> Positives:
        """The same, on a device."""
        return Positives(self.query.to(device), self.candidate.to(device), self.queries, self.candidates)
