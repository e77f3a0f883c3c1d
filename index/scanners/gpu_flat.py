"""Flat on a GPU: FAISS's brute force over a copy of the vectors that lies there."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any, Self, final

import faiss
import numpy as np
from numpy.typing import NDArray

from index.scanners.flat import Flat
from index.scanners.found import among_allowed, cleaned, nothing
from index.scanners.scanner import Allowed, Floats, Rows, Scanner, Shape

BLOCK = 2**16  # rows that are copied there at a time
MOST = 2048  # rows that FAISS finds on a GPU at a time


def gpu_usable() -> bool:
    """Whether this FAISS was built for GPUs, and sees one."""
    return hasattr(faiss, "StandardGpuResources") and faiss.get_num_gpus() > 0


@cache
def _resources() -> Any:
    return faiss.StandardGpuResources()


@final
class GpuFlat(Scanner):
    """As `Flat`, which answers what FAISS cannot do on a GPU: more than 2,048 rows at a time."""

    kind = "flat"

    def __init__(self, vectors: Floats, shape: Shape) -> None:
        self.vectors, self.shape = vectors, shape
        self._flat = Flat(vectors, shape)
        self._index = faiss.GpuIndexFlatIP(_resources(), shape.width)
        for start in range(0, len(vectors), BLOCK):
            self._index.add(np.ascontiguousarray(vectors[start : start + BLOCK]))

    @classmethod
    def build(cls, vectors: Floats, shape: Shape) -> Self:
        return cls(vectors, shape)

    @classmethod
    def open(cls, path: Path, vectors: Floats, shape: Shape) -> Self:
        return cls.build(vectors, shape)

    def save(self, path: Path) -> None:
        return

    @staticmethod
    def files(path: Path) -> tuple[Path, ...]:
        """What `save` writes: nothing."""
        return ()

    def scan(self, queries: Floats, count: int, allowed: Allowed | None = None) -> tuple[Floats, Rows]:
        banned = 0 if allowed is None else len(allowed) - allowed.count
        count = min(count, len(self.vectors) - banned)
        if not count:
            return nothing(len(queries))
        if count + banned > MOST:
            return self._flat.scan(queries, count, allowed)
        found = cleaned(*self._index.search(queries, count + banned))
        return found if allowed is None else among_allowed(*found, allowed, count)

    def bound(self, queries: Floats) -> NDArray[np.float64]:
        return self._flat.bound(queries)
