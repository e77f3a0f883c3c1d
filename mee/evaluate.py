"""Retrieval evaluation: a model, a gallery and captions -> a report that says how it was measured.

Text to video: every caption is a query of its own. Video to text: every clip is a query, and its rank is that of
its closest own caption among all captions. Ties give the expected rank (mee.metrics).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor

from mee.errors import InputError
from mee.gallery import Gallery
from mee.metrics import RankCounter, retrieval_metrics
from mee.model import MEE, TextEmbedding, VideoEmbedding
from mee.pairs import Pairs
from mee.ragged import Ragged
from mee.schemes import MIXTURE, UNSCORABLE, score_by

BLOCK = 1024  # clips scored at a time


@dataclass(frozen=True, kw_only=True)
class RetrievalReport:
    """Figures of one scoring scheme, with what is needed to compare them."""

    scheme: str
    t2v: dict[str, float]
    v2t: dict[str, float]
    queries: int
    gallery: int
    streams: dict[str, int]  # how many clips of the gallery have each stream
    without_stream: tuple[str, ...]  # clips of the gallery that have none at all, and share the last place
    protocol: str = "folder"
    tie_rule: str = "expected rank"
    v2t_convention: str = "closest own caption among all captions"
    normalisation: str = "none"
    context: dict[str, Any] = field(default_factory=dict)  # split, checkpoint, seed, what was left out

    def to_dict(self) -> dict[str, Any]:
        """As plain containers, for JSON."""
        return asdict(self)


def encode_captions(model: MEE, captions: Sequence[str]) -> TextEmbedding:
    """Embed captions in eval mode, batch by batch; each sentence once, so that the same words always tie.

    Raises:
        InputError: a caption is empty.
    """
    return embed_captions(model, captions, model.read_text(list(dict.fromkeys(captions))))


@torch.no_grad()
def embed_captions(
    model: MEE, captions: Sequence[str], read: Mapping[str, Ragged], batch_size: int = 256
) -> TextEmbedding:
    """The same of captions that the text encoder has read: each sentence once, in order of first mention."""
    was_training = model.training
    model.eval()
    row_of = {caption: row for row, caption in enumerate(dict.fromkeys(captions))}
    parts = [
        model.embed_text({tower: ragged.take(rows) for tower, ragged in read.items()})
        for rows in torch.arange(len(row_of)).split(batch_size)
    ]
    model.train(was_training)
    rows = torch.tensor([row_of[caption] for caption in captions], device=model.device)
    packed, logits = torch.cat([part.packed for part in parts]), torch.cat([part.logits for part in parts])
    return TextEmbedding(packed[rows], logits[rows])


def rank_both_ways(
    model: MEE, text: TextEmbedding, gallery: Gallery, pairs: Pairs, scheme: str = MIXTURE
) -> tuple[Tensor, Tensor]:
    """Expected ranks, the gallery scored block by block.

    Args:
        model: for its layout.
        text: of the Q captions of `pairs`.
        gallery: G clips. Those without any stream share the last place; captions of clips that are not in the
            gallery at all take no part.
        pairs: which captions belong to which clips.
        scheme: how to score, see mee.schemes.

    Returns:
        Ranks of the captions among the clips (at most Q), and of the captioned clips among the captions.

    Raises:
        InputError: no caption has a clip in the gallery.
    """
    caption, clip = _positives(pairs, gallery)
    if not len(caption):
        raise InputError("none of the captions to rank belongs to a clip of the gallery")
    asked = torch.zeros(len(pairs), dtype=torch.bool)
    asked[caption] = True
    numbers = asked.cumsum(0) - 1  # of a caption among those that are asked
    text = TextEmbedding(text.packed[asked].double(), text.logits[asked].double())
    caption = numbers[caption]

    def blocks() -> Iterator[tuple[Tensor, Tensor]]:
        count = len(gallery.clip_ids)
        for start in range(0, count, BLOCK):
            rows = slice(start, min(start + BLOCK, count))
            video = VideoEmbedding(gallery.video.packed[rows].double(), gallery.video.available[rows])
            scores = score_by(scheme, text, video, model.layout).float()  # equal pairs tie, whatever their block
            yield scores, positives(rows).to(scores.device)
        if gallery.without_stream:  # nothing can find them, and they count all the same
            rows = slice(count, count + len(gallery.without_stream))
            positive = positives(rows).to(text.packed.device)
            yield torch.full(positive.shape, UNSCORABLE, device=positive.device), positive

    def positives(rows: slice) -> Tensor:
        positive = torch.zeros(len(text.packed), rows.stop - rows.start, dtype=torch.bool)
        inside = (clip >= rows.start) & (clip < rows.stop)
        positive[caption[inside], clip[inside] - rows.start] = True
        return positive

    t2v = RankCounter(len(text.packed))
    v2t_ranks = []
    for scores, positive in blocks():
        t2v.see(scores, positive)
    for scores, positive in blocks():
        t2v.count(scores, positive)
        captioned = positive.any(0)
        v2t = RankCounter(int(captioned.sum()))
        v2t.see(scores.T[captioned], positive.T[captioned])
        v2t.count(scores.T[captioned], positive.T[captioned])
        v2t_ranks.append(v2t.ranks)
    return t2v.ranks, torch.cat(v2t_ranks)


def _positives(pairs: Pairs, gallery: Gallery) -> tuple[Tensor, Tensor]:
    """Matching (caption number, clip row) pairs, as two int64 vectors."""
    row_of = {clip_id: row for row, clip_id in enumerate(gallery.clip_ids + gallery.without_stream)}
    found = [
        (number, row_of[clip_id])
        for number, clip_ids in enumerate(pairs.clip_ids)
        for clip_id in clip_ids
        if clip_id in row_of
    ]
    caption, clip = torch.tensor(found, dtype=torch.int64).reshape(-1, 2).unbind(1)
    return caption, clip


def evaluate(
    model: MEE,
    gallery: Gallery,
    pairs: Pairs,
    *,
    scheme: str = MIXTURE,
    text: TextEmbedding | None = None,
    context: dict[str, Any] | None = None,
) -> RetrievalReport:
    """Rank both ways and report.

    Args:
        model: trained; put into eval mode for the captions.
        gallery: what is ranked, see `mee.gallery.encode_gallery`.
        pairs: captions and their clips.
        scheme: how to score, see mee.schemes.
        text: embeddings of the captions, where they are at hand already.
        context: goes into the report as it is.

    Raises:
        InputError: no caption has a clip in the gallery.
    """
    text = encode_captions(model, pairs.captions) if text is None else text
    t2v, v2t = rank_both_ways(model, text, gallery, pairs, scheme)
    present = gallery.video.available.sum(0).tolist()
    return RetrievalReport(
        scheme=scheme,
        t2v=retrieval_metrics(t2v),
        v2t=retrieval_metrics(v2t),
        queries=len(t2v),
        gallery=len(gallery.clip_ids) + len(gallery.without_stream),
        streams=dict(zip(model.modalities, present)),
        without_stream=gallery.without_stream,
        context=context or {},
    )
