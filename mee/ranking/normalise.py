"""Test-time normalisation of scores against hubs: clips that are near to everything.

    QB-Norm   S'(q, j) = S(q, j) - (L_j - mean of L) / beta for queries whose best clip by S is in A, else S(q, j)
              L_j = logsumexp over b of beta S(b, j),   A = {best clip of b}, over a bank of training captions b
    NNN       S'(q, j) = S(q, j) - alpha * mean of the k largest S(b, j) over the bank
    DSL       S'(q, j) = S(q, j) * exp(beta S(q, j)) / sum over all test queries q' of exp(beta S(q', j))

QB-Norm: Bogolin et al. (arXiv 2112.12777), the dynamic inverted softmax in its logarithm, which ranks clips alike;
without the mean of L, which is ours, queries that change would lose to all others in video to text. NNN:
Chowdhury et al. (arXiv 2410.24114). DSL: Cheng et al. (arXiv 2109.04290); it looks at all test queries together,
so it is for evaluation only. QB-Norm and NNN are one offset a clip.

    S''(q, j) = lowest, where j has no stream that is scored, else S'(q, j)

Clips that no query can find share the last place: an offset must not raise them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from mee.ranking.scores import ROUNDING, Scores, query_parts
from mee.ranking.top import top_of_block


@dataclass(frozen=True)
class ClipOffsets:
    """Offsets that are subtracted from the scores of G clips."""

    offset: Tensor  # (G,) float32
    active: Tensor | None = None  # (G,) bool: only queries whose best clip is one of these change; None: all do


def qb_norm(bank: Scores, beta: float) -> ClipOffsets:
    """Offsets of QB-Norm from the scores of a bank of training captions."""
    total = torch.full((bank.candidates,), -torch.inf, dtype=torch.float64, device=bank.device)
    active = torch.zeros(bank.candidates, dtype=torch.bool, device=bank.device)
    for rows, block in _blocks(bank):
        total = torch.logaddexp(total, (beta * block.double()).logsumexp(0))
        active[top_of_block(bank, block, rows, 1).candidate[:, 0].to(bank.device)] = True
    return ClipOffsets(((total - total.mean()) / beta).float(), active)


def nnn(bank: Scores, neighbours: int, alpha: float) -> ClipOffsets:
    """Offsets of NNN from the scores of a bank of training captions, all of it where it has fewer than k."""
    largest = torch.empty(0, bank.candidates, device=bank.device)
    for _, block in _blocks(bank):
        both = torch.cat([largest, block])
        largest = both.topk(min(neighbours, len(both)), dim=0).values
    return ClipOffsets((alpha * largest.double().mean(0)).float())


@final
class ShiftedScores(Scores):
    """S(q, j) - c_j, for the queries that the offsets apply to."""

    def __init__(self, scores: Scores, offsets: ClipOffsets) -> None:
        self.scores, self.offset = scores, offsets.offset
        self.queries, self.candidates, self.device = scores.queries, scores.candidates, scores.device
        largest = float(self.offset.abs().max()) if len(self.offset) else 0.0
        # two more roundings; a margin is above 12 roundings of the largest score
        self.margin = 1.25 * scores.margin + 4 * ROUNDING * (1 + largest) if scores.margin else 0.0
        self._changes = torch.ones(self.queries, dtype=torch.bool, device=self.device)
        if offsets.active is not None:
            for rows, block in _blocks(scores):
                best = top_of_block(scores, block, rows, 1).candidate[:, 0].to(self.device)
                self._changes[rows] = offsets.active[best]

    def block(self, rows: slice) -> Tensor:
        """(q, G) float32, see `Scores`."""
        return self.scores.block(rows) - self._changes[rows, None] * self.offset

    def pairs(self, queries: Tensor, candidates: Tensor) -> Tensor:
        """(N,) float32, see `Scores`."""
        return self.scores.pairs(queries, candidates) - self._changes[queries] * self.offset[candidates]


@final
class DualSoftmaxScores(Scores):
    """S(q, j) times the softmax of beta S(., j) over all test queries."""

    def __init__(self, scores: Scores, beta: float) -> None:
        self.scores, self.beta = scores, beta
        self.queries, self.candidates, self.device = scores.queries, scores.candidates, scores.device
        total = torch.full((self.candidates,), -torch.inf, dtype=torch.float64, device=self.device)
        largest = 0.0
        for _, block in _blocks(scores):
            total = torch.logaddexp(total, (beta * block.double()).logsumexp(0))
            largest = max(largest, float(block.abs().max()))
        self._total = total
        # the softmax is at most 1, and S' has the slope p (1 + beta S)
        self.margin = scores.margin * (1 + beta * largest) + 4 * ROUNDING * largest if scores.margin else 0.0

    def block(self, rows: slice) -> Tensor:
        """(q, G) float32, see `Scores`."""
        return self._weighed(self.scores.block(rows), self._total)

    def pairs(self, queries: Tensor, candidates: Tensor) -> Tensor:
        """(N,) float32, see `Scores`."""
        return self._weighed(self.scores.pairs(queries, candidates), self._total[candidates])

    def _weighed(self, scores: Tensor, total: Tensor) -> Tensor:
        scores = scores.double()
        return (scores * (self.beta * scores - total).exp()).float()


def _blocks(scores: Scores) -> Iterator[tuple[slice, Tensor]]:
    return ((rows, scores.block(rows)) for rows in query_parts(scores.queries, scores.candidates))


@final
class LastPlaced(Scores):
    """Scores with some clips below all others."""

    def __init__(self, scores: Scores, lost: Tensor, lowest: float) -> None:
        """`lost`: (G,) bool, the clips below all others; `lowest`: their score, below every other."""
        self.scores, self.lost, self.lowest = scores, lost.to(scores.device), lowest
        self.queries, self.candidates = scores.queries, scores.candidates
        self.margin, self.device = scores.margin, scores.device

    def block(self, rows: slice) -> Tensor:
        """(q, G), see `Scores`."""
        return self.scores.block(rows).masked_fill(self.lost, self.lowest)

    def pairs(self, queries: Tensor, candidates: Tensor) -> Tensor:
        """(N,), see `Scores`."""
        return self.scores.pairs(queries, candidates).masked_fill(self.lost[candidates], self.lowest)
