"""Scores: S(q, g) of Q queries and G candidates, never held whole.

    block(rows)   S of some queries and all candidates, by fast float32 products
    pairs(q, g)   S of single pairs, as it is defined: the float64 value, rounded to float32
    margin        |block - pairs| is never more than this; 0 where both give the same numbers

Ranks are defined by `pairs`: equal pairs tie, whatever block or process they are computed in. Blocks
decide all that is further apart than the margin, and the few others are decided by `pairs`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor


class Scores(ABC):
    """Scores of `queries` x `candidates`."""

    queries: int
    candidates: int
    margin: float
    device: torch.device

    @abstractmethod
    def block(self, rows: slice) -> Tensor:
        """(q, G): the queries of `rows` against all candidates, a new tensor.

        float32; float64 where scores of another system are, with margin 0.
        """

    @abstractmethod
    def pairs(self, queries: Tensor, candidates: Tensor) -> Tensor:
        """(N,) of the type of `block`: the score of each pair of two (N,) int64 vectors."""
