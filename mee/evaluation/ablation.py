"""A model, a gallery and captions -> the tables of a result that say what its parts are worth.

schemes   each expert alone, uniform weights, missing streams counted as zeros
removed   the same clips with one stream taken away from all of them
patterns  the queries by the streams of their right clip
weights   what the mixture listens to
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from mee.encode import Gallery
from mee.evaluation.metrics import retrieval_metrics
from mee.evaluation.normalisation import NormaliseConfig
from mee.evaluation.result import Pattern, Row, Weights
from mee.layout import Layout
from mee.model import TextEmbedding
from mee.ranking import (
    MIXTURE,
    UNSCORABLE,
    Convention,
    LastPlaced,
    MixtureScores,
    Positives,
    Ranking,
    Scores,
    rank_queries,
    schemes,
)
from mee.scoring import group_by_pattern


@dataclass(frozen=True)
class Assessment:
    """What is asked of a model, and what it is asked with."""

    layout: Layout
    text: TextEmbedding  # of the captions that are asked, in their order
    gallery: Gallery
    positives: Positives
    v2t: Convention = "closest"
    normalise: NormaliseConfig = field(default_factory=NormaliseConfig)
    bank: TextEmbedding | None = None  # of training captions, for a normalisation that needs them

    def scores(self, scheme: str = MIXTURE, removed: Sequence[str] = ()) -> Scores:
        """Scores by a scheme, normalised."""

        def of(text: TextEmbedding) -> Scores:
            video, without = self.gallery.video, len(self.gallery.without_stream)
            return MixtureScores(text, video, self.layout, scheme=scheme, removed=removed, without_stream=without)

        offsets = self.normalise.offsets(None if self.bank is None else of(self.bank))
        scores = self.normalise.apply(of(self.text), offsets)
        if self.normalise.method != "none":
            most = 0.0 if offsets is None else float(offsets.offset.abs().max())
            scores = LastPlaced(scores, self._lost(scheme, removed), UNSCORABLE - most)
        return scores

    @property
    def _available(self) -> Tensor:
        """(G, M) bool of all clips, those without a stream last."""
        available, without = self.gallery.video.available, len(self.gallery.without_stream)
        return torch.cat([available, available.new_zeros(without, available.shape[1])])

    def _lost(self, scheme: str, removed: Sequence[str]) -> Tensor:
        """(G,) bool: clips that have none of the streams that are scored."""
        names = self.layout.names
        scored = (scheme,) if scheme in names else names
        columns = [m for m, name in enumerate(names) if name in scored and name not in removed]
        return ~self._available[:, columns].any(1)

    def schemes(self) -> tuple[Row, ...]:
        """Figures of every scheme but the mixture."""
        return tuple(self._row(name, scheme=name) for name in schemes(self.layout) if name != MIXTURE)

    def removed(self) -> tuple[Row, ...]:
        """Figures with each expert taken away in turn."""
        names = self.layout.names if len(self.layout.names) > 1 else ()
        return tuple(self._row(name, removed=(name,)) for name in names)

    def _row(self, name: str, *, scheme: str = MIXTURE, removed: Sequence[str] = ()) -> Row:
        ranking = rank_queries(self.scores(scheme, removed), self.positives, v2t=self.v2t)
        return Row(
            name=name,
            text_to_video=retrieval_metrics(ranking.t2v.rank, ranking.t2v.gain),
            video_to_text=retrieval_metrics(ranking.v2t.rank, ranking.v2t.gain),
        )

    def patterns(self, ranking: Ranking) -> tuple[Pattern, ...]:
        """Text to video by the streams of the right clip (of the first one, where a caption has several)."""
        first = dict(zip(self.positives.query.tolist()[::-1], self.positives.candidate.tolist()[::-1]))
        clip = torch.tensor([first[query] for query in ranking.t2v.query.tolist()])
        rows = []
        for pattern, clips in group_by_pattern(self._available.cpu()):
            mine = torch.isin(clip, clips)
            if not mine.any():
                continue
            ranks, gains = ranking.t2v.rank.cpu()[mine], ranking.t2v.gain.cpu()[mine]
            streams = tuple(name for name, there in zip(self.layout.names, pattern) if there)
            figures = retrieval_metrics(ranks, gains)
            rows.append(Pattern(streams=streams, clips=len(clips), queries=len(ranks), text_to_video=figures))
        return tuple(sorted(rows, key=lambda row: (-row.queries, row.streams)))

    def weights(self) -> Weights:
        """Mean mixture weights of all queries, and of those that listen most to each expert."""
        weights = 100 * self.text.logits.double().softmax(-1).cpu()
        most = weights.argmax(-1)
        groups = [("all queries", torch.ones(len(weights), dtype=torch.bool))]
        groups += [(f"most to {name}", most == m) for m, name in enumerate(self.layout.names)]
        return Weights(
            experts=self.layout.names,
            rows=tuple(
                (name, int(mine.sum()), tuple(weights[mine].mean(0).tolist()))
                for name, mine in groups
                if mine.any()
            ),
        )
