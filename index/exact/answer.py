"""The best clips for queries, in the way that suits their number, the kinds of partitions, and the device.

    a few queries, kinds that prove their bounds     scanned one by one, and proven (index/exact/proven.py)
    many queries, or exact answers of other kinds    blocked matrix products (index/exact/batch.py)
    kinds that prove nothing                         their best candidates by estimate, re-ranked by exact scores

On a GPU a few queries go through FAISS where it was built for GPUs, and through matrix products elsewhere. The
first two ways, and every device, give the same answers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from typing import final

import numpy as np
import torch

from index.exact.batch import Blocks, Precision
from index.exact.pattern_queries import FEW, Weighted
from index.exact.proven import prove
from index.exact.ranking import Ranked, exact_scores
from index.queries import Queries
from index.scanners import AT, PROVEN, RERANK, Floats, Partition, Rows, gpu_usable
from mee.layout import Layout

TOGETHER = 1024  # queries of a batch


@dataclass(frozen=True)
class How:
    """Ways to answer."""

    plain: bool = False  # without taking off the clips' offsets
    exact: bool = False  # go past kinds that prove nothing
    rerank: int = RERANK  # candidates of those kinds, for the best 10
    precision: Precision = "auto"  # of batches; changes no answer


@final
class Answerer:
    """Ranks the clips of partitions on a device."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.blocks = Blocks(device)

    def rank(self, layout: Layout, partitions: Sequence[Partition], queries: Queries, k: int, how: How) -> Ranked:
        """The best k clips of each query.

        Args:
            layout: of the partitions' packed vectors.
            partitions: in each of which something can be found.
            queries: Q.
            k: at least 1.
            how: to answer.
        """
        if not partitions or not len(queries):
            return Ranked.none(len(queries))
        k = min(k, sum(partition.count for partition in partitions))
        parts = (queries.part(slice(start, start + TOGETHER)) for start in range(0, len(queries), TOGETHER))
        weighed = (Weighted(part, layout, partitions, shift=not how.plain) for part in parts)
        return Ranked.joined([self._part(partitions, weighted, k, how) for weighted in weighed])

    def _part(self, partitions: Sequence[Partition], weighted: Weighted, k: int, how: How) -> Ranked:
        count = len(weighted)
        proven = all(partition.scanner.kind in PROVEN for partition in partitions)
        if not proven and not how.exact:
            found = _approximate(partitions, weighted, k, how.rerank)
        elif count <= FEW and proven and self.device.type == "cpu":
            found = prove(partitions, weighted, count, k)
        elif count <= FEW and self.device.type == "cuda" and gpu_usable():
            found = prove([self.blocks.on_gpu(partition) for partition in partitions], weighted, count, k)
        else:
            found = self.blocks.found(partitions, weighted, k, how.precision)
        return Ranked.of(partitions, *found, queries=count, k=k)


def _approximate(
    partitions: Sequence[Partition], weighted: Weighted, k: int, rerank: int
) -> tuple[Rows, Floats, Rows, Rows]:
    """What is probably among the best k clips of each query.

    Args:
        partitions: that can be scanned.
        weighted: the queries, for the partitions' patterns.
        k: at least 1.
        rerank: candidates over all partitions that are scored exactly for the best 10; for more in proportion.

    Returns:
        (N,) queries, exact scores, partitions and rows.
    """
    wanted = max(k, ceil(rerank * max(k, AT) / AT))
    estimates, rows, numbers = [], [], []
    for n, partition in enumerate(partitions):
        vectors = weighted[partition.pattern]
        found, places = partition.scan(vectors.rounded, wanted)
        found[~vectors.speaks] = -np.inf
        estimates.append(found)
        rows.append(places)
        numbers.append(np.full(places.shape, n))
    estimate, row, number = (np.concatenate(columns, axis=1) for columns in (estimates, rows, numbers))
    if wanted < estimate.shape[1]:
        best = np.argpartition(-estimate, wanted - 1, axis=1)[:, :wanted]
        estimate, row, number = (np.take_along_axis(array, best, 1) for array in (estimate, row, number))
    query, place = (estimate > -np.inf).nonzero()
    number, row = number[query, place], row[query, place]
    return query, exact_scores(partitions, weighted, query, number, row), number, row
