"""What no search can beat on this machine: reading the bytes once, or doing the multiplications alone.

    one query:    bytes to read / bandwidth            many: 2 Q (numbers of all clips) / matrix rate

Both rates are measured in turns with what they stand beside: a sum over an array of as many bytes as the clips
have (at most 1 GiB), and products of all queries with 4,096 clips, in float32 (oneDNN, the fastest that torch
carries) and bfloat16. A side that reads codes is held to their bytes; what fits in a cache can beat this floor.
"""

from __future__ import annotations

from typing import Any, final

import torch

from benchmarks.index_timing import Side
from mee.layers.linear import product

CLIPS = 4096  # of one product: the queries' block and theirs stay near the processor
LARGEST = 2**30


@final
class Reading(Side):
    """Reads memory from end to end."""

    name = "reading alone"

    def __init__(self, size: int) -> None:
        self.array = torch.zeros(min(size, LARGEST) // 8, dtype=torch.int64)
        self.array.fill_(1)
        self.scanned = self.array.nbytes

    def one(self, query: int) -> Any:
        return self.array.sum()

    def many(self) -> Any:
        raise TypeError("reading alone is the floor of one query")


@final
class Products(Side):
    """(Q, E) by (4096, E), and nothing else."""

    def __init__(self, queries: int, width: int, dtype: torch.dtype) -> None:
        self.name = f"products alone, {str(dtype).removeprefix('torch.')}"
        self.queries = torch.randn(queries, width).to(dtype)
        self.clips = torch.randn(CLIPS, width).to(dtype)
        self.operations = 2 * queries * CLIPS * width

    def one(self, query: int) -> Any:
        raise TypeError("products alone are the floor of many queries")

    def many(self) -> Any:
        return product(self.queries, self.clips)
