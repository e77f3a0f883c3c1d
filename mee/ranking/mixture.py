"""Scores of a model's embeddings: by its mixture, and by schemes that show what one part of it contributes.

    s(q, v) = sum over m in A(v) of w_m (<t_m(q), x_m(v)> - o_m(q))

mixture      w by the model's own rule of missing streams, as in mee.scoring
uniform      the same with l = 0: every expert counts equally
evidence     w = softmax of l(q) over all experts, for a model that renormalises
renormalise  w = softmax of l(q) over A(v), for a model whose rule is evidence
<modality>   w = 1 for one expert alone; clips without that stream share the last place

Clips are grouped by availability pattern; a block is one matrix product a pattern, of the experts that its clips
have, less what their offsets take.
"""

from __future__ import annotations

from collections.abc import Collection
from itertools import compress
from typing import final

import torch
from torch import Tensor

from mee.config import SCHEMES, Missing
from mee.layout import Layout
from mee.model import TextEmbedding, VideoEmbedding
from mee.products import float32_product, full_products
from mee.ranking.scores import Scores, summation_margin
from mee.scoring import Pattern, group_by_pattern, mixture_weights

MIXTURE, UNIFORM, EVIDENCE, RENORMALISE = SCHEMES
UNSCORABLE = -2.0  # below every score without offsets
GATHERED = 2**17  # numbers a side from which pairs are computed at a time: they stay in the cache


def schemes(layout: Layout) -> tuple[str, ...]:
    """Every scheme of a model, the mixture first; its own rule of missing streams is the mixture's."""
    return (MIXTURE, *layout.names, UNIFORM, RENORMALISE if layout.missing == EVIDENCE else EVIDENCE)


@final
class MixtureScores(Scores):
    """Scores of Q sentences and G clips, those without a stream last."""

    def __init__(
        self,
        text: TextEmbedding,
        video: VideoEmbedding,
        layout: Layout,
        *,
        scheme: str = MIXTURE,
        removed: Collection[str] = (),
        without_stream: int = 0,
    ) -> None:
        """Group the clips; missing slots of `video` are never read.

        `scheme`: how experts are weighed, see above; `removed`: experts to score without, as if no clip had them;
        `without_stream`: how many more clips there are, without any stream.
        """
        kept = torch.tensor([name not in removed for name in layout.names], device=video.available.device)
        self.text, self.video, self.layout, self.scheme = text, video, layout, scheme
        self.available = video.available & kept
        self.queries, self.clips = len(text.packed), len(video.packed)
        self.candidates = self.clips + without_stream
        self.device = text.packed.device
        self.logits, self.offsets = text.logits.double(), text.offsets.detach().double()
        largest = float(self.offsets.abs().max()) if self.queries else 0.0
        self._some_offset = largest > 0
        self.nothing = UNSCORABLE - largest  # of clips that cannot be scored, below every score
        self.margin = summation_margin(layout.total + 1, 1.0 + largest)  # the offsets are one term more
        self._lone = layout.names.index(scheme) if scheme in layout.names else None
        scored = self.available.any(1) if self._lone is None else self.available[:, self._lone]
        other: Missing = "renormalise" if scheme == RENORMALISE else "evidence"
        self._rule = layout.missing if scheme in (MIXTURE, UNIFORM) else other
        packed = video.packed.float()
        self._groups = [
            (pattern, self._columns_of(rows), packed[rows][:, layout.spread(torch.tensor([pattern]))[0]])
            for pattern, rows in group_by_pattern(self.available)
            if (any(pattern) if self._lone is None else pattern[self._lone])
        ]
        patterns = [pattern for pattern, _, _ in self._groups]
        self._patterns = torch.tensor(patterns, dtype=torch.bool, device=self.device).view(-1, len(layout.names))
        self._scored = torch.cat([scored, scored.new_zeros(without_stream)])
        self._unscorable = (~self._scored).nonzero().squeeze(1)

    def block(self, rows: slice) -> Tensor:
        """(q, G) float32, see `Scores`."""
        text, weights = self.text.packed[rows], self._weights(self.logits[rows, None], self._patterns)  # (q, P, M)
        taken = (weights * self.offsets[rows, None]).sum(-1).float() if self._some_offset else None
        weights = weights.float()
        scores = torch.empty(len(text), self.candidates, device=self.device)
        scores[:, self._unscorable] = self.nothing
        with full_products(self.device):
            for n, (pattern, columns, clips) in enumerate(self._groups):
                products = float32_product(self._weighted(text, weights[:, n], pattern), clips)
                scores[:, columns] = products if taken is None else products.sub_(taken[:, n, None])
        return scores

    def pairs(self, queries: Tensor, candidates: Tensor) -> Tensor:
        """(N,) float32, see `Scores`."""
        scores = torch.full((len(queries),), self.nothing, device=self.device)
        scored = self._scored[candidates].nonzero().squeeze(1)  # of a rare stream alone, few are
        for some in scored.split(max(1, GATHERED // self.layout.total)):
            scores[some] = self._pairs(queries[some], candidates[some])
        return scores

    def _pairs(self, queries: Tensor, clips: Tensor) -> Tensor:
        weights = self._weights(self.logits[queries], self.available[clips])
        products = self.text.packed[queries].double() * self.video.packed[clips].double()
        similarity = torch.stack([products[:, columns].sum(-1) for columns in self.layout.slices], dim=1)
        return torch.where(weights > 0, weights * (similarity - self.offsets[queries]), 0).sum(-1).float()

    def _weights(self, logits: Tensor, available: Tensor) -> Tensor:
        """(…, M) weights by the scheme, 0 where an expert is absent; as `mixture_weights`."""
        if self._lone is not None:
            lone = torch.arange(len(self.layout.names), device=self.device) == self._lone
            return torch.where(available & lone, 1, torch.zeros_like(logits))
        chosen = torch.zeros_like(logits) if self.scheme == UNIFORM else logits
        return mixture_weights(chosen, available, self._rule)

    def _weighted(self, text: Tensor, weights: Tensor, pattern: Pattern) -> Tensor:
        """(q, E_A) float32: the present experts' columns, each scaled by its weight."""
        weighted = text.new_empty(len(text), sum(compress(self.layout.sizes, pattern)), dtype=torch.float32)
        parts = weighted.split(list(compress(self.layout.sizes, pattern)), dim=1)
        for part, (m, columns) in zip(parts, compress(enumerate(self.layout.slices), pattern)):
            torch.mul(text[:, columns], weights[:, m, None], out=part)
        return weighted

    @staticmethod
    def _columns_of(rows: Tensor) -> slice | Tensor:
        """A slice where rows follow each other, as they do in a gallery sorted by pattern: cheaper to write to."""
        first, last = int(rows[0]), int(rows[-1])
        return slice(first, last + 1) if last - first + 1 == len(rows) else rows
