"""The reference network, written from its description: what training speed is compared with.

    NetVLAD:  a = softmax(BN(x C)),  V_k = sum_t a_tk x_t - (sum_t a_tk) c_k,  zero padding included
    unit:     z1 = W1 z0 + b1,  z = z1 * sigmoid(BN(W2 z1 + b2)) / |.|,  absent rows included, as zeros
    score:    s_ij = sum_m w_ijm <t_im, v_jm>,  w_ijm = a_jm w_im / sum_n a_jn w_in  as a (B, B, M) tensor
    loss:     mean over all 2 B^2 terms [margin + S - S_right]+,  the 2 B diagonal ones included

Miech, Laptev, Sivic (arXiv 1804.02516). Names follow the golden numbers' `state.*`, with
which tests/test_reference_network.py compares it; the mixture's columns have another order than the units.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

UNITS = ("face", "audio", "visual", "motion")  # order of the gated units
MIXTURE = ("audio", "face", "motion", "visual")  # order of the mixture's columns


class ReferenceNetVLAD(nn.Module):
    """(B, T, dim) -> (B, dim * clusters)."""

    def __init__(self, dim: int, clusters: int) -> None:
        super().__init__()
        self.clusters = nn.Parameter(torch.randn(dim, clusters) / dim**0.5)
        self.clusters2 = nn.Parameter(torch.randn(1, dim, clusters) / dim**0.5)
        self.batch_norm = nn.BatchNorm1d(clusters)

    def forward(self, x: Tensor) -> Tensor:
        batch, length, dim = x.shape
        assignment = self.batch_norm(x.reshape(-1, dim) @ self.clusters).softmax(1).view(batch, length, -1)
        centres = assignment.sum(1, keepdim=True) * self.clusters2
        vlad = torch.matmul(assignment.transpose(1, 2), x).transpose(1, 2) - centres
        return F.normalize(F.normalize(vlad, dim=1).reshape(batch, -1), dim=1)


class ReferenceGate(nn.Module):
    """Context gating."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.fc = nn.Linear(dim, dim)
        self.batch_norm = nn.BatchNorm1d(dim)

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.sigmoid(self.batch_norm(self.fc(x)))


class ReferenceUnit(nn.Module):
    """Gated embedding unit."""

    def __init__(self, input_dim: int, output_dim: int) -> None:
        super().__init__()
        self.fc = nn.Linear(input_dim, output_dim)
        self.cg = ReferenceGate(output_dim)

    def forward(self, x: Tensor) -> Tensor:
        return F.normalize(self.cg(self.fc(x)), dim=1)


class ReferenceMixture(nn.Module):
    """The units of both sides and the mixture."""

    def __init__(self, sizes: Mapping[str, tuple[int, int]], text_dim: int) -> None:
        super().__init__()
        self.video_GU = nn.ModuleList(ReferenceUnit(*sizes[m]) for m in UNITS)
        self.text_GU = nn.ModuleList(ReferenceUnit(text_dim, sizes[m][1]) for m in UNITS)
        self.moe_fc = nn.Linear(text_dim, len(UNITS))

    def forward(self, text: Tensor, video: Mapping[str, Tensor], available: Mapping[str, Tensor]) -> Tensor:
        video = {m: unit(video[m]) for m, unit in zip(UNITS, self.video_GU)}
        texts = {m: unit(text) for m, unit in zip(UNITS, self.text_GU)}
        there = torch.stack([available[m].to(text) for m in MIXTURE], dim=1)
        weights = self.moe_fc(text).softmax(1)[:, None, :] * there[None, :, :]  # (B, B, M)
        weights = weights / weights.sum(2, keepdim=True)
        scores = torch.zeros(len(text), len(text), dtype=text.dtype, device=text.device)
        for column, m in enumerate(MIXTURE):
            scores = scores + weights[:, :, column] * (texts[m] @ video[m].t())
        return scores


class ReferenceNetwork(nn.Module):
    """(B, B) scores of B captions against their B videos."""

    def __init__(
        self, sizes: Mapping[str, tuple[int, int]], word_dim: int, text_clusters: int, audio_clusters: int
    ) -> None:
        """`sizes`: input and embedding size by modality; the input of audio is a row's times its clusters."""
        super().__init__()
        self.text_pooling = ReferenceNetVLAD(word_dim, text_clusters)
        self.audio_pooling = ReferenceNetVLAD(sizes["audio"][0] // audio_clusters, audio_clusters)
        self.mee = ReferenceMixture(sizes, word_dim * text_clusters)

    def forward(self, text: Tensor, video: Mapping[str, Tensor], available: Mapping[str, Tensor]) -> Tensor:
        """(B, L, word_dim) padded words; by modality (B, D) streams, audio (B, T, D); by modality (B,) flags."""
        pooled = {**video, "audio": self.audio_pooling(video["audio"])}
        scores: Tensor = self.mee(self.text_pooling(text), pooled, available)
        return scores


def reference_loss(scores: Tensor, margin: float = 0.2) -> Tensor:
    """Max-margin ranking over all 2 B^2 terms."""
    right = scores.diag()[:, None].expand(-1, len(scores)).reshape(-1)
    others = torch.cat([scores.reshape(-1), scores.t().reshape(-1)])
    return F.relu(margin - (torch.cat([right, right]) - others)).mean()
