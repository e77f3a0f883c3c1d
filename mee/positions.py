"""Sinusoidal positions.

    PE(p, 2i) = sin(p / 10000^(2i/d))      PE(p, 2i+1) = cos(p / 10000^(2i/d))

Vaswani et al., Attention Is All You Need (arXiv 1706.03762), section 3.5. The inner product of two positions
depends on their distance only, and every |PE(p)|^2 is d/2.
"""

from __future__ import annotations

import torch
from torch import Tensor


def sinusoidal_positions(length: int, dim: int) -> Tensor:
    """(length, dim) float32; dim must be even."""
    if dim % 2:
        raise ValueError(f"dim must be even, got {dim}")
    frequency = 10000.0 ** (-torch.arange(0, dim, 2, dtype=torch.float64) / dim)
    angle = torch.arange(length, dtype=torch.float64)[:, None] * frequency
    return torch.stack([angle.sin(), angle.cos()], dim=-1).flatten(1).float()
