"""Scores: S(q, g) of Q queries and G candidates, never held whole.

    block(rows)   S of some queries and all candidates, by fast float32 products
    pairs(q, g)   S of single pairs, as it is defined: the float64 value, rounded to float32
    margin        |block - pairs| is never more than this; 0 where both give the same numbers

Ranks are defined by `pairs`: equal pairs tie, whatever block or process they are computed in. Blocks
decide all that is further apart than the margin, and the few others are decided by `pairs`.

Matrix products in the precision that they are asked for, whatever else the program lets torch do.

Margins (mee/ranking/scores.py, index/scanners/bounds.py) are those of float32, or of bfloat16 with sums in
float32: not of TF32, of autocast, or of sums that a GPU rounds to bfloat16 on the way.

How far a float32 matrix product may be from the sum that it stands for.

    |fl(x . y) - x . y| <= 8 sqrt(n) u |x|.|y|,   u = 2^-24

with n products in any order of summation: the bound that holds but with a probability of 2 exp(-8^2 / 2) < 1e-13
for rounding errors that are mean-independent (Higham and Mary, 2019, theorem 3.1 with lambda = 8), plus two
roundings of the inputs and one of the result.

How queries are divided into blocks: memory for a block's scores is bounded, whatever the gallery's size.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from math import sqrt

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


@contextmanager
def full_products(device: torch.device) -> Iterator[None]:
    """For as long as it lasts; what was set before is set again afterwards."""
    matmul = torch.backends.cuda.matmul
    precision, reduced = torch.get_float32_matmul_precision(), matmul.allow_bf16_reduced_precision_reduction
    torch.set_float32_matmul_precision("highest")
    if device.type == "cuda":
        matmul.allow_bf16_reduced_precision_reduction = False
    try:
        with torch.autocast(device.type, enabled=False):
            yield
    finally:
        torch.set_float32_matmul_precision(precision)
        if device.type == "cuda":
            matmul.allow_bf16_reduced_precision_reduction = reduced


ROUNDING = 2.0**-24


def summation_margin(terms: int, size: float) -> float:
    """Bound of the error of a float32 inner product.

    Args:
        terms: how many products are added up.
        size: largest sum of their absolute values; for unit vectors, 1.
    """
    return (8 * sqrt(terms) + 4) * ROUNDING * size


BLOCK_SCORES = 2**21  # of a block: 8 MB, which a cache holds
LARGEST_BLOCK = 2**25
FEWEST_ROWS = 128  # below, a matrix product is slowed down by reading the gallery


def query_parts(queries: int, candidates: int) -> Iterator[slice]:
    """The queries, a block's worth at a time."""
    wide = max(1, candidates)
    count = max(1, BLOCK_SCORES // wide, min(FEWEST_ROWS, LARGEST_BLOCK // wide))
    for start in range(0, queries, count):
        yield slice(start, min(start + count, queries))
