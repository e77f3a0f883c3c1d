"""Scores in blocks, never as one matrix, and which pairs are right.

    block(rows)   S of some queries and all candidates, by fast float32 products
    pairs(q, g)   S of single pairs, as it is defined: the float64 value, rounded to float32
    margin        |block - pairs| is never more than this; 0 where both give the same numbers

Ranks are defined by `pairs`: equal pairs tie, whatever block they are in. Blocks decide all that is further apart
than the margin, and `pairs` decides the few others. The error bound of a float32 matrix product:

    |fl(x . y) - x . y| <= 8 sqrt(n) u |x|.|y|,   u = 2^-24

with n products in any order of summation: it fails with a probability of 2 exp(-8^2 / 2) < 1e-13 for rounding
errors that are mean-independent (Higham and Mary, 2019, theorem 3.1 with lambda = 8), plus two roundings of the
inputs and one of the result. It holds for float32, or bfloat16 with sums in float32: not for TF32, autocast, or
sums that a GPU rounds to bfloat16 on the way, hence `mee.products.full_products`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from math import sqrt
from typing import Final

import torch
from torch import Tensor

from mee.errors import require

ROUNDING: Final = 2.0**-24
BLOCK_SCORES = 2**20  # of a block: 4 MB, which a cache holds
LARGEST_BLOCK: Final = 2**25
FEWEST_ROWS = 128  # below, a matrix product is slowed down by reading the gallery


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


@dataclass(frozen=True)
class Positives:
    """P right pairs of Q queries and G candidates, each once."""

    query: Tensor  # (P,) int64
    candidate: Tensor  # (P,) int64
    queries: int
    candidates: int

    def __post_init__(self) -> None:
        flat = self.query * self.candidates + self.candidate
        require(len(torch.unique(flat)) == len(flat), "a right pair is named twice")

    def __len__(self) -> int:
        return len(self.query)

    @property
    def flipped(self) -> Positives:
        """The other direction: candidates are the queries."""
        return Positives(self.candidate, self.query, self.candidates, self.queries)

    def by_query(self) -> Positives:
        """The same pairs, queries ascending."""
        order = self.query.argsort(stable=True)
        return Positives(self.query[order], self.candidate[order], self.queries, self.candidates)

    def to(self, device: torch.device) -> Positives:
        """The same, on a device."""
        return Positives(self.query.to(device), self.candidate.to(device), self.queries, self.candidates)


def summation_margin(terms: int, size: float) -> float:
    """Error bound of a float32 inner product of `terms` products, whose absolute values sum to at most `size`."""
    return (8 * sqrt(terms) + 4) * ROUNDING * size


def query_parts(queries: int, candidates: int) -> Iterator[slice]:
    """The queries, a block's worth at a time: memory is bounded, whatever the gallery's size."""
    wide = max(1, candidates)
    count = max(1, BLOCK_SCORES // wide, min(FEWEST_ROWS, LARGEST_BLOCK // wide))
    for start in range(0, queries, count):
        yield slice(start, min(start + count, queries))
