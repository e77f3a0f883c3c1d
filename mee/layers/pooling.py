"""Pooling over time: a clip's stream, or a sentence's tokens -> one vector.

    mean: 1/T * sum of x_t      max: the largest x_t, column by column      first: x_1      last: x_T

and what learns: NetVLAD (mee.layers.netvlad) and a small transformer (mee.layers.transformer). Several kinds lie
side by side. Padding has no influence: what stands beyond a stream's length is never read.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from mee.layers.netvlad import NetVLAD
from mee.layers.pooling_kinds import LEARNT, PLAIN, TRANSFORMER_WIDTH, parse_pooling, pooled_size
from mee.layers.transformer import SequencePooling


class Pool(nn.Module):
    """(B, T, dim) streams -> (B, self.dim) vectors; zeros for a missing stream."""

    def __init__(self, kinds: Sequence[str], dim: int) -> None:
        super().__init__()
        self.kinds, self.dim = tuple(kinds), pooled_size(kinds, dim)
        self.learnt = nn.ModuleDict({kind: _learnt(kind, dim) for kind in kinds if _name(kind) in LEARNT})

    @property
    def learns(self) -> bool:
        """Whether training changes what it makes of a stream."""
        return len(self.learnt) > 0

    def forward(self, streams: Tensor, lengths: Tensor) -> Tensor:
        """Pool padded streams.

        Args:
            streams: (B, T, dim), anything beyond a stream's length.
            lengths: (B,) int; 0 for a missing stream.

        Returns:
            (B, self.dim), the kinds in their order.
        """
        rows = streams[torch.arange(streams.shape[1], device=lengths.device) < lengths[:, None]]
        return torch.cat(
            [
                self.learnt[kind](streams, lengths) if kind in self.learnt else pool_rows(rows, lengths, kind)
                for kind in self.kinds
            ],
            dim=1,
        )

    def unpadded(self, rows: Tensor, lengths: Tensor) -> Tensor:
        """The same of streams that lie end to end, where no kind learns: (N, dim), (B,) -> (B, self.dim)."""
        return torch.cat([pool_rows(rows, lengths, kind) for kind in self.kinds], dim=1)


def pool_rows(rows: Tensor, lengths: Tensor, kind: str) -> Tensor:
    """One of the kinds that have nothing to learn, of streams that lie end to end.

    Args:
        rows: (N, D), all rows of the first stream, then of the second, and so on.
        lengths: (B,) int64 with sum N; 0 for a missing stream.
        kind: mean, max, first or last.

    Returns:
        (B, D), zeros where missing.

    Raises:
        ValueError: there is no such kind.
    """
    if kind not in PLAIN:
        raise ValueError(f"pooling must be one of {', '.join(PLAIN)}, got '{kind}'")
    if not len(rows):
        return rows.sum(0).expand(len(lengths), -1)  # zeros that stay in the graph
    missing = (lengths == 0)[:, None]
    if kind in ("first", "last"):
        ends = lengths.cumsum(0)
        place = ends - lengths if kind == "first" else ends - 1
        return rows[place.clamp(0, len(rows) - 1)].masked_fill(missing, 0)
    if kind == "mean":
        wide = (
            rows.float() if rows.element_size() < 4 else rows
        )  # it sums in the rows' dtype: bfloat16 stops at 256
        total = torch.segment_reduce(wide, "sum", lengths=lengths, axis=0)  # its own mean is 0/0 where missing
        return (total / lengths.clamp(min=1)[:, None]).to(rows.dtype)
    return torch.segment_reduce(rows, "max", lengths=lengths, axis=0).masked_fill(missing, 0)


def _name(kind: str) -> str:
    return parse_pooling(kind)[0]


def _learnt(kind: str, dim: int) -> nn.Module:
    name, number = parse_pooling(kind)
    return NetVLAD(dim, number) if name == "netvlad" else SequencePooling(dim, TRANSFORMER_WIDTH, number)
