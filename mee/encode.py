"""Clips and captions -> packed embeddings; a gallery: clips with theirs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import compress

import torch

from mee.data import FeatureSource, check_source, load_ragged
from mee.model import MEE, TextEmbedding, VideoEmbedding
from mee.scoring import group_by_pattern
from mee.streams import Ragged

CHUNK = 2048  # sentences that are held as tokens at a time


@dataclass(frozen=True)
class Gallery:
    """G clips that have at least one stream."""

    clip_ids: tuple[str, ...]
    video: VideoEmbedding  # of these clips, in this order
    without_stream: tuple[str, ...]  # clips that have no stream at all: nothing can find them

    def by_pattern(self) -> Gallery:
        """The same clips, those of one availability pattern side by side: cheaper to score."""
        rows = torch.cat([rows for _, rows in group_by_pattern(self.video.available)]) if self.clip_ids else None
        if rows is None:
            return self
        video = VideoEmbedding(self.video.packed[rows], self.video.available[rows])
        return Gallery(tuple(self.clip_ids[row] for row in rows.tolist()), video, self.without_stream)


def load_prepared(model: MEE, source: FeatureSource, clip_ids: Sequence[str]) -> dict[str, Ragged]:
    """Read clips, and pool them where the model's pooling has nothing to learn."""
    loaded = load_ragged(source, model.modalities, clip_ids)
    return {modality: model.expert(modality).read(streams) for modality, streams in loaded.items()}


@torch.no_grad()
def embed_clips(
    model: MEE, streams: Mapping[str, Ragged], clip_ids: Sequence[str], batch_size: int = 256
) -> Gallery:
    """Embed clips in eval mode, batch by batch.

    Args:
        model: any.
        streams: of every modality of the model, in the order of `clip_ids`.
        clip_ids: names of the clips.
        batch_size: clips embedded together.
    """
    was_training = model.training
    model.eval()
    parts = [
        model.encode_video({modality: ragged.take(rows) for modality, ragged in streams.items()})
        for rows in torch.arange(len(clip_ids)).split(batch_size)
        if len(rows)
    ]
    model.train(was_training)
    packed = torch.cat([model.mixture.weight.new_empty(0, model.layout.total), *(part.packed for part in parts)])
    available = torch.cat([packed.new_empty(0, len(model.modalities)).bool(), *(part.available for part in parts)])
    some = available.any(1)
    kept = tuple(compress(clip_ids, some.tolist()))
    without = tuple(sorted(compress(clip_ids, (~some).tolist())))
    return Gallery(kept, VideoEmbedding(packed[some], available[some]), without)


def encode_gallery(model: MEE, source: FeatureSource, clip_ids: Sequence[str], batch_size: int = 256) -> Gallery:
    """Read and embed clips, so many at a time.

    Args:
        model: any.
        source: where their streams are.
        clip_ids: names of the clips.
        batch_size: clips embedded together.

    Raises:
        InputError: the source's streams are not the model's.
    """
    check_source(model.config, source)
    batches = [list(clip_ids[start : start + batch_size]) for start in range(0, max(1, len(clip_ids)), batch_size)]
    parts = [embed_clips(model, load_prepared(model, source, some), some) for some in batches]
    video = VideoEmbedding(
        torch.cat([part.video.packed for part in parts]), torch.cat([part.video.available for part in parts])
    )
    return Gallery(
        tuple(clip_id for part in parts for clip_id in part.clip_ids),
        video,
        tuple(sorted(clip_id for part in parts for clip_id in part.without_stream)),
    )


def encode_captions(model: MEE, captions: Sequence[str]) -> TextEmbedding:
    """Embed captions in eval mode, chunk by chunk; each sentence once, so that the same words always tie.

    Raises:
        InputError: a caption is empty.
    """
    sentences = list(dict.fromkeys(captions))
    chunks = [sentences[start : start + CHUNK] for start in range(0, len(sentences), CHUNK)]
    return _joined([embed_captions(model, chunk, model.read_text(chunk)) for chunk in chunks], captions)


@torch.no_grad()
def embed_captions(
    model: MEE,
    captions: Sequence[str],
    read: Mapping[str, Ragged],
    batch_size: int = 256,
) -> TextEmbedding:
    """The same of captions that the text encoder has read: each sentence once, in order of first mention."""
    was_training = model.training
    model.eval()
    parts = [
        model.embed_text({tower: ragged.take(rows) for tower, ragged in read.items()})
        for rows in torch.arange(len(set(captions))).split(batch_size)
    ]
    model.train(was_training)
    return _joined(parts, captions)


def _joined(parts: Sequence[TextEmbedding], captions: Sequence[str]) -> TextEmbedding:
    """A row a caption, of parts with a row a sentence in order of first mention."""
    row_of = {caption: row for row, caption in enumerate(dict.fromkeys(captions))}
    packed, logits = torch.cat([part.packed for part in parts]), torch.cat([part.logits for part in parts])
    rows = torch.tensor([row_of[caption] for caption in captions], device=packed.device)
    return TextEmbedding(packed[rows], logits[rows])
