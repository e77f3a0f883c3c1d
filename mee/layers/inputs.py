"""What a gated unit sees of a pooled stream: likeness to training clips, and what named columns mean.

    Kernel   k_i(z) = exp(-|D' z - c_i|^2)          for each of C centres c_i
    Names    n(p) = N' sqrt(p) / sum of sqrt(p)     p: values of the named columns, N: vectors of their names

D is (dim, K), the leading directions of the training clips, scaled: K numbers of a clip, and of a centre,
decide what it is like. The second is a convex combination of the vectors of class names, as in Norouzi et al.
(arXiv 1312.5650), over all classes; square roots keep the likeliest class from drowning the others. Both keep
their tables in float16.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Kernel(nn.Module):
    """(N, dim) -> (N, centres), all in [0, 1]; the tables are set by the closed form."""

    directions: Tensor
    centres: Tensor

    def __init__(self, dim: int, components: int, centres: int) -> None:
        super().__init__()
        self.register_buffer("directions", torch.zeros(dim, components, dtype=torch.float16))
        self.register_buffer("centres", torch.zeros(centres, components, dtype=torch.float16))

    def forward(self, z: Tensor) -> Tensor:
        own, centres = z @ self.directions.to(z), self.centres.to(z)
        square = own.square().sum(1)[:, None] + centres.square().sum(1) - 2 * own @ centres.T
        return (-square.clamp(min=0)).exp()


class Names(nn.Module):
    """(N, columns) values, such as probabilities -> (N, dim) in the space of the names' vectors."""

    vectors: Tensor

    def __init__(self, columns: int, dim: int) -> None:
        super().__init__()
        self.register_buffer("vectors", torch.zeros(columns, dim, dtype=torch.float16))

    def forward(self, values: Tensor) -> Tensor:
        root = values.clamp(min=0).sqrt()
        return (root / root.sum(1, keepdim=True).clamp(min=1e-12)) @ self.vectors.to(values)
