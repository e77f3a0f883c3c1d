"""A model, a gallery and captions -> figures both ways, by one scoring scheme.

Training asks this after every epoch; `mee evaluate` measures more (mee.evaluation.measure).
"""

from __future__ import annotations

from dataclasses import dataclass

from mee.data import Pairs
from mee.encode import Gallery, encode_captions
from mee.evaluation.metrics import retrieval_metrics
from mee.evaluation.question import Asked
from mee.model import MEE, TextEmbedding
from mee.ranking import MIXTURE, MixtureScores, rank_queries


@dataclass(frozen=True, kw_only=True)
class RetrievalReport:
    """Figures of one scoring scheme; `mee.evaluation.result` has what is needed to compare them with others."""

    scheme: str
    t2v: dict[str, float]
    v2t: dict[str, float]
    queries: int
    gallery: int


def text_of(text: TextEmbedding, asked: Asked) -> TextEmbedding:
    """The embeddings of the captions that are asked, in their order."""
    rows = asked.numbers.to(text.packed.device)
    return TextEmbedding(text.packed[rows], text.logits[rows])


def evaluate_pairs(
    model: MEE,
    gallery: Gallery,
    pairs: Pairs,
    *,
    scheme: str = MIXTURE,
    text: TextEmbedding | None = None,
) -> RetrievalReport:
    """Rank both ways and report.

    Args:
        model: trained; put into eval mode for the captions.
        gallery: what is ranked, see `mee.encode.encode_gallery`.
        pairs: captions and their clips; captions of clips that are not in the gallery take no part.
        scheme: how to score, see mee.ranking.mixture.
        text: embeddings of the captions, where they are at hand already.

    Raises:
        InputError: no caption has a clip in the gallery.
    """
    text = encode_captions(model, pairs.captions) if text is None else text
    gallery = gallery.by_pattern()
    asked = Asked.of(pairs, gallery)
    scores = MixtureScores(
        text_of(text, asked),
        gallery.video,
        model.layout,
        scheme=scheme,
        without_stream=len(gallery.without_stream),
    )
    ranking = rank_queries(scores, asked.positives)
    return RetrievalReport(
        scheme=scheme,
        t2v=retrieval_metrics(ranking.t2v.rank, ranking.t2v.gain),
        v2t=retrieval_metrics(ranking.v2t.rank, ranking.v2t.gain),
        queries=len(ranking.t2v.rank),
        gallery=ranking.t2v.candidates,
    )
