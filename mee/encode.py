"""Captions and clips -> embeddings, in eval mode and batch by batch, whatever their number.

Streams are pooled while they are read, block by block, where pooling has nothing to learn. Utterances are read as
numbers of distinct sentences, and become vectors together (mee.text.vectors). Training loads and tokenizes its
validation set once (`load_streams`, `MEE.tokenize`) and encodes it after every epoch.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import compress
from pathlib import Path

import torch

from mee.config import ExpertConfig, tower_settings
from mee.data import FeatureSource, check_source, load_ragged, load_words
from mee.errors import InputError
from mee.layers import pool_streams
from mee.model import MEE, TextEmbedding, VideoEmbedding
from mee.scoring import group_by_pattern
from mee.streams import Ragged
from mee.text import sentence_vectors

CHUNK = 2048  # sentences that are held as tokens at a time
BATCH = 256  # sentences or clips that are encoded together
LOADED = 512  # clips that are read together
PADDED = 1 << 16  # utterances of clips that are encoded together, with padding; of one clip there may be more


@dataclass(frozen=True)
class Gallery:
    """G clips that have at least one stream."""

    clip_ids: tuple[str, ...]
    video: VideoEmbedding  # of these clips, in this order
    without_stream: tuple[str, ...]  # clips that have no stream at all: no query can find them

    @property
    def names(self) -> tuple[str, ...]:
        """All clips, those without a stream last."""
        return self.clip_ids + self.without_stream

    def by_pattern(self) -> Gallery:
        """The same clips, those of one availability pattern side by side: cheaper to score."""
        if not self.clip_ids:
            return self
        rows = torch.cat([rows for _, rows in group_by_pattern(self.video.available)])
        return Gallery(tuple(self.clip_ids[row] for row in rows.tolist()), self.video[rows], self.without_stream)


def encode_captions(
    model: MEE, captions: Sequence[str], tokens: Mapping[str, Ragged] | None = None
) -> TextEmbedding:
    """Encode captions, at least one; each sentence once, so that the same words always tie.

    `tokens`: what `MEE.tokenize` returns for the distinct captions in order of first mention, where they were
    tokenized before.

    Raises:
        InputError: a caption is empty.
    """
    row_of = {caption: row for row, caption in enumerate(dict.fromkeys(captions))}
    sentences = list(row_of)
    parts: list[TextEmbedding] = []
    with _evaluating(model):
        for start in range(0, len(sentences), CHUNK):
            chunk = sentences[start : start + CHUNK]
            rows = torch.arange(len(chunk)) + (0 if tokens is None else start)
            inputs = model.tokenize(chunk) if tokens is None else tokens
            batches = ({tower: whole.take(some) for tower, whole in inputs.items()} for some in rows.split(BATCH))
            parts += map(model.encode_text, batches)
        text = TextEmbedding(*map(torch.cat, zip(*((part.packed, part.logits, part.offsets) for part in parts))))
    return text[torch.tensor([row_of[caption] for caption in captions])]


def load_streams(
    source: FeatureSource,
    experts: Sequence[ExpertConfig],
    clip_ids: Sequence[str],
    folder: Path | None = None,
    model: MEE | None = None,
) -> dict[str, Ragged]:
    """Load clips' streams by modality, pooled where the expert's pooling has nothing to learn.

    `folder`: for a temporary file, see `Ragged.gather`; `model`: whose text encoders read words, if there are any.

    Raises:
        InputError: a stream has NaN or infinity in it, or an utterance without words.
    """
    loaded = {}
    for expert in experts:
        numbers: dict[str, int] = {}
        streams = Ragged.gather(stream_blocks(source, expert, clip_ids, numbers), folder)
        if expert.words and model:
            streams = in_vectors(model, expert, streams, list(numbers), folder)
        loaded[expert.name] = streams
    return loaded


def in_vectors(
    model: MEE, expert: ExpertConfig, streams: Ragged, sentences: Sequence[str], folder: Path | None = None
) -> Ragged:
    """Streams of numbers of sentences -> of their text vectors, by the encoder of an expert of words."""
    settings = tower_settings(expert.text) if expert.own_tower else model.config.text
    vectors = sentence_vectors(model.tower_of(expert.name), settings, sentences, model.device)
    blocks = streams.blocks(torch.arange(len(streams)))
    return Ragged.gather((replace(block, values=vectors[block.values]) for block in blocks), folder)


def stream_blocks(
    source: FeatureSource, expert: ExpertConfig, clip_ids: Sequence[str], numbers: dict[str, int] | None = None
) -> Iterator[Ragged]:
    """The same of one expert, a block of clips at a time, at least one; of words, see `mee.data.load_words`."""
    for start in range(0, max(1, len(clip_ids)), LOADED):
        some = clip_ids[start : start + LOADED]
        if expert.words:
            yield load_words(source, expert.name, some, {} if numbers is None else numbers)
            continue
        streams = load_ragged(source, [expert.name], some)[expert.name]
        finite = streams.values.isfinite()
        if not finite.all():
            row = int((~finite).any(1).nonzero()[0])
            clip_id = some[int(torch.searchsorted(streams.offsets, row, right=True)) - 1]
            raise InputError(
                f"the '{expert.name}' stream of {clip_id} has NaN or infinity in it; extract it again"
            )
        yield streams if expert.learns else pool_streams(streams, expert.pooling)


def encode_gallery(
    model: MEE,
    source: FeatureSource,
    clip_ids: Sequence[str],
    *,
    batch_size: int = BATCH,
    streams: Mapping[str, Ragged] | None = None,
) -> Gallery:
    """Load and encode clips, a batch at a time.

    `streams`: what `load_streams` returns for these clips, where they were loaded before.

    Raises:
        InputError: the source's streams are not the model's.
    """
    check_source(model.config, source)
    packed = [model.offset.new_empty(0, model.layout.total)]
    available = [torch.empty(0, len(model.modalities), dtype=torch.bool, device=model.device)]
    words = {e.name: [Ragged.of([], torch.empty(0, e.embed_dim))] for e in model.config.experts if e.words}
    with _evaluating(model):
        held = streams or {}
        spoken = [expert for expert in model.config.experts if expert.words and expert.name not in held]
        held = {**held, **load_streams(source, spoken, clip_ids, model=model)}
        others = [expert for expert in model.config.experts if expert.name not in held]
        longest = max((int(held[name].offsets.diff().max()) for name in words if clip_ids), default=1)
        batch_size = min(batch_size, max(1, PADDED // max(1, longest)))
        for start in range(0, len(clip_ids), batch_size):
            ids = clip_ids[start : start + batch_size]
            rows = torch.arange(start, start + len(ids))
            clips = {modality: ragged.take(rows) for modality, ragged in held.items()}
            clips |= {modality: ragged.all() for modality, ragged in load_streams(source, others, ids).items()}
            part = model.encode_video(clips)
            packed.append(part.packed)
            available.append(part.available)
            for name, blocks in words.items():
                blocks.append(replace(part.words[name], values=part.words[name].values.cpu()))
    joined = {name: Ragged.gather(blocks) for name, blocks in words.items()}
    video = VideoEmbedding(torch.cat(packed), torch.cat(available), joined)
    found = video.available.any(1)
    without_stream = sorted(compress(clip_ids, (~found).tolist()))
    return Gallery(tuple(compress(clip_ids, found.tolist())), video[found], tuple(without_stream))


@contextmanager
def _evaluating(model: MEE) -> Iterator[None]:
    """Eval mode without gradients; afterwards the model's mode is what it was."""
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        model.train(was_training)
