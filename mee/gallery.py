"""A gallery: clips with their packed embeddings, as the model sees them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from mee.data import FeatureSource, check_source, load_clips
from mee.model import MEE, VideoEmbedding


@dataclass(frozen=True)
class Gallery:
    """G clips that have at least one stream."""

    clip_ids: tuple[str, ...]
    video: VideoEmbedding  # of these clips, in this order
    without_stream: tuple[str, ...]  # clips that have no stream at all: nothing can find them


@torch.no_grad()
def encode_gallery(model: MEE, source: FeatureSource, clip_ids: Sequence[str], batch_size: int = 256) -> Gallery:
    """Embed clips in eval mode, batch by batch.

    Raises:
        InputError: the source's streams are not the model's.
    """
    check_source(model.config, source)
    was_training = model.training
    model.eval()
    kept: list[str] = []
    parts: list[VideoEmbedding] = []
    for start in range(0, len(clip_ids), batch_size):
        batch = list(clip_ids[start : start + batch_size])
        video = model.encode_video(load_clips(source, model.modalities, batch))
        some = video.available.any(1)
        parts.append(VideoEmbedding(video.packed[some], video.available[some]))
        kept += [clip_id for clip_id, has_stream in zip(batch, some.tolist()) if has_stream]
    model.train(was_training)
    packed = [part.packed for part in parts] or [torch.empty(0, model.layout.total)]
    available = [part.available for part in parts] or [torch.empty(0, len(model.modalities), dtype=torch.bool)]
    without = tuple(sorted(set(clip_ids) - set(kept)))
    return Gallery(tuple(kept), VideoEmbedding(torch.cat(packed), torch.cat(available)), without)
