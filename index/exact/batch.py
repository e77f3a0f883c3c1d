"""Exact search of many queries: blocked matrix products over the partitions, then exact scores of the candidates.

    |q^ . x^ - q . x| <= margin:   float32   gamma_n ||q|| ||x||
                                   bfloat16  ((1 + b) ||q^ - q|| + (b + (1 + b)^2 gamma_n) ||q||) ||x||,   b = 2^-8

(norms by expert, added up; gamma_n of index/scanners/scanner.py). In bfloat16 both factors are rounded, each
number by at most b of itself; the rounding of queries is measured. Products are added up in float32, and the
result is rounded by at most b of itself. Where codes hold short prefixes, a CPU multiplies these instead
(index/exact/prefixes.py). A query's constant c for a pattern is one more term, |c| long: float32 adds it to the
product, where to round it, the sum and the score costs less than the ULP that every margin has; bfloat16
multiplies parts that add up to it by 1. Where words count, they are added in float32. Blocks run on the device, a
CPU or a GPU. Neither precision nor device changes a result: candidates within the margins are decided by exact
scores.
"""

from __future__ import annotations

from collections.abc import Container, Iterator, Sequence
from dataclasses import replace
from math import prod
from typing import Final, Literal, final

import numpy as np
import torch
from torch import Tensor

from index.exact.prefixes import CHUNK, Prefixes, offer_prefixes, short_codes
from index.exact.ranking import Scored, exact_scores
from index.queries import Doubles, PatternVectors, Vectors
from index.scanners import LARGEST_NORM, ULP, Floats, GpuFlat, Partition, Rows, gamma
from mee.layout import Pattern
from mee.products import float32_product, full_products, pays, require_pays
from mee.ranking import Best

Precision = Literal["auto", "float32", "bfloat16"]
BFLOAT16: Final = 2.0**-8  # largest relative error of a number rounded to bfloat16, which has 8 bits
PARTS: Final = 8  # of a constant in bfloat16, of which three hold all its bits; products want a multiple of 8


@final
class BatchSearch:
    """Matrix products on a device; keeps a GPU's copy of the vectors."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._copies: dict[int, tuple[Floats, Tensor]] = {}
        self._scanners: dict[int, GpuFlat] = {}

    def search(
        self, partitions: Sequence[Partition], queries: Vectors, k: int, precision: Precision = "auto"
    ) -> Scored:
        """The best k clips of each query, with all that score the same as the last of them."""
        bfloat16 = precision == "bfloat16"
        if bfloat16:
            require_pays(torch.bfloat16, self.device, "precision 'bfloat16'", "'auto' or 'float32'")
        elif precision == "auto" and not (self.device.type == "cpu" and any(map(short_codes, partitions))):
            bfloat16 = pays(torch.bfloat16, self.device)
        bfloat16 = bfloat16 and not any(each.count_words for each in queries.values())
        with full_products(self.device):
            query, number, row = self._candidates(partitions, queries, k, bfloat16=bfloat16)
        finite = {pattern: each.covers & np.isfinite(each.rounded).all(1) for pattern, each in queries.items()}
        there = np.sum([partition.count * finite[partition.pattern] for partition in partitions], axis=0)
        if (np.bincount(query, minlength=len(there)) < np.minimum(there, k)).any():
            raise partitions[0].damaged(" (a vector is not finite)")
        return exact_scores(partitions, queries, query, number, row)

    def on_gpu(self, partition: Partition) -> Partition:
        """The same partition, scanned by FAISS on the GPU."""
        key = id(partition.vectors)
        if key not in self._scanners:
            self._scanners[key] = GpuFlat(partition.vectors, partition.scanner.shape)
        return replace(partition, scanner=self._scanners[key])

    def forget(self, kept: Container[int]) -> None:
        """Free a GPU's copies of all vectors but those with these ids."""
        self._copies = {key: held for key, held in self._copies.items() if key in kept}
        self._scanners = {key: held for key, held in self._scanners.items() if key in kept}

    def _candidates(
        self, partitions: Sequence[Partition], queries: Vectors, k: int, *, bfloat16: bool
    ) -> tuple[Rows, Rows, Rows]:
        """Every clip that may be among the best k of a query: (N,) queries, rising, partitions, rows in them."""
        margin = torch.from_numpy(_margin(partitions, queries, bfloat16)).float().to(self.device)
        best = Best(len(margin), k, margin, BFLOAT16 if bfloat16 else 0.0)
        buffers: dict[str, Tensor] = {}
        first = np.cumsum([0, *(len(partition.vectors) for partition in partitions)])
        order = sorted(enumerate(partitions), key=lambda item: -len(item[1].vectors))
        if self.device.type == "cpu" and not bfloat16:
            short = {
                n: Prefixes(partition, scanner, queries[partition.pattern], int(first[n]))
                for n, partition in order
                if (scanner := short_codes(partition)) and not queries[partition.pattern].count_words
            }
            offer_prefixes(best, list(short.values()))
            order = [(n, partition) for n, partition in order if n not in short]
        for n, partition in order:
            vectors = queries[partition.pattern]
            factor = (_in_bfloat16(vectors) if bfloat16 else torch.from_numpy(vectors.rounded)).to(self.device)
            constant = torch.from_numpy(vectors.constant[:, None]).float().to(self.device)
            uncovered = torch.from_numpy(np.flatnonzero(~vectors.covers)).to(self.device)
            for start, clips, banned in self._chunks(partition):
                block = _product(factor, clips, buffers)
                if vectors.count_words:
                    rows = np.arange(start, start + len(clips))
                    block += torch.from_numpy(vectors.added_by_words(partition, rows)).to(block)
                if vectors.constant.any() and not bfloat16:
                    block += constant
                if len(uncovered):
                    block[uncovered] = -torch.inf
                if banned is not None:
                    block[:, banned] = -torch.inf
                best.update(block, int(first[n]) + start)
        query, candidate, _ = (each.cpu().numpy() for each in best.candidates())
        number = np.asarray(np.searchsorted(first, candidate, side="right") - 1, dtype=np.int64)
        return query, number, candidate - first[number]

    def _chunks(self, partition: Partition) -> Iterator[tuple[int, Tensor, Tensor | None]]:
        """The first row of a chunk, its vectors, and which of them are not allowed."""
        vectors = self._on_device(partition.vectors)
        for start in range(0, len(partition.vectors), CHUNK):
            stop = min(start + CHUNK, len(partition.vectors))
            banned = None
            if partition.allowed is not None:
                mask = partition.allowed.mask[start:stop]
                if not mask.any():
                    continue
                banned = torch.from_numpy(np.flatnonzero(~mask)).to(self.device)
            yield start, vectors[start:stop], banned

    def _on_device(self, vectors: Floats) -> Tensor:
        if self.device.type == "cpu":
            return torch.from_numpy(np.asarray(vectors))
        key = id(vectors)
        if key not in self._copies:
            self._copies[key] = (vectors, torch.from_numpy(np.asarray(vectors)).to(self.device))
        return self._copies[key][1]


def _product(queries: Tensor, clips: Tensor, buffers: dict[str, Tensor]) -> Tensor:
    """(Q, c) in the queries' precision; the next call overwrites it."""
    if not clips.shape[1]:  # of words alone
        return queries.new_zeros(len(queries), len(clips))
    if queries.dtype == torch.float32:
        return float32_product(queries, clips)
    width = clips.shape[1]
    rounded = _buffer(buffers, "clips", (len(clips), queries.shape[1]), queries)
    rounded[:, :width].copy_(clips)
    rounded[:, width:] = 1
    scores = _buffer(buffers, "scores", (len(queries), len(clips)), queries)
    torch.mm(queries, rounded.T, out=scores)
    return scores


def _in_bfloat16(vectors: PatternVectors) -> Tensor:
    """(Q, W), and where there are constants PARTS columns that add up to them."""
    parts, rest = [torch.from_numpy(vectors.rounded).bfloat16()], torch.from_numpy(vectors.constant[:, None])
    for _ in range(PARTS if vectors.constant.any() else 0):
        parts.append(rest.bfloat16())
        rest = rest - parts[-1].double()
    return torch.cat(parts, dim=1)


def _buffer(buffers: dict[str, Tensor], name: str, shape: Sequence[int], like: Tensor) -> Tensor:
    """Memory reused by every block: allocating it costs more than writing to it."""
    held = buffers.get(name)
    if held is None or held.numel() < prod(shape):
        held = buffers[name] = torch.empty(prod(shape), dtype=like.dtype, device=like.device)
    return held[: prod(shape)].view(*shape)


def _margin(partitions: Sequence[Partition], queries: Vectors, bfloat16: bool) -> Doubles:
    """(Q,) the largest error of an estimate, before it is rounded itself, in any of the partitions."""
    margin = np.zeros(len(queries[partitions[0].pattern].covers))
    lost: dict[Pattern, Doubles] = {}
    for partition in partitions:
        vectors, size = queries[partition.pattern], queries[partition.pattern].size(partition)
        here = (gamma(vectors.terms + PARTS) + ULP) * (size + np.abs(vectors.constant))
        if bfloat16:
            if partition.pattern not in lost:
                lost[partition.pattern] = _lost(vectors)
            here = (1 + BFLOAT16) ** 2 * here + BFLOAT16 * size
            here += (1 + BFLOAT16) * LARGEST_NORM * lost[partition.pattern]
        margin = np.maximum(margin, here)
    return margin


def _lost(vectors: PatternVectors) -> Doubles:
    """(Q,) ||q^ - q||, added up over the experts; an offset's -1 or 0 is exact."""
    queries = torch.from_numpy(vectors.rounded)
    return vectors.added_norms((queries - queries.bfloat16()).numpy())
