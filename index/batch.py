"""Many queries at once: blocked matrix products over the units, and what may be among the best k of each query.

    |q^ . x^ - q . x| <= margin:   float32   gamma_n ||q|| ||x||
                                   bfloat16  ((1 + 2^-9)^3 (1 + gamma_n) - 1) ||q|| ||x||

(norms by expert, added up; gamma_n of index/rounding.py). In bfloat16 both factors and the result are rounded,
each by 2^-9 of itself at most, and products are added up in float32. Blocks run where the vectors are put, on a
CPU or a GPU. Neither precision nor device changes an answer: what is within the margins is decided by exact
scores.
"""

from __future__ import annotations

from collections.abc import Container, Iterator, Sequence
from dataclasses import replace
from math import prod
from typing import Literal, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from index.pairs import exact_scores
from index.rounding import BFLOAT16, LARGEST_NORM, ULP, gamma
from index.scanners.gpu_flat import GpuFlat
from index.scanners.scanner import Floats, Rows
from index.unit import Unit
from index.weighted import Weighted
from mee.linear import product
from mee.ranking.best import Best

Precision = Literal["auto", "float32", "bfloat16"]
CHUNK = 1024  # clips of a block: with 1,000 queries, 4 MB of scores


@final
class Blocks:
    """Where and how products are computed; keeps a GPU's copy of the vectors."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._resident: dict[int, tuple[Floats, Tensor]] = {}
        self._scanners: dict[int, GpuFlat] = {}
        self._held: dict[str, Tensor] = {}

    def found(
        self, units: Sequence[Unit], weighted: Weighted, k: int, precision: Precision = "auto"
    ) -> tuple[Rows, Floats, Rows, Rows]:
        """The best k clips of each query and what ties with them: (N,) queries, exact scores, units and rows."""
        bfloat16 = bfloat16_pays(self.device) if precision == "auto" else precision == "bfloat16"
        query, number, row = self._candidates(units, weighted, k, bfloat16=bfloat16)
        return query, exact_scores(units, weighted, query, number, row), number, row

    def on_gpu(self, unit: Unit) -> Unit:
        """The same unit, scanned by FAISS on the GPU."""
        key = id(unit.vectors)
        if key not in self._scanners:
            self._scanners[key] = GpuFlat(unit.vectors, unit.scanner.shape)
        return replace(unit, scanner=self._scanners[key])

    def forget(self, kept: Container[int]) -> None:
        """Give back a GPU's copies of all vectors but those with these ids."""
        self._resident = {key: held for key, held in self._resident.items() if key in kept}
        self._scanners = {key: held for key, held in self._scanners.items() if key in kept}

    def _candidates(
        self, units: Sequence[Unit], weighted: Weighted, k: int, *, bfloat16: bool
    ) -> tuple[Rows, Rows, Rows]:
        """Every clip that may be among the best k of a query.

        Args:
            units: of any kind.
            weighted: Q queries, for the units' patterns.
            k: at least 1.
            bfloat16: whether to multiply in it.

        Returns:
            (N,) queries in rising order, units, and rows in them.
        """
        margin = torch.from_numpy(_margin(units, weighted, bfloat16)).float().to(self.device)
        best = Best(len(weighted.shift), k, margin)
        first = np.cumsum([0, *(len(unit.vectors) for unit in units)])
        for n, unit in sorted(enumerate(units), key=lambda item: -len(item[1].vectors)):
            vectors = weighted[unit.pattern]
            queries = torch.from_numpy(vectors.rounded).to(self.device)
            queries = queries.bfloat16() if bfloat16 else queries
            dumb = torch.from_numpy(np.flatnonzero(~vectors.speaks)).to(self.device)
            for start, clips, closed in self._chunks(unit):
                block = self._product(queries, clips)
                if len(dumb):
                    block[dumb] = -torch.inf
                if closed is not None:
                    block[:, closed] = -torch.inf
                best.update(block, int(first[n]) + start)
        query, candidate, _ = (each.cpu().numpy() for each in best.candidates())
        number = np.asarray(np.searchsorted(first, candidate, side="right") - 1, dtype=np.int64)
        return query, number, candidate - first[number]

    def _chunks(self, unit: Unit) -> Iterator[tuple[int, Tensor, Tensor | None]]:
        """Where a chunk starts, its vectors, and which of them cannot be found."""
        resident = self._on_device(unit.vectors)
        for start in range(0, len(unit.vectors), CHUNK):
            stop = min(start + CHUNK, len(unit.vectors))
            closed = None
            if unit.allowed is not None:
                mask = unit.allowed.mask[start:stop]
                if not mask.any():
                    continue
                closed = torch.from_numpy(np.flatnonzero(~mask)).to(self.device)
            yield start, resident[start:stop], closed

    def _on_device(self, vectors: Floats) -> Tensor:
        if self.device.type == "cpu":
            return torch.from_numpy(np.asarray(vectors))
        key = id(vectors)
        if key not in self._resident:
            self._resident[key] = (vectors, torch.from_numpy(np.asarray(vectors)).to(self.device))
        return self._resident[key][1]

    def _product(self, queries: Tensor, clips: Tensor) -> Tensor:
        """(Q, c) in the queries' precision."""
        if queries.dtype == torch.float32:
            return product(queries, clips)
        rounded = self._room("clips", clips.shape, torch.bfloat16).copy_(clips)
        scores = self._room("scores", (len(queries), len(clips)), torch.bfloat16)
        torch.mm(queries, rounded.T, out=scores)
        return scores

    def _room(self, name: str, shape: Sequence[int], kind: torch.dtype) -> Tensor:
        """Memory that is used again block after block: fresh memory costs more than what is written to it."""
        held = self._held.get(name)
        if held is None or held.numel() < prod(shape):
            held = self._held[name] = torch.empty(prod(shape), dtype=kind, device=self.device)
        return held[: prod(shape)].view(*shape)


def _margin(units: Sequence[Unit], weighted: Weighted, bfloat16: bool) -> NDArray[np.float64]:
    """(Q,) how far an estimate can be from the score, in any of the units."""
    margin = np.zeros(len(weighted.shift))
    for unit in units:
        size = LARGEST_NORM * weighted[unit.pattern].norm
        if unit.scanner.shape.constant and weighted.shift.any():
            size = size + weighted.shift * np.abs(unit.vectors[:, -1]).max()
        rounding = gamma(unit.vectors.shape[1])
        if bfloat16:
            rounding = (1 + BFLOAT16) ** 3 * (1 + rounding) - 1
        margin = np.maximum(margin, (rounding + ULP) * size)
    return margin


def bfloat16_pays(device: torch.device) -> bool:
    """Whether the device multiplies bfloat16 faster than float32."""
    if device.type != "cpu":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    known = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    return bool(known.get("avx512_bf16") or known.get("amx_bf16"))
