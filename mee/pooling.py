"""Pooling over time: a clip's stream -> one vector.

    mean: 1/T * sum of x_t      max: the largest x_t, column by column

Padding has no influence: what stands beyond a stream's length is never read.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

POOLINGS = ("mean", "max")


def pool(streams: Tensor, lengths: Tensor, kinds: Sequence[str]) -> Tensor:
    """Pool padded streams, the results of several kinds side by side.

    Args:
        streams: (B, T, D), anything beyond a stream's length.
        lengths: (B,) int; 0 for a missing stream.
        kinds: out of POOLINGS.

    Returns:
        (B, len(kinds) * D); zeros for a missing stream.
    """
    padding = (torch.arange(streams.shape[1], device=lengths.device) >= lengths[:, None])[..., None]
    missing = (lengths == 0)[:, None]
    pooled = []
    for kind in kinds:
        if kind == "mean":
            total = streams.masked_fill(padding, 0).sum(1)
            pooled.append(total / lengths.clamp(min=1)[:, None])
        elif kind == "max":
            largest = streams.masked_fill(padding, -torch.inf).amax(1)
            pooled.append(largest.masked_fill(missing, 0))
        else:
            raise ValueError(f"pooling must be one of {', '.join(POOLINGS)}, got '{kind}'")
    return torch.cat(pooled, dim=1)
