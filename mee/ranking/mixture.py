"""Scores of a model's embeddings: by its mixture, and by schemes that show what one part of it contributes.

    s(q, v) = sum over m in A(v) of w_m(q, A(v)) <t_m(q), x_m(v)>

mixture         w = softmax over A(v) of l(q), as in mee.scoring
uniform         the same with l = 0: every expert that the clip has counts equally
ignore-missing  w = softmax over *all* experts: missing streams count as zeros
<modality>      w = 1 for one expert alone; clips without that stream share the last place

Clips are grouped by availability pattern; a block is one matrix product a pattern (see mee.scoring).
"""

from __future__ import annotations

from collections.abc import Collection
from itertools import compress
from typing import final

import torch
from torch import Tensor

from mee.config import SCHEMES
from mee.layout import Layout
from mee.model import TextEmbedding, VideoEmbedding
from mee.ranking.scores import Scores, float32_product, full_products, summation_margin
from mee.scoring import Pattern, group_by_pattern

MIXTURE, UNIFORM, IGNORE_MISSING = SCHEMES
UNSCORABLE = -2.0  # below every score
GATHERED = 2**17  # numbers a side from which pairs are computed at a time: they stay in the cache


def schemes(layout: Layout) -> tuple[str, ...]:
    """Every scheme of a model, the mixture first."""
    return (MIXTURE, *layout.names, UNIFORM, IGNORE_MISSING)


def scheme_weights(scheme: str, logits: Tensor, available: Tensor, layout: Layout) -> Tensor:
    """(…, M) weights of the experts by one of `schemes`, 0 where one is absent and where nothing can be scored.

    From (…, M) mixture logits, and (…, M) bool of the clips; the two are broadcast together.
    """
    if scheme in (MIXTURE, UNIFORM):
        chosen = logits if scheme == MIXTURE else torch.zeros_like(logits)
        weights = torch.where(available, chosen, -torch.inf).softmax(-1)
    elif scheme == IGNORE_MISSING:
        weights = logits.softmax(-1)
    else:
        weights = torch.zeros_like(logits)
        weights[..., layout.names.index(scheme)] = 1
    return torch.where(available, weights, 0)  # not a product: without any stream the softmax is NaN


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
        self.margin = summation_margin(layout.total, 1.0)
        self.logits = text.logits.double()
        lone = layout.names.index(scheme) if scheme in layout.names else None
        self._groups = [
            (pattern, self._columns_of(rows), layout.take(video.packed[rows], pattern).float())
            for pattern, rows in group_by_pattern(self.available)
            if (any(pattern) if lone is None else pattern[lone])
        ]
        patterns = [pattern for pattern, _, _ in self._groups]
        self._patterns = torch.tensor(patterns, dtype=torch.bool, device=self.device).view(-1, len(layout.names))
        scored = self.available.any(1) if lone is None else self.available[:, lone]
        self._scored = torch.cat([scored, scored.new_zeros(without_stream)])
        self._unscorable = (~self._scored).nonzero().squeeze(1)

    def block(self, rows: slice) -> Tensor:
        """(q, G) float32, see `Scores`."""
        text, logits = self.text.packed[rows], self.logits[rows]
        scores = torch.empty(len(text), self.candidates, device=self.device)
        scores[:, self._unscorable] = UNSCORABLE
        weights = scheme_weights(self.scheme, logits[:, None], self._patterns, self.layout).float()
        with full_products(self.device):
            for number, (pattern, columns, clips) in enumerate(self._groups):
                scores[:, columns] = float32_product(self._weighted(text, weights[:, number], pattern), clips)
        return scores

    def pairs(self, queries: Tensor, candidates: Tensor) -> Tensor:
        """(N,) float32, see `Scores`."""
        scores = torch.full((len(queries),), UNSCORABLE, device=self.device)
        scored = self._scored[candidates].nonzero().squeeze(1)  # of a rare stream alone, few are
        for some in scored.split(max(1, GATHERED // self.layout.total)):
            scores[some] = self._pairs(queries[some], candidates[some])
        return scores

    def _pairs(self, queries: Tensor, clips: Tensor) -> Tensor:
        weights = scheme_weights(self.scheme, self.logits[queries], self.available[clips], self.layout)
        products = self.text.packed[queries].double() * self.video.packed[clips].double()
        similarity = torch.stack([products[:, columns].sum(-1) for columns in self.layout.slices], dim=1)
        return torch.where(weights > 0, weights * similarity, 0).sum(-1).float()

    def _weighted(self, text: Tensor, weights: Tensor, pattern: Pattern) -> Tensor:
        """(q, E_A) float32: the present experts' columns, each scaled by its weight."""
        weighted = text.new_empty(len(text), sum(compress(self.layout.sizes, pattern)))
        parts = weighted.split(list(compress(self.layout.sizes, pattern)), dim=1)
        for part, (m, columns) in zip(parts, compress(enumerate(self.layout.slices), pattern)):
            torch.mul(text[:, columns], weights[:, m, None], out=part)
        return weighted

    @staticmethod
    def _columns_of(rows: Tensor) -> slice | Tensor:
        """A slice where rows follow each other, as they do in a gallery sorted by pattern: cheaper to write to."""
        first, last = int(rows[0]), int(rows[-1])
        return slice(first, last + 1) if last - first + 1 == len(rows) else rows
