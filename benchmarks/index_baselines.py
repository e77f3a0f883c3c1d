"""Exact rivals: one FAISS index a pattern, and brute force.

FAISS flat            IndexFlatIP a pattern, float32: the reference. Only its search is timed, and merging: its
                      query vectors are weighted beforehand.
FAISS flat, mapped    the same without a copy: faiss.knn over the memory-mapped vectors
numpy, torch          a matrix product a pattern, and a selection
naive                 (queries, gallery, experts) weights and similarities, in blocks of queries
"""

from __future__ import annotations

from typing import Any, final

import faiss
import numpy as np
import torch

from benchmarks.index_case import Case, merged
from benchmarks.index_data import Floats
from benchmarks.index_timing import Numbers, Side
from benchmarks.index_truth import BEST

NAIVE_BLOCK = 2**25  # numbers of the (queries, gallery, experts) tensor at a time


@final
class FaissFlat(Side):
    """One index a pattern."""

    name = "FAISS flat"

    def __init__(self, case: Case) -> None:
        self.case, self.scanned, self.held = case, case.size, case.size
        self.indexes = [faiss_flat(part.vectors) for part in case.parts]
        _ = case.prepared

    def one(self, query: int) -> Any:
        asked = slice(query, query + 1)
        return merged(self.case, lambda n: self.indexes[n].search(self.case.prepared[n][asked], BEST))

    def many(self) -> Any:
        return merged(self.case, lambda n: self.indexes[n].search(self.case.prepared[n], BEST))


@final
class FaissMapped(Side):
    """No index at all: FAISS's search over the memory-mapped vectors."""

    name = "FAISS flat, mapped"

    def __init__(self, case: Case) -> None:
        self.case, self.scanned, self.held = case, case.size, case.size
        _ = case.prepared

    def one(self, query: int) -> Any:
        return merged(self.case, lambda n: self._search(n, slice(query, query + 1)))

    def many(self) -> Any:
        return merged(self.case, lambda n: self._search(n, slice(None)))

    def _search(self, number: int, asked: slice) -> tuple[Floats, Numbers]:
        vectors = self.case.parts[number].vectors
        queries = self.case.prepared[number][asked]
        found: tuple[Floats, Numbers] = faiss.knn(
            queries, vectors, min(BEST, len(vectors)), faiss.METRIC_INNER_PRODUCT
        )
        return found


@final
class BruteForce(Side):
    """A product a pattern, in numpy or torch."""

    def __init__(self, case: Case, library: str) -> None:
        self.name, self.case, self.torch = library, case, library == "torch"
        self.scanned, self.held = case.size, case.size
        self.tensors = [torch.from_numpy(np.asarray(part.vectors)) for part in case.parts] if self.torch else []
        _ = case.prepared

    def one(self, query: int) -> Any:
        return merged(self.case, lambda n: self._search(n, slice(query, query + 1)))

    def many(self) -> Any:
        return merged(self.case, lambda n: self._search(n, slice(None)))

    def _search(self, number: int, asked: slice) -> tuple[Floats, Numbers]:
        queries = self.case.prepared[number][asked]
        if self.torch:
            scores = torch.from_numpy(queries) @ self.tensors[number].T
            best = scores.topk(min(BEST, scores.shape[1]))
            return best.values.numpy(), best.indices.numpy()
        products = queries @ self.case.parts[number].vectors.T
        count = min(BEST, products.shape[1])
        at = np.argpartition(products, products.shape[1] - count, axis=1)[:, products.shape[1] - count :]
        return np.take_along_axis(products, at, 1), at


@final
class Naive(Side):
    """The score as it is usually written."""

    name = "naive"

    def __init__(self, case: Case) -> None:
        experts = len(case.layout.names)
        size = case.layout.sizes[0]  # of all of them: they are stacked
        self.video = torch.from_numpy(case.dense()).view(case.clips, experts, size)
        self.text = torch.from_numpy(case.sentences.packed).view(-1, experts, size)
        self.logits = torch.from_numpy(case.sentences.logits)
        self.available = torch.from_numpy(case.available)
        self.nothing = ~self.available.any(1)
        self.block = max(8, NAIVE_BLOCK // (case.clips * experts))
        self.scanned = self.held = self.video.nbytes

    def one(self, query: int) -> Any:
        return self._search(slice(query, query + 1))

    def many(self) -> Any:
        starts = range(0, len(self.text), self.block)
        return torch.cat([self._search(slice(start, start + self.block)) for start in starts])

    def _search(self, asked: slice) -> torch.Tensor:
        similarity = torch.einsum("qme,gme->qgm", self.text[asked], self.video)
        weights = self.logits[asked, None].masked_fill(~self.available, -torch.inf).softmax(-1)
        scores = (weights * similarity).sum(-1).masked_fill_(self.nothing, -torch.inf)
        return scores.topk(min(BEST, scores.shape[1])).indices


def faiss_flat(vectors: Floats) -> Any:
    """An IndexFlatIP of its own."""
    index = faiss.IndexFlatIP(vectors.shape[1])
    for start in range(0, len(vectors), 2**16):  # a copy of the map would stay beside it
        index.add(np.ascontiguousarray(vectors[start : start + 2**16]))
    return index
