"""The true ten best of every query, found without the code that is measured.

float32 products of all clips -> the best 32 a query -> scored again in float64 -> the best 10, ties by number
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.index_data import Part, Sentences
from benchmarks.index_timing import Numbers
from mee.layers.linear import product
from mee.layout import Layout

BEST = 10
CANDIDATES = 32
BLOCK = 16_384  # clips


def true_best(parts: list[Part], sentences: Sentences, layout: Layout) -> Numbers:
    """(Q, 10) numbers of the best clips; -1 where there are no more.

    Raises:
        ValueError: float32 cannot tell candidates from the rest.
    """
    scores = torch.empty(len(sentences.packed), 0)
    rows = torch.empty(len(sentences.packed), 0, dtype=torch.int64)
    for part in parts:
        queries = torch.from_numpy(sentences.vectors(part.pattern, layout)).float()
        for start in range(0, len(part.rows), BLOCK):
            block = torch.from_numpy(np.array(part.vectors[start : start + BLOCK]))
            numbers = torch.from_numpy(part.rows[start : start + BLOCK]).expand(len(queries), -1)
            scores = torch.cat([scores, product(queries, block)], 1)
            rows = torch.cat([rows, numbers], 1)
            scores, kept = scores.topk(min(CANDIDATES, scores.shape[1]))
            rows = rows.gather(1, kept)
    if scores.shape[1] == CANDIDATES and bool((scores[:, BEST - 1] - scores[:, -1] < 1e-5).any()):
        raise ValueError("more than 32 clips score alike: the ten best cannot be told apart in float32")
    exact = _exact(parts, sentences, layout, rows.numpy())
    order = np.lexsort((rows.numpy(), -exact))[:, :BEST]
    best = np.full((len(exact), BEST), -1, np.int64)
    best[:, : order.shape[1]] = np.take_along_axis(rows.numpy(), order, 1)
    return best


def recall(found: Numbers, true: Numbers) -> float:
    """The share of the true best that is among the first ten found."""
    hits = sum(len(set(some[:BEST]) & (set(best) - {-1})) for some, best in zip(found.tolist(), true.tolist()))
    return float(hits / (true >= 0).sum())


def _exact(parts: list[Part], sentences: Sentences, layout: Layout, rows: Numbers) -> NDArray[np.float64]:
    """(Q, C) float64 scores of candidates."""
    scores = np.full(rows.shape, -np.inf)
    for part in parts:
        queries, where = np.nonzero(np.isin(rows, part.rows))
        place = np.searchsorted(part.rows, rows[queries, where])
        wanted = sentences.vectors(part.pattern, layout)
        for some in np.array_split(np.arange(len(queries)), len(queries) // 4096 + 1):
            clips = part.vectors[place[some]].astype(np.float64)
            scores[queries[some], where[some]] = (clips * wanted[queries[some]]).sum(1)
    return scores
