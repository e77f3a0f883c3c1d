"""The best k candidates of each query, from blocks of estimated scores: every one that may be among them.

    estimate = f (1 + d),  |f - score| <= margin,  |d| <= rounding
    =>  a candidate of the best k is estimated at least  t - rounding |t|,
        t = e_k - rounding / (1 - rounding) |e_k| - 2 margin

e_k: the k-th best estimate; without rounding this is e_k - 2 margin. The caller decides by exact scores, as
`top_of_block` does, which orders equal ones as the candidates are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mee.ranking.scores import Scores

SORT_ABOVE = 4  # times k: mean candidates a query at which those too far behind are dropped


@final
class Best:
    """Collects the best candidates of Q queries, block by block."""

    def __init__(self, queries: int, k: int, margin: Tensor, rounding: float = 0.0) -> None:
        """Start empty; k is at least 1.

        `margin`: (Q,) how far an estimate can be from the score; on the blocks' device, float64 where they are;
        `rounding`: how far an estimate can be rounded in addition, relative to itself.
        """
        self.k, self.margin, self.rounding = k, margin, rounding
        self.least = torch.full((queries,), -torch.inf, dtype=margin.dtype, device=margin.device)
        self._query = torch.empty(0, dtype=torch.int64, device=margin.device)
        self._candidate = self._query.clone()
        self._estimate = self.least[:0]
        self._new: list[tuple[Tensor, Tensor, Tensor]] = []
        self._waiting = 0

    def update(self, block: Tensor, first: int) -> None:
        """Add (Q, c) estimates of the candidates from number `first` on; -inf: never an answer."""
        if self.k <= block.shape[1] and not self._waiting and not len(self._query):
            start = kth_of(block, self.k).to(self.least)
            self.least = torch.maximum(self.least, self._reach(start, self.margin))
        query, candidate = above(block, self.least)
        if len(query):
            self.offer(query, candidate + first, block[query, candidate])

    def offer(self, query: Tensor, candidate: Tensor, estimate: Tensor) -> None:
        """Add (N,) queries, candidates and estimates of their scores; no pair twice."""
        self._new.append((query, candidate, estimate.to(self.least)))
        self._waiting += len(query)
        if len(self._query) + self._waiting > SORT_ABOVE * self.k * len(self.least):
            self.sort()

    def candidates(self) -> tuple[Tensor, Tensor, Tensor]:
        """(N,) queries in rising order, (N,) candidates, (N,) their estimates in falling order of each query."""
        self.sort()
        return self._query, self._candidate, self._estimate

    def sort(self) -> None:
        """Drop what is further behind the k-th best than the margin allows."""
        parts = [(self._query, self._candidate, self._estimate), *self._new]
        query, candidate, estimate = (torch.cat(columns) for columns in zip(*parts))
        order = estimate.argsort(descending=True, stable=True)
        order = order[query[order].argsort(stable=True)]
        query, candidate, estimate = query[order], candidate[order], estimate[order]
        count = torch.bincount(query, minlength=len(self.least))
        full = (count >= self.k).nonzero().squeeze(1)
        kth = (count.cumsum(0) - count)[full] + self.k - 1
        self.least[full] = torch.maximum(self.least[full], self._reach(estimate[kth], self.margin[full]))
        kept = (estimate >= self.least[query]) & (estimate > -torch.inf)
        self._query, self._candidate, self._estimate = query[kept], candidate[kept], estimate[kept]
        self._new, self._waiting = [], 0

    def _reach(self, kth: Tensor, margin: Tensor) -> Tensor:
        """The least estimate that may be among the best, by the k-th best estimates."""
        if not self.rounding:  # 0 times infinity is no number
            return kth - 2 * margin
        reach = kth - (self.rounding / (1 - self.rounding) * kth.abs() + 2 * margin)
        return reach - self.rounding * reach.abs()


def above(block: Tensor, least: Tensor) -> tuple[Tensor, Tensor]:
    """Where (Q, c) is finite and at least (Q,), or in bfloat16 at least that rounded down: rows and columns."""
    if block.device.type != "cpu":
        row, column = ((block >= least[:, None]) & (block > -torch.inf)).nonzero(as_tuple=True)
        return row, column
    if block.dtype == torch.bfloat16 and not (least > 0).all():
        block = block.float()
    if block.dtype == torch.bfloat16:  # positive numbers are ordered as their bits are, above all others
        bits = (least.numpy().view(np.int32) >> 16).astype(np.int16)
        passes: NDArray[np.bool_] = block.view(torch.int16).numpy() >= bits[:, None]
    else:
        passes = block.numpy() >= least.clamp_min(torch.finfo(least.dtype).min).numpy()[:, None]
    places = torch.from_numpy(np.flatnonzero(passes))  # several times faster than torch's nonzero
    return places // block.shape[1], places % block.shape[1]


def first_of(query: Tensor, queries: int, k: int) -> Tensor:
    """Of N entries sorted by query, the places of the first k of each: (Q, k); every query has k at least."""
    count = torch.bincount(query, minlength=queries)
    return (count.cumsum(0) - count)[:, None] + torch.arange(k, device=query.device)


def kth_of(block: Tensor, k: int) -> Tensor:
    """(Q,) the k-th best of each row of (Q, c)."""
    if block.device.type == "cpu":
        scores = block.float() if block.dtype == torch.bfloat16 else block
        return torch.from_numpy(-np.partition(-scores.numpy(), k - 1, axis=1)[:, k - 1])
    return block.topk(k, dim=1).values[:, -1]


@dataclass(frozen=True)
class Top:
    """The first k answers to N queries, on the CPU."""

    query: Tensor  # (N,) int64
    candidate: Tensor  # (N, k) int64
    score: Tensor  # (N, k) float32

    @classmethod
    def joined(cls, parts: Sequence[Top]) -> Top:
        """Parts one after another."""
        return cls(*(torch.cat([getattr(part, key) for part in parts]) for key in ("query", "candidate", "score")))

    def of(self, queries: Tensor) -> Top:
        """Some of them, whose numbers are given in rising order as they are here."""
        rows = torch.searchsorted(self.query, queries)
        return Top(self.query[rows], self.candidate[rows], self.score[rows])


def top_of_block(scores: Scores, block: Tensor, rows: slice, count: int) -> Top:
    """The first `count` answers, or all there are, to the queries of `rows`; `block` is `scores.block(rows)`."""
    count = min(count, block.shape[1])
    margin = torch.full((len(block),), scores.margin, dtype=block.dtype, device=block.device)
    best = Best(len(block), count, margin)
    best.update(block, 0)
    row, candidate, _ = best.candidates()
    exact = scores.pairs(row + rows.start, candidate)
    order = candidate.argsort(stable=True)
    for key, descending in ((exact, True), (row, False)):
        order = order[key[order].argsort(descending=descending, stable=True)]
    kept = order[first_of(row[order], len(block), count)]
    query = torch.arange(rows.start, rows.stop)
    return Top(query, candidate[kept].cpu(), exact[kept].cpu())
