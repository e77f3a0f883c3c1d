"""Pooling over time: a clip's stream, or a sentence's tokens -> one vector.

    mean: 1/T * sum of x_t      max: the largest x_t, column by column      first: x_1      last: x_T

    NetVLAD learns how the rows of a stream are spread around K clusters:
        a_t = softmax(BN(x_t C))                                     soft assignment to K clusters
        V_k = sum over t of a_tk x_t - (sum over t of a_tk) c_k      residuals
        v   = V_k / |V_k| for each k, concatenated, then v / |v|

    transformer: SequencePooling (mee.layers.transformer), which learns too

NetVLAD: Arandjelovic et al. (arXiv 1511.07247), section 3, with the batch norm and the separate residual centres
of Miech, Laptev, Sivic (arXiv 1804.02516). Several kinds are concatenated. Padding has no influence, neither on
vectors nor on batch statistics: rows beyond a stream's length are never read.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mee.errors import require
from mee.layers.normalise import JointBatchNorm
from mee.layers.pooling_kinds import PLAIN, TRANSFORMER_WIDTH, parse_pooling, pooled_size
from mee.layers.transformer import SequencePooling
from mee.streams import Ragged


class Pool(nn.Module):
    """(B, T, dim) streams -> (B, self.dim) vectors; zeros for a missing stream."""

    def __init__(self, kinds: Sequence[str], dim: int) -> None:
        super().__init__()
        self.kinds, self.dim = tuple(kinds), pooled_size(kinds, dim)
        self.learnt = nn.ModuleDict({kind: _learnt(kind, dim) for kind in kinds if kind not in PLAIN})

    @property
    def learns(self) -> bool:
        """Whether training changes what it makes of a stream."""
        return len(self.learnt) > 0

    def forward(self, streams: Tensor, lengths: Tensor) -> Tensor:
        """(B, T, dim), anything beyond the (B,) lengths, 0: missing -> (B, self.dim), the kinds in their order."""
        rows = streams[torch.arange(streams.shape[1], device=lengths.device) < lengths[:, None]]
        plain = {kind: pool_rows(rows, lengths, kind) for kind in self.kinds if kind not in self.learnt}
        learnt = {kind: pool(streams, lengths) for kind, pool in self.learnt.items()}
        return torch.cat([(plain | learnt)[kind] for kind in self.kinds], dim=1)


def pool_streams(streams: Ragged, kinds: Sequence[str]) -> Ragged:
    """One float32 row a stream that is there, by kinds that do not learn."""
    rows, lengths = streams.values.float(), streams.offsets.diff()  # without padding: one stream may be very long
    pooled = torch.cat([pool_rows(rows, lengths, kind) for kind in kinds], dim=1)[streams.present]
    return Ragged(pooled, F.pad(streams.present.cumsum(0), (1, 0)), pooled=True)


def pool_rows(rows: Tensor, lengths: Tensor, kind: str) -> Tensor:
    """mean, max, first or last of (N, D) rows, stream after stream, (B,) lengths -> (B, D); zeros at 0."""
    require(kind in PLAIN, f"pooling must be one of {', '.join(PLAIN)}, got '{kind}'")
    if torch.onnx.is_in_onnx_export():  # of one sentence; ONNX has no operator for segment_reduce
        return {"mean": rows.mean(0), "max": rows.amax(0), "first": rows[0], "last": rows[-1]}[kind][None]
    if not len(rows):
        return rows.sum(0).expand(len(lengths), -1)  # zeros that stay in the graph
    missing = (lengths == 0)[:, None]
    if kind in ("first", "last"):
        ends = lengths.cumsum(0)
        place = ends - lengths if kind == "first" else ends - 1
        return rows[place.clamp(0, len(rows) - 1)].masked_fill(missing, 0)
    if kind == "mean":
        wide = rows.float() if rows.element_size() < 4 else rows  # sums in the rows' dtype: bfloat16 stops at 256
        total = torch.segment_reduce(wide, "sum", lengths=lengths, axis=0)  # its own mean is 0/0 where missing
        return (total / lengths.clamp(min=1)[:, None]).to(rows.dtype)
    return torch.segment_reduce(rows, "max", lengths=lengths, axis=0).masked_fill(missing, 0)


class NetVLAD(nn.Module):
    """(B, T, dim) streams -> (B, dim * clusters) of unit length, at d * clusters + k; zeros if missing."""

    def __init__(self, dim: int, clusters: int) -> None:
        super().__init__()
        self.assign = nn.Parameter(torch.empty(dim, clusters))  # C
        self.centres = nn.Parameter(torch.empty(dim, clusters))  # c
        for parameter in (self.assign, self.centres):
            nn.init.normal_(parameter, std=dim**-0.5)
        self.norm = JointBatchNorm(clusters)

    def forward(self, streams: Tensor, lengths: Tensor) -> Tensor:
        """(B, T, dim), anything beyond a stream's length, and (B,) lengths -> (B, dim * clusters)."""
        real = torch.arange(streams.shape[1], device=lengths.device) < lengths[:, None]
        rows = streams[real]  # (N, dim): the real rows of all streams
        assigned = self.norm(rows @ self.assign).softmax(-1)
        assignment = assigned.new_zeros(*real.shape, assigned.shape[1]).index_put((real,), assigned)
        clean = streams.masked_fill(~real[..., None], 0)
        residual = torch.einsum("btd,btk->bdk", clean, assignment) - assignment.sum(1)[:, None] * self.centres
        size = residual.norm(dim=1)  # (B, clusters); both normalisations are one scaling of the residuals
        inner = size.clamp(min=1e-12)
        whole = (size / inner).norm(dim=1, keepdim=True).clamp(min=1e-12)
        scaled: Tensor = residual / (inner * whole)[:, None]
        return scaled.flatten(1)


def _learnt(kind: str, dim: int) -> nn.Module:
    name, number = parse_pooling(kind)
    return NetVLAD(dim, number) if name == "netvlad" else SequencePooling(dim, TRANSFORMER_WIDTH, number)
