"""Scores of a model's embeddings: by its mixture, and by schemes that show what one part of it contributes.

    s(q, v) = sum over m in A(v) of w_m (<t_m(q), x_m(v)> - o_m(q))

mixture      w by the model's own rule of missing streams, as in mee.scoring
uniform      the same with l = 0: every expert with a text side (l above -inf) counts equally
evidence     w = softmax of l(q) over all experts, for a model that renormalises
renormalise  w = softmax of l(q) over A(v), for a model whose rule is evidence
<modality>   w = 1 for one expert alone; clips without that stream share the last place

Clips that have none of the experts that a sentence reaches share the last place, too.

Clips are grouped by availability pattern. A block is one matrix product for each pattern, of the experts that its
clips have. Queries are weighted once, for all patterns:

    renormalise   w(A) = w(all) / Z_A,   Z_A = sum of w(all) over A     so each product is divided by Z_A

unless logits of a query are so far apart that small weights lose bits in float32; then each pattern has its own.
Weights are not negative, so of an expert of words the best row with the weight is that without it: rows are
multiplied with weighted queries too, and the largest product has the error bound of each. What offsets take is
subtracted last.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from functools import reduce
from itertools import compress
from typing import Final, final

import torch
from torch import Tensor

from mee.config import SCHEMES, Missing
from mee.layers import pool_rows
from mee.layout import Layout, Pattern
from mee.model import TextEmbedding, VideoEmbedding
from mee.products import float32_product, full_products
from mee.ranking.scores import ROUNDING, Scores, summation_margin
from mee.scoring import group_by_pattern, mixture_weights
from mee.streams import Ragged

MIXTURE, UNIFORM, EVIDENCE, RENORMALISE = SCHEMES
UNSCORABLE = -2.0  # below every score without offsets
SPREAD: Final = 40.0  # logits of a query this far apart: e^-40 is 2^-58, and float32 goes down to 2^-126
GATHERED = 2**17  # numbers a side from which pairs are computed at a time: they stay in the cache
ROWS, PRODUCTS = 2**14, 2**22  # of words: rows of clips, and products of them, that are computed together


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
        alone = scheme in layout.names
        reached = (~text.logits.isneginf()).any(0).tolist()  # by any sentence
        scored = [name == scheme if alone else there for name, there in zip(layout.names, reached)]
        kept = torch.tensor([own and name not in removed for name, own in zip(layout.names, scored)])
        kept = kept.to(video.available.device)
        self.text, self.video, self.layout, self.scheme = text, video, layout, scheme
        self.available = video.available & kept
        self.queries, self.clips = len(text.packed), len(video.packed)
        self.candidates = self.clips + without_stream
        self.device = text.packed.device
        self.words = {
            name: replace(rows, values=rows.values.to(self.device)) for name, rows in video.words.items()
        }
        sizes = dict(zip(layout.names, layout.sizes))  # of the words of the longest clip, in numbers
        self._longest = max(
            [1, *(sizes[m] * int(r.offsets.diff().max()) for m, r in self.words.items() if len(r))]
        )
        self.logits, self.offsets = text.logits.double(), text.offsets.detach().double()
        largest = float(self.offsets.abs().max()) if self.queries else 0.0
        self._some_offset = largest > 0
        self.nothing = UNSCORABLE - largest  # of clips that cannot be scored, below every score
        # the offsets are one term more; a weight's divisor and the division are rounded
        self.margin = summation_margin(layout.total + 1, 1.0 + largest) + 2 * ROUNDING * (1.0 + largest)
        other: Missing = "evidence" if scheme == EVIDENCE else "renormalise"  # an expert alone has all the weight
        self._rule = layout.missing if scheme in (MIXTURE, UNIFORM) else other
        packed = video.packed.float()
        groups = [group for group in group_by_pattern(self.available) if any(group[0])]
        self._groups = [
            (self._columns_of(rows), self._parts_of(pattern, packed[rows]), self._words_of(pattern, rows))
            for pattern, rows in groups
        ]
        patterns = torch.tensor([pattern for pattern, _ in groups], dtype=torch.bool, device=self.device)
        self._patterns = patterns.view(-1, len(layout.names))
        self._scored = torch.cat([self.available.any(1), kept.new_zeros(without_stream)])
        self._unscorable = (~self._scored).nonzero().squeeze(1)

    def block(self, rows: slice) -> Tensor:
        """(q, G) float32, see `Scores`."""
        text, logits = self.text.packed[rows], self._chosen(self.logits[rows])
        every = torch.ones_like(logits, dtype=torch.bool)
        whole = mixture_weights(logits, every, "evidence")  # (q, M), over all experts
        patterns, offsets = self._patterns.double().T, self.offsets[rows]
        factors = torch.ones(1, 1).to(whole)
        if self._rule == "renormalise":
            total = whole @ patterns  # (q, P)
            factors = torch.where(total > 0, 1 / total, 0)
        taken = (whole * offsets) @ patterns * factors
        least = logits.masked_fill(logits == -torch.inf, torch.inf).amin(1)
        far = self._rule == "renormalise" and bool((logits.amax(1) - least > SPREAD).any())
        if far:
            weights = mixture_weights(logits[:, None], self._patterns, self._rule)  # (q, P, M)
            taken = (weights * offsets[:, None]).sum(-1)
        factors, taken, weighted = factors.float(), taken.float(), self._weighted(text, whole)
        scores = torch.empty(len(text), self.candidates, device=self.device)
        scores[:, self._unscorable] = self.nothing
        with full_products(self.device):
            for n, (columns, parts, words) in enumerate(self._groups):
                if far:
                    weighted = self._weighted(text, weights[:, n])
                multiplied = (float32_product(weighted[:, own], clips) for own, clips in parts)
                products = reduce(Tensor.add_, multiplied) if parts else torch.zeros_like(scores[:, columns])
                for own, pieces in words:
                    _add_best(products, weighted[:, own], pieces)
                place = scores[:, columns] if isinstance(columns, slice) else products
                if self._rule == "renormalise" and not far:
                    torch.mul(products, factors[:, n, None], out=place)
                else:
                    place.copy_(products)
                if self._some_offset:
                    place -= taken[:, n, None]
                if place is products:
                    scores[:, columns] = place
        return scores

    def pairs(self, queries: Tensor, candidates: Tensor) -> Tensor:
        """(N,) float32, see `Scores`."""
        scores = torch.full((len(queries),), self.nothing, device=self.device)
        scored = self._scored[candidates].nonzero().squeeze(1)  # of a rare stream alone, few are
        for some in scored.split(max(1, min(GATHERED // self.layout.total, 4 * PRODUCTS // self._longest))):
            scores[some] = self._pairs(queries[some], candidates[some])
        return scores

    def _pairs(self, queries: Tensor, clips: Tensor) -> Tensor:
        weights = mixture_weights(self._chosen(self.logits[queries]), self.available[clips], self._rule)
        products = self.text.packed[queries].double() * self.video.packed[clips].double()
        similarity = torch.stack([products[:, columns].sum(-1) for columns in self.layout.slices], dim=1)
        for name, words in self.words.items():
            m, own = self.layout.names.index(name), words.only(clips.cpu())
            lengths = own.offsets.diff().to(self.device)
            text = self.text.packed[queries, self.layout.slices[m]].double().repeat_interleave(lengths, dim=0)
            inner = (text * own.values.double()).sum(-1, keepdim=True)
            similarity[:, m] = pool_rows(inner, lengths, "max")[:, 0]
        return torch.where(weights > 0, weights * (similarity - self.offsets[queries]), 0).sum(-1).float()

    def _chosen(self, logits: Tensor) -> Tensor:
        if self.scheme in self.layout.names:
            return torch.zeros_like(logits)
        return torch.where(logits > -torch.inf, 0, logits) if self.scheme == UNIFORM else logits

    def _weighted(self, text: Tensor, weights: Tensor) -> Tensor:
        """(q, E) float32: every expert's columns, scaled by its weight."""
        weighted = torch.empty(text.shape, device=text.device)
        for m, columns in enumerate(self.layout.slices):
            torch.mul(text[:, columns], weights[:, m, None].float(), out=weighted[:, columns])
        return weighted

    def _parts_of(self, pattern: Pattern, packed: Tensor) -> list[tuple[slice, Tensor]]:
        """Columns of a pattern's experts but those of words, neighbours as one slice, and these of its clips."""
        experts = compress(zip(self.layout.names, self.layout.slices), pattern)
        own = [columns for name, columns in experts if name not in self.words]
        starts, stops = [each.start for each in own], [each.stop for each in own]
        ends = zip((s for s in starts if s not in stops), (s for s in stops if s not in starts))
        return [(slice(*each), packed[:, slice(*each)].contiguous()) for each in ends]

    def _words_of(self, pattern: Pattern, clips: Tensor) -> list[tuple[slice, list[Ragged]]]:
        """Columns of the experts of words of a pattern, and its clips' rows, some clips at a time."""
        found, clips = [], clips.cpu()
        for name, columns in compress(zip(self.layout.names, self.layout.slices), pattern):
            if name in self.words:
                rows = self.words[name].only(clips)
                rows = replace(rows, values=rows.values.float())
                part = (rows.offsets[1:] - 1) // ROWS
                sizes = part.unique_consecutive(return_counts=True)[1].tolist()
                found.append((columns, [rows.only(some) for some in torch.arange(len(rows)).split(sizes)]))
        return found

    @staticmethod
    def _columns_of(rows: Tensor) -> slice | Tensor:
        """A slice where rows follow each other, as they do in a gallery sorted by pattern: cheaper to write to."""
        first, last = int(rows[0]), int(rows[-1])
        return slice(first, last + 1) if last - first + 1 == len(rows) else rows


def _add_best(products: Tensor, weighted: Tensor, pieces: Sequence[Ragged]) -> None:
    """Add to (q, G) products the best of each clip's rows; of (q, E_m) weighted queries."""
    place, weighted = 0, weighted.contiguous()
    for piece in pieces:
        lengths = piece.offsets.diff().to(weighted.device)
        for some in torch.arange(len(weighted)).split(max(1, PRODUCTS // len(piece.values))):
            best = pool_rows(float32_product(piece.values, weighted[some]), lengths, "max").T
            products[some, place : place + len(piece)] += best
        place += len(piece)
