"""A model's captions ranked against its gallery: the figures, and what each part of the model contributes.

schemes   each expert alone, uniform weights, the other rule of missing streams
removed   the same clips with one stream removed from all of them; of both, experts without a text side are no part
patterns  the queries by the streams of their right clip
weights   the mixture weights of the queries
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from mee.data import Pairs
from mee.encode import Gallery, encode_captions
from mee.errors import InputError
from mee.evaluation.config import NormaliseConfig
from mee.evaluation.measure import Measured, Names, measure_scores
from mee.evaluation.metrics import retrieval_metrics
from mee.evaluation.result import Pattern, Row, Weights
from mee.layout import Layout
from mee.model import MEE, TextEmbedding
from mee.ranking import MIXTURE, LastPlaced, MixtureScores, Positives, schemes
from mee.scoring import group_by_pattern
from mee.zero_shot import standing_out

if TYPE_CHECKING:
    import pandas as pd

    from mee.ranking import Convention, Ranking, Scores


def right_clips(pairs: Pairs, gallery: Gallery) -> tuple[Tensor, Positives]:
    """Find the right clips of every caption; captions without any in the gallery are left out.

    A caption that several pairs have under one id is one query, and the clips of all of them are right.

    (Q,) int64, the captions' first numbers in the pairs, those with the same right clips side by side; the right
    pairs of these captions, in this order, and of the gallery's clips, those without a stream last.
    """
    row_of = {clip_id: row for row, clip_id in enumerate(gallery.names)}
    first: dict[tuple[str, str], int] = {}
    right: dict[int, set[int]] = {}
    for number, key in enumerate(zip(pairs.ids, pairs.captions)):
        own = right.setdefault(first.setdefault(key, number), set())
        own.update(row_of[name] for name in pairs.clip_ids[number] if name in row_of)
    rows = {number: tuple(sorted(own)) for number, own in right.items() if own}
    numbers = sorted(rows, key=rows.__getitem__)
    if not numbers:
        raise InputError("none of the captions to rank belongs to a clip of the gallery")
    found = [(place, row) for place, number in enumerate(numbers) for row in rows[number]]
    query, candidate = torch.tensor(found, dtype=torch.int64).unbind(1)
    return torch.tensor(numbers), Positives(query, candidate, len(numbers), len(row_of))


@dataclass(frozen=True)
class Retrieval:
    """Encoded captions, the gallery they are ranked against, and the right pairs."""

    layout: Layout
    text: TextEmbedding  # of Q captions
    gallery: Gallery
    positives: Positives  # of these captions and the gallery's clips, those without a stream last
    names: Names | None = None
    v2t: Convention = "closest"
    normalise: NormaliseConfig = field(default_factory=NormaliseConfig)
    bank: TextEmbedding | None = None  # of training captions, for a normalisation that needs them

    @classmethod
    def of(
        cls,
        model: MEE,
        gallery: Gallery,
        pairs: Pairs,
        *,
        text: TextEmbedding | None = None,
        clips: pd.DataFrame | None = None,
        v2t: Convention = "closest",
        normalise: NormaliseConfig | None = None,
        bank: TextEmbedding | None = None,
    ) -> Retrieval:
        """Encode captions, and find their right clips; captions of clips that are not in the gallery are left out.

        `text`: embeddings of all captions, where they were encoded before; `clips`: of the feature source, for the
        names of videos in answers.

        Raises:
            InputError: no caption has a clip in the gallery.
        """
        text, gallery = encode_captions(model, pairs.captions) if text is None else text, gallery.by_pattern()
        text = standing_out(model, text, gallery.video)
        bank = None if bank is None else standing_out(model, bank, gallery.video)
        numbers, positives = right_clips(pairs, gallery)
        ids, captions = ([names[number] for number in numbers.tolist()] for names in (pairs.ids, pairs.captions))
        names = Names(ids, captions, gallery.names, clips)
        normalise = normalise or NormaliseConfig()
        return cls(model.layout, text[numbers], gallery, positives, names, v2t, normalise, bank)

    def scores(self, scheme: str = MIXTURE, removed: Sequence[str] = ()) -> Scores:
        """Scores by a scheme (mee.ranking.mixture), without some experts, normalised."""

        def of(text: TextEmbedding) -> MixtureScores:
            video, without = self.gallery.video, len(self.gallery.without_stream)
            return MixtureScores(text, video, self.layout, scheme=scheme, removed=removed, without_stream=without)

        offsets = self.normalise.offsets(None if self.bank is None else of(self.bank))
        plain = of(self.text)
        if self.normalise.method == "none":
            return plain
        most = 0.0 if offsets is None else float(offsets.offset.abs().max())
        return LastPlaced(
            self.normalise.apply(plain, offsets), self._unscorable(scheme, removed), plain.nothing - most
        )

    def measure(
        self, scheme: str = MIXTURE, removed: Sequence[str] = (), *, resamples: int = 0, answers: bool = False
    ) -> Measured:
        """Rank both ways, by a scheme (mee.ranking.mixture), as if no clip had the removed experts.

        `resamples` are the bootstrap's, 0: no intervals; `answers`: whether to keep each query's first answers.

        Raises:
            InputError: a score is NaN.
        """
        names, scores = self.names if answers else None, self.scores(scheme, removed)
        return measure_scores(scores, self.positives, names, v2t=self.v2t, resamples=resamples)

    def schemes(self) -> tuple[Row, ...]:
        """Figures of every scheme but the mixture."""
        others = [name for name in schemes(self.layout)[1:] if name not in {*self.layout.names} - {*self._asked}]
        return tuple(_row(name, self.measure(name)) for name in others)

    def removed(self) -> tuple[Row, ...]:
        """Figures with each expert removed in turn."""
        names = self._asked if len(self._asked) > 1 else ()
        return tuple(_row(name, self.measure(removed=(name,))) for name in names)

    def patterns(self, ranking: Ranking) -> tuple[Pattern, ...]:
        """Text to video by the streams of the right clip (of the first one, where a caption has several)."""
        clip, rows = self.right_clip(ranking.t2v.query), []
        for pattern, clips in group_by_pattern(self._available.cpu()):
            mine = torch.isin(clip, clips)
            if not mine.any():
                continue
            ranks, gains = ranking.t2v.rank.cpu()[mine], ranking.t2v.gain.cpu()[mine]
            streams = tuple(name for name, present in zip(self.layout.names, pattern) if present)
            figures = retrieval_metrics(ranks, gains)
            rows.append(Pattern(streams=streams, clips=len(clips), queries=len(ranks), text_to_video=figures))
        return tuple(sorted(rows, key=lambda row: (-row.queries, row.streams)))

    def weights(self) -> Weights:
        """Mean mixture weights of all queries, and of those that give each expert its largest weight."""
        weights = 100 * self.text.logits.double().softmax(-1).cpu()
        most = weights.argmax(-1)
        groups = [("all queries", torch.ones(len(weights), dtype=torch.bool))]
        groups += [(f"most to {name}", most == m) for m, name in enumerate(self.layout.names)]
        rows = ((name, int(own.sum()), tuple(weights[own].mean(0).tolist())) for name, own in groups if own.any())
        return Weights(experts=self.layout.names, rows=tuple(rows))

    def right_clip(self, queries: Tensor) -> Tensor:
        """The right clip of each query, the first one where a caption has several."""
        first = dict(zip(self.positives.query.tolist()[::-1], self.positives.candidate.tolist()[::-1]))
        return torch.tensor([first[query] for query in queries.tolist()])

    @property
    def _asked(self) -> tuple[str, ...]:
        """The experts that a sentence reaches."""
        reached = (self.text.logits > -torch.inf).any(0).tolist()
        return tuple(name for name, there in zip(self.layout.names, reached) if there)

    @property
    def _available(self) -> Tensor:
        """(G, M) bool of all clips, those without a stream last."""
        available, without = self.gallery.video.available, len(self.gallery.without_stream)
        return torch.cat([available, available.new_zeros(without, available.shape[1])])

    def _unscorable(self, scheme: str, removed: Sequence[str]) -> Tensor:
        """(G,) bool: clips that have none of the streams that are scored."""
        names = self.layout.names
        scored = (scheme,) if scheme in names else self._asked
        columns = [m for m, name in enumerate(names) if name in scored and name not in removed]
        return ~self._available[:, columns].any(1)


def _row(name: str, measured: Measured) -> Row:
    return Row(name=name, text_to_video=measured.t2v.metrics, video_to_text=measured.v2t.metrics)
