"""Means, leading directions and whitening of rows that are read block by block.

x' = P' (x - mean),   P = U (a + s * mean(a))^(-1/2)     of the rows' covariance U a U'
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

EQUAL = 1e-12  # variance of equal rows, relative to their mean square
Rows = Callable[[], Iterable[Tensor]]  # (n, D) rows, block by block, each time that it is called


@dataclass(frozen=True)
class Side:
    """Input of one side of an expert, centred, and the map that whitens it softly."""

    mean: Tensor  # (D,)
    whiten: Tensor  # (D, K)
    square: Tensor  # (K,) the mean squares of what it gives for its own rows

    @classmethod
    def of(cls, rows: Rows, components: int, shrinkage: float, prior: int = 0) -> Side:
        """Mean and at most `components` leading directions of rows; with a `prior` p, those of no variance too."""
        count, mean, variance, directions, square = leading(rows, components, whole=prior > 0)
        level = (count * variance + prior * variance.mean()) / (count + prior) + shrinkage * variance.mean()
        level = level.clamp(min=torch.finfo(mean.dtype).tiny)
        differ = variance[0] > EQUAL * square  # else the map would be infinite
        scale = level.rsqrt() * differ
        return cls(mean, directions * scale, variance * scale.square())

    def __call__(self, rows: Tensor) -> Tensor:
        """(n, D) -> (n, K)."""
        return (rows - self.mean) @ self.whiten


def leading(rows: Rows, components: int, *, whole: bool = False) -> tuple[int, Tensor, Tensor, Tensor, Tensor]:
    """How many rows; mean (D,), variances (K,), directions (D, K), the largest first, K at least 1; mean square.

    `whole`: with directions of no variance.
    """
    count, mean = mean_of(rows)
    if whole or count > len(mean):
        spread = mean.new_zeros(len(mean), len(mean))
        for block in rows():
            centred = block - mean
            spread.addmm_(centred.T, centred)
        variance, directions = torch.linalg.eigh(spread / count)
        variance, directions = variance.flip(0).clamp(min=0), directions.flip(1)
    else:
        _, scale, transposed = torch.linalg.svd(torch.cat(list(rows())) - mean, full_matrices=False)
        variance, directions = scale.square() / count, transposed.T
    square = (variance.sum() + mean.square().sum()) / len(mean)
    variance, directions = variance[:components], directions[:, :components]
    rank = max(1, int((variance > 1e-6 * variance[0]).sum()))  # below is rounding
    rank = len(variance) if whole else rank
    return count, mean, variance[:rank], directions[:, :rank], square


def mean_of(rows: Rows) -> tuple[int, Tensor]:
    """How many they are, and their mean (D,)."""
    count, mean = 0, torch.zeros((), dtype=torch.float64)
    for block in rows():
        count += len(block)
        mean = mean + (block.mean(0) - mean) * (len(block) / count)
    return count, mean.to(block.dtype)
