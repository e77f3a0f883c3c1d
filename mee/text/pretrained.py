"""A pretrained language model as the text encoder: any of transformers' that reads text.

    text = pool of model(tokens) over the real tokens

BERT and its like        every token sees every token
GPT and its like         a token sees those before it: pool the last
T5 and its like          the encoder alone

Frozen, the model runs in `read`, once a sentence, and only its pooling may learn; tuned, it runs in `forward`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Self, cast

import torch
from torch import Tensor
from transformers import PretrainedConfig, PreTrainedModel

from mee.layers import Pool
from mee.text.base import Attention, TextEncoder
from mee.text.config import TextConfig
from mee.text.language_model import (
    attention_maps,
    build,
    fetch,
    hidden_states,
    load_weights,
    quiet,
    read_settings,
    text_class,
    tuned_part,
)
from mee.text.tokens import LanguageTokens, equal_lengths, load_tokenizer

BATCH = 64  # sentences read together


class PretrainedEncoder(TextEncoder):
    """Frozen, tuned in its last layers, or tuned whole."""

    def __init__(
        self, config: TextConfig, model: PreTrainedModel, tokens: LanguageTokens, settings: PretrainedConfig
    ) -> None:
        """Put together what `learn` and `load` have read.

        Args:
            config: pooling and tuned layers.
            model: without heads, in float32.
            tokens: its tokenizer.
            settings: what config.json says, of the whole model.
        """
        width = _width(model)
        pool = Pool(config.pooling, width)
        pooled_once = not config.tuned_layers and not pool.learns
        states = torch.empty(0, pool.dim if pooled_once else width)
        super().__init__(pool.dim, torch.empty(0, dtype=torch.int64) if config.tuned_layers else states)
        self.model, self.pool = model, pool
        self.tokens, self.settings, self.pooled_once = tokens, settings, pooled_once
        self.tuned = tuned_part(model, config.tuned_layers)
        self.train(self.training)

    @classmethod
    def learn(cls, config: TextConfig, captions: Sequence[str]) -> Self:
        return cls._open(config, fetch(config.encoder, config.revision), weights=True)

    @classmethod
    def load(cls, config: TextConfig, directory: Path) -> Self:
        return cls._open(config, directory, weights=False)

    @classmethod
    def _open(cls, config: TextConfig, directory: Path, *, weights: bool) -> Self:
        settings = read_settings(directory)
        settings.use_cache = False  # nothing is generated
        kind = text_class(settings, directory)
        tokenizer = load_tokenizer(directory)
        model = load_weights(kind, settings, directory) if weights else build(kind, settings)
        if settings.is_encoder_decoder:
            model = cast(PreTrainedModel, model.get_encoder())
        return cls(config, model, LanguageTokens(tokenizer, model, config.max_tokens), settings)

    def save(self, directory: Path) -> None:
        self.settings.save_pretrained(directory)
        self.tokens.save(directory)

    def read(self, sentences: Sequence[str]) -> list[Tensor]:
        ids = self.tokens.read(sentences)
        return ids if self.tuned else self._states(ids)

    def forward(self, rows: Tensor, lengths: Tensor) -> Tensor:
        if self.pooled_once:
            return rows[:, 0]
        if self.tuned:
            real = torch.arange(rows.shape[1], device=rows.device) < lengths[:, None]
            rows = hidden_states(self.model, rows, real).float()  # in mixed precision they are not
        pooled: Tensor = self.pool(rows, lengths)
        return pooled

    def attention(self, sentence: str) -> Attention | None:
        [ids] = self.tokens.read([sentence])
        maps = attention_maps(self.model, ids.to(self.model.device))
        return None if maps is None else Attention(self.tokens.pieces(ids), maps)

    def tuned_parameters(self) -> list[torch.nn.Parameter]:
        return [parameter for parameter in self.model.parameters() if parameter.requires_grad]

    def train(self, mode: bool = True) -> Self:
        """Train or not; what is frozen never drops anything out."""
        super().train(mode)
        self.model.train(False)
        for module in self.tuned:
            module.train(mode)
        return self

    @torch.no_grad()
    def _states(self, ids: Sequence[Tensor]) -> list[Tensor]:
        """(L, D) hidden states of each sentence, or (1, dim) pooled where that learns nothing."""
        rows = [self.like] * len(ids)
        for places, batch in equal_lengths(ids, BATCH):
            states = hidden_states(self.model, batch.to(self.model.device))
            if self.pooled_once:
                lengths = torch.full((len(batch),), batch.shape[1], device=states.device)
                states = self.pool(states, lengths)[:, None]
            for place, state in zip(places, states.float().cpu()):
                rows[place] = state.clone()  # not a view that keeps the batch
        return rows


@torch.no_grad()
def _width(model: PreTrainedModel) -> int:
    """D of the hidden states, which settings name in too many ways."""
    with quiet():  # a lone padding token is remarked on
        return hidden_states(model.train(False), torch.zeros(1, 1, dtype=torch.int64)).shape[-1]
