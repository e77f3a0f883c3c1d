"""The floor under a training step: its matrix products alone, once forward and twice backward.

3 * 2 * B * (sum over linear maps of inputs * outputs)   floating point operations, less the first maps' dL/dx
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from benchmarks.random_clips import WORD_DIM
from benchmarks.reference_feeding import SIZES
from mee.layers.linear import Linear

TEXT = 32 * WORD_DIM
Library = Literal["torch", "onednn", "bf16"]


def linear_maps() -> list[tuple[int, int, bool]]:
    """Inputs, outputs and whether the inputs get a gradient, of every large linear map of the network."""
    maps = []
    for name, (size, embedded) in SIZES.items():
        maps += [(size, embedded, name == "audio"), (TEXT, embedded, True), *[(embedded, embedded, True)] * 2]
    return maps


def operations(batch_size: int) -> int:
    """Floating point operations of one step's products."""
    return sum((3 if passes_on else 2) * 2 * batch_size * i * o for i, o, passes_on in linear_maps())


class MatrixProducts:
    """`run(n)` does the products of n steps and nothing else."""

    def __init__(self, batch_size: int, library: Library, device: torch.device) -> None:
        kind = torch.bfloat16 if library == "bf16" else torch.float32
        self.parts: list[tuple[torch.nn.Linear, Tensor, Tensor]] = []
        for inputs, outputs, passes_on in linear_maps():
            maker = Linear if library == "onednn" else torch.nn.Linear
            x = torch.randn(batch_size, inputs, device=device, dtype=kind, requires_grad=passes_on)
            upstream = torch.randn(batch_size, outputs, device=device, dtype=kind)
            self.parts.append((maker(inputs, outputs, bias=False, device=device, dtype=kind), x, upstream))

    def run(self, steps: int) -> float:
        """Do them. Returns 0, there is no loss."""
        for _ in range(steps):
            for layer, x, upstream in self.parts:
                layer(x).backward(upstream)
                layer.weight.grad = x.grad = None
        return 0.0
