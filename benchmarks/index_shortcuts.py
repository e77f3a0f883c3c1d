"""Rivals that ignore the denominator, or the clip's other experts, and miss clips for it.

one flat index        missing streams are zeros, the query's weights are those of a clip that has everything
... re-ranked         its best 1,000 scored exactly
late fusion           an IndexFlatIP an expert, its best 1,000, weighted sum of what the lists hold over the sum
                      of the weights of the clip's experts
... re-ranked         all that the lists hold scored exactly
"""

from __future__ import annotations

from typing import Any, final

import numpy as np

from benchmarks.index_baselines import faiss_flat
from benchmarks.index_case import Case, best
from benchmarks.index_timing import Side
from benchmarks.index_truth import BEST

LISTED = 1000  # clips that are scored exactly, or fused


@final
class OneFlat(Side):
    """One index that ignores the denominator."""

    def __init__(self, case: Case, reranked: bool) -> None:
        self.name = "one flat index, best 1,000 re-ranked" if reranked else "one flat index"
        self.case, self.listed = case, LISTED if reranked else BEST
        self.index = faiss_flat(case.dense())
        self.scanned = self.held = 4 * case.clips * case.layout.total
        self.vectors = case.sentences.vectors((True,) * len(case.layout.names), case.layout).astype(np.float32)
        _ = case.prepared, case.place

    def one(self, query: int) -> Any:
        _, found = self.index.search(self.vectors[query : query + 1], self.listed)
        return self.case.rerank(query, found[0][found[0] >= 0]) if self.listed > BEST else found

    def many(self) -> Any:
        _, found = self.index.search(self.vectors, self.listed)
        if self.listed == BEST:
            return found
        return [self.case.rerank(query, some[some >= 0]) for query, some in enumerate(found)]


@final
class LateFusion(Side):
    """One index an expert."""

    def __init__(self, case: Case, reranked: bool) -> None:
        self.name = "late fusion, re-ranked" if reranked else "late fusion"
        self.case, self.reranked = case, reranked
        flags = case.available
        self.rows = [np.flatnonzero(flags[:, m]) for m in range(flags.shape[1])]
        self.indexes = []
        for m in range(flags.shape[1]):
            columns = np.empty((len(self.rows[m]), case.layout.sizes[m]), np.float32)
            for part in case.parts:
                if part.pattern[m]:
                    start = sum(size for size, has in zip(case.layout.sizes[:m], part.pattern) if has)
                    columns[np.searchsorted(self.rows[m], part.rows)] = part.vectors[
                        :, start : start + case.layout.sizes[m]
                    ]
            self.indexes.append(faiss_flat(columns))
        self.weights = np.exp(case.sentences.logits - case.sentences.logits.max(1, keepdims=True))
        self.scanned = self.held = sum(4 * len(rows) * size for rows, size in zip(self.rows, case.layout.sizes))
        _ = case.prepared, case.place

    def one(self, query: int) -> Any:
        clips, scores = [], []
        for m, (index, columns) in enumerate(zip(self.indexes, self.case.layout.slices)):
            found, at = index.search(self.case.sentences.packed[query : query + 1, columns], LISTED)
            kept = at[0] >= 0
            clips.append(self.rows[m][at[0][kept]])
            scores.append(self.weights[query, m] * found[0][kept])
        union, its = np.unique(np.concatenate(clips), return_inverse=True)
        if self.reranked:
            return self.case.rerank(query, union)
        fused = np.bincount(its, np.concatenate(scores), len(union))
        return union[best(fused / (self.case.available[union] @ self.weights[query]))]

    def many(self) -> Any:
        return [self.one(query) for query in range(len(self.weights))]
