"""Exact search of many queries on a CPU by short prefixes of codes: see index/scanners/coding.py.

A product of prefixes is an upper bound of the score. Clips whose bound reaches the k-th best score so far are
estimated by their vectors. Some of the chunks give a first bound, so that few clips reach it.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from typing import TYPE_CHECKING, Final, final

import numpy as np
import torch
from torch import Tensor

from mee.products import float32_product
from mee.ranking import Best, above, kth_of

if TYPE_CHECKING:
    from index.queries import PatternVectors
    from index.scanners import Certified, Floats, Partition, Rows

CHUNK: Final = 1024  # clips of a block: with 1,000 queries, 4 MB of scores
EACH: Final = 8  # chunks, of which one gives first bounds
DENSE: Final = 0.05  # of a block: the vectors of so many pairs are multiplied faster in a product
GATHERED: Final = 2**17  # numbers of pairs that are multiplied at a time: they stay in the cache


def short_codes(partition: Partition) -> Certified | None:
    """The partition's scanner, if it has codes of short prefixes."""
    certified = partition.certified
    return certified if certified is not None and certified.coding.short else None


def offer_prefixes(best: Best, partitions: Sequence[Prefixes]) -> None:
    """Offer the clips of partitions that may be among the best."""
    chunks = [(partition, start) for partition in partitions for start in range(0, partition.count, CHUNK)]
    if len(chunks) > EACH:
        bounds = Best(len(best.least), best.k, best.margin)
        for partition, start in islice(chunks, 0, None, EACH):
            block = partition.block(start)
            partition.offer(bounds, block, start, kth_of(block, min(best.k, block.shape[1])))
        bounds.sort()
        best.least = bounds.least
    for partition, start in chunks:
        block = partition.block(start)
        if best.least.isneginf().any():
            partition.offer(best, block, start, kth_of(block, min(2 * best.k, block.shape[1])))
            best.sort()
        partition.offer(best, block, start, partition.least(best.least + best.margin))


@final
class Prefixes:
    """The prefixes of a partition, and what queries are multiplied with."""

    def __init__(self, partition: Partition, scanner: Certified, vectors: PatternVectors, first: int) -> None:
        """scanner: the partition's; first: the number of its first clip."""
        self.partition, self.vectors, self.first = partition, vectors, first
        self.count, coding = len(partition.vectors), scanner.coding
        numbers = coding.weighted(vectors.rotated(coding), vectors.factors, vectors.offset)
        factors, constant, bound = coding.factors(numbers, scanner.pattern)
        self._factors, self._codes = torch.from_numpy(factors), torch.from_numpy(scanner.codes)
        self._more = torch.from_numpy(constant + bound + vectors.constant)
        self._uncovered = torch.from_numpy(np.flatnonzero(~vectors.covers))

    def block(self, start: int) -> Tensor:
        """(Q, c) float32, to which a number a query is added for an upper bound of scores."""
        block = float32_product(self._factors, self._codes[start : start + CHUNK].float().sub_(128))
        block[self._uncovered] = -torch.inf
        if self.partition.allowed is not None:
            banned = np.flatnonzero(~self.partition.allowed.mask[start : start + CHUNK])
            block[:, torch.from_numpy(banned)] = -torch.inf
        return block

    def least(self, score: Tensor) -> Tensor:
        """(Q,) the least number in a block of clips that may score so much."""
        exact = score - self._more
        rounded = exact.float()
        return torch.where(rounded > exact, rounded.nextafter(torch.tensor(-torch.inf)), rounded)

    def offer(self, best: Best, block: Tensor, start: int, least: Tensor) -> None:
        """Offer the clips of a block with such numbers, and strike them out."""
        query, row = above(block, least)
        if len(query) > DENSE * block.numel():
            clips = torch.from_numpy(np.asarray(self.partition.vectors[start : start + CHUNK]))
            products = float32_product(torch.from_numpy(self.vectors.rounded), clips)[query, row].numpy()
        else:
            products = self._products(query.numpy(), row.numpy() + start)
        block[query, row] = -torch.inf
        estimate = products + self.vectors.constant[query]
        best.offer(query, row + self.first + start, torch.from_numpy(estimate))

    def _products(self, query: Rows, row: Rows) -> Floats:
        """(N,) inner products of queries with vectors, in float32."""
        queries, clips = self.vectors.rounded, self.partition.vectors
        products = np.empty(len(query), np.float32)
        step = max(1, GATHERED // queries.shape[1])
        for start in range(0, len(query), step):
            some = slice(start, start + step)
            products[some] = np.vecdot(queries.take(query[some], 0), clips.take(row[some], 0))
        return products
