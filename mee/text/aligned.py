"""An expert's own text tower: the frozen text half of a two-tower model whose other half made the expert's stream.

    type        text vector                                               tokens
    clip        projection of the last token's state (arXiv 2103.00020)   as they are
    metaclip_2  the same (arXiv 2507.22062)                               as they are
    clap        projection of the first token's state (arXiv 2211.06687)  as they are
    siglip      head on the last place's state (arXiv 2303.15343)         padded to the full length
    siglip2     the same (arXiv 2502.14786)                               padded to the full length

It lies in the same space as what the other half makes of images or sound: their cosine is the zero-shot score.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self, cast

import torch
import transformers
from torch import Tensor
from transformers import PretrainedConfig, PreTrainedModel

from mee.errors import InputError
from mee.text.base import Attention, TextEncoder
from mee.text.config import TextConfig
from mee.text.language_model import attention_maps, build, fetch, load_weights, quiet, read_settings
from mee.text.tokens import LanguageTokens, equal_lengths, load_tokenizer

BATCH = 64  # sentences read together


@dataclass(frozen=True)
class Half:
    """How the text half of one type of model is run."""

    model: str  # class of transformers
    output: str  # field of what it returns
    padded: bool = False  # whether it expects padding to the full length


HALVES = {
    "clip": Half("CLIPTextModelWithProjection", "text_embeds"),
    "metaclip_2": Half("MetaClip2TextModelWithProjection", "text_embeds"),
    "clap": Half("ClapTextModelWithProjection", "text_embeds"),
    "siglip": Half("SiglipTextModel", "pooler_output", padded=True),
    "siglip2": Half("Siglip2TextModel", "pooler_output", padded=True),
}


class AlignedTower(TextEncoder):
    """Frozen; every sentence is read once, into one vector."""

    def __init__(
        self, half: Half, model: PreTrainedModel, tokens: LanguageTokens, settings: PretrainedConfig
    ) -> None:
        """Put together what `learn` and `load` have read.

        Args:
            half: how to run it.
            model: the text half.
            tokens: its tokenizer.
            settings: what config.json says, of both halves.
        """
        with torch.no_grad(), quiet():  # what is read is no sentence, and remarked on
            some = torch.zeros(1, tokens.longest, dtype=torch.int64)
            width = getattr(model.train(False)(input_ids=some), half.output).shape[-1]
        super().__init__(width, torch.empty(0, width))
        self.how, self.tokens, self.settings = half, tokens, settings
        self.model = model.requires_grad_(False)

    @classmethod
    def learn(cls, config: TextConfig, captions: Sequence[str]) -> Self:
        return cls._open(fetch(config.encoder, config.revision), weights=True)

    @classmethod
    def load(cls, config: TextConfig, directory: Path) -> Self:
        return cls._open(directory, weights=False)

    @classmethod
    def _open(cls, directory: Path, *, weights: bool) -> Self:
        settings = read_settings(directory)
        half = HALVES.get(settings.model_type)
        if half is None:
            raise InputError(
                f"'{directory}' is of type {settings.model_type}; the text tower of an expert must be of type "
                f"{', '.join(HALVES)}"
            )
        kind = cast(type[PreTrainedModel], getattr(transformers, half.model))
        tokenizer = load_tokenizer(directory)
        own = settings.text_config
        model = load_weights(kind, own, directory) if weights else build(kind, own)
        return cls(half, model, LanguageTokens(tokenizer, model), settings)

    def save(self, directory: Path) -> None:
        self.settings.save_pretrained(directory)
        self.tokens.save(directory)

    @torch.no_grad()
    def read(self, sentences: Sequence[str]) -> list[Tensor]:
        rows = [self.like] * len(sentences)
        for places, batch in equal_lengths(self._ids(sentences), BATCH):
            vectors = getattr(self.model(input_ids=batch.to(self.model.device)), self.how.output)
            for place, vector in zip(places, vectors.float().cpu()):
                rows[place] = vector[None].clone()
        return rows

    def forward(self, rows: Tensor, lengths: Tensor) -> Tensor:
        return rows[:, 0]

    def attention(self, sentence: str) -> Attention | None:
        [ids] = self._ids([sentence])
        maps = attention_maps(self.model, ids.to(self.model.device))
        return None if maps is None else Attention(self.tokens.pieces(ids), maps)

    def train(self, mode: bool = True) -> Self:
        """Frozen, it never drops anything out."""
        super().train(mode)
        self.model.train(False)
        return self

    def _ids(self, sentences: Sequence[str]) -> list[Tensor]:
        ids = self.tokens.read(sentences)
        return [self.tokens.fill(row) for row in ids] if self.how.padded else ids
