"""MEE, the Mixture of Embedding Experts: a text encoder, and two gated units for each modality.

    text:  h = encoder(sentence);  t_m = GEU_m(h);  l = U h + c
    video: x_m = GEU'_m(standardise(pool(stream_m)))

Miech, Laptev, Sivic (arXiv 1804.02516). `mee.scoring` turns t, l, x and availability into scores.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mee.batch import Clips, Streams, availability
from mee.checkpoint import Checkpointed
from mee.config import ExpertConfig, ModelConfig
from mee.gated import GatedEmbeddingUnit
from mee.layout import Layout
from mee.pooling import pool
from mee.scoring import mee_scores
from mee.standardise import Standardise
from mee.text import TextEncoder
from mee.tokenizer import CaptionTokenizer


@dataclass(frozen=True)
class TextEmbedding:
    """What the model makes of Q sentences."""

    packed: Tensor  # (Q, E), unit-norm for each expert
    logits: Tensor  # (Q, M) mixture logits


@dataclass(frozen=True)
class VideoEmbedding:
    """What the model makes of G clips."""

    packed: Tensor  # (G, E), unit-norm for each present expert; zeros, never read, where a stream is missing
    available: Tensor  # (G, M) bool


class VideoExpert(nn.Module):
    """Stream -> the expert's part of the joint space."""

    def __init__(self, config: ExpertConfig, dropout: float) -> None:
        super().__init__()
        self.pooling, self.embed_dim, self.dropout = config.pooling, config.embed_dim, dropout
        self.standardise = Standardise(config.pooled_dim)
        self.unit = GatedEmbeddingUnit(config.pooled_dim, config.embed_dim)

    def forward(self, streams: Streams) -> Tensor:
        """B streams -> (B, embed_dim); a missing stream never meets the unit and stays zero."""
        present = streams.available
        pooled = self.standardise(self.pooled(streams))
        embedded: Tensor = self.unit(F.dropout(pooled, self.dropout, self.training))
        return embedded.new_zeros(len(present), self.embed_dim).index_put((present,), embedded)

    def pooled(self, streams: Streams) -> Tensor:
        """Pooled rows of the present streams only."""
        present = streams.available
        return pool(streams.padded[present], streams.lengths[present], self.pooling)


class MEE(Checkpointed):
    """The whole model; `save_pretrained`, `from_pretrained` and `push_to_hub` come from `mee.checkpoint`."""

    def __init__(self, config: ModelConfig, tokenizer: CaptionTokenizer) -> None:
        super().__init__()
        self.config, self.tokenizer = config, tokenizer
        self.layout = Layout(
            tuple(expert.name for expert in config.experts),
            tuple(expert.embed_dim for expert in config.experts),
        )
        self.text_encoder = TextEncoder(config.text, tokenizer.size)
        self.text_experts = nn.ModuleList(
            GatedEmbeddingUnit(config.text.width, expert.embed_dim) for expert in config.experts
        )
        self.video_experts = nn.ModuleList(VideoExpert(expert, config.dropout) for expert in config.experts)
        self.mixture = nn.Linear(config.text.width, len(config.experts))

    @property
    def modalities(self) -> tuple[str, ...]:
        """The experts' names in the order of the M axis."""
        return self.layout.names

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.mixture.weight.device

    def encode_text(self, sentences: Sequence[str]) -> TextEmbedding:
        """Embed Q sentences.

        Raises:
            InputError: a sentence is empty.
        """
        tokens, lengths = self.tokenizer.encode(sentences)
        h = self.text_encoder(tokens.to(self.device), lengths.to(self.device))
        h = F.dropout(h, self.config.dropout, self.training)
        packed = torch.cat([unit(h) for unit in self.text_experts], dim=1)
        return TextEmbedding(packed, self.mixture(h))

    def encode_video(self, clips: Clips) -> VideoEmbedding:
        """Embed G clips; the order of the mapping does not matter, streams of other modalities are not read."""
        streams = {modality: clips[modality].to(self.device) for modality in self.modalities}
        parts = [expert(streams[modality]) for modality, expert in zip(self.modalities, self.video_experts)]
        return VideoEmbedding(torch.cat(parts, dim=1), availability(streams, self.modalities))

    def forward(self, sentences: Sequence[str], clips: Clips) -> Tensor:
        """(Q, G) scores of Q sentences against G clips."""
        text, video = self.encode_text(sentences), self.encode_video(clips)
        return mee_scores(text.packed, video.packed, text.logits, video.available, self.layout)

    @torch.no_grad()
    def fit_standardisation(self, batches: Iterable[Clips]) -> None:
        """Set mean and deviation of every expert's pooled streams from the training clips that have them."""
        experts = [cast(VideoExpert, expert) for expert in self.video_experts]
        pooled: list[list[Tensor]] = [[] for _ in experts]
        for clips in batches:
            for m, modality in enumerate(self.modalities):
                pooled[m].append(experts[m].pooled(clips[modality].to(self.device)))
        for m, expert in enumerate(experts):
            expert.standardise.fit(torch.cat(pooled[m]))
