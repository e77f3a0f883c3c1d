"""Models of transformers as text encoders.

PretrainedEncoder: any language model; text = pool of model(tokens) over the real tokens

    BERT and its like   every token sees every token
    GPT and its like    a token sees those before it: pool the last
    T5 and its like     the encoder alone

    Frozen, the model runs in `tokenize`, once a sentence, and only its pooling may learn; tuned, in `forward`.

AlignedTower: the frozen text half of a two-tower model, for the expert whose stream the other half made. Both
halves share a space: their cosine is the zero-shot score.

    type        text vector                                               tokens
    clip        projection of the last token's state (arXiv 2103.00020)   as they are
    metaclip_2  the same (arXiv 2507.22062)                               as they are
    clap        projection of the first token's state (arXiv 2211.06687)  as they are
    siglip      head on the last place's state (arXiv 2303.15343)         padded to the full length
    siglip2     the same (arXiv 2502.14786)                               padded to the full length
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, Self, cast

import torch
import transformers
from torch import Tensor, nn
from transformers import PretrainedConfig, PreTrainedModel

from mee.errors import InputError, usable
from mee.layers import Pool
from mee.text import language_model as lm
from mee.text.base import Attention, TextEncoder
from mee.text.config import TextConfig
from mee.text.model_files import readable

BATCH = 64  # sentences read together


class Half(NamedTuple):
    """How the text half of one type of two-tower model is run."""

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


class _LanguageModelEncoder(TextEncoder):
    """A model of transformers, its tokenizer, and what its config.json says; frozen except for `tuned`."""

    tuned: tuple[nn.Module, ...] = ()  # modules of the model that learn

    def __init__(
        self, dim: int, like: Tensor, model: PreTrainedModel, tokens: lm.LanguageTokens, settings: PretrainedConfig
    ) -> None:
        super().__init__(dim, like)
        self.model, self.tokens, self.settings = model, tokens, settings
        self.nothing = tokens.nothing

    @classmethod
    def learn(cls, config: TextConfig, captions: Sequence[str]) -> Self:
        with readable(lm.fetch(config.encoder, config.revision)) as view, usable(f"'{view}' cannot be used"):
            return cls._open(config, view, lm.load_weights)

    @classmethod
    def load(cls, config: TextConfig, directory: Path) -> Self:
        with readable(directory) as view, usable(f"'{view}' cannot be used"):
            return cls._open(config, view, lm.build)

    @classmethod
    @abstractmethod
    def _open(cls, config: TextConfig, directory: Path, make: _MakeModel) -> Self: ...

    def save(self, directory: Path) -> None:
        self.settings.save_pretrained(directory)
        self.tokens.save(directory)

    def tokens_file(self) -> str:
        return self.tokens.to_json()

    def attention(self, sentence: str) -> Attention | None:
        [ids] = self._ids([sentence])
        maps = lm.attention_maps(self.model, ids.to(self.model.device))
        return None if maps is None else Attention(self.tokens.pieces(ids), maps)

    def train(self, mode: bool = True) -> Self:
        """Train or not; a frozen part never drops anything out."""
        super().train(mode)
        self.model.train(False)
        for module in self.tuned:
            module.train(mode)
        return self

    def _ids(self, sentences: Sequence[str]) -> list[Tensor]:
        return self.tokens.tokenize(sentences)

    @torch.no_grad()
    def _run(self, ids: Sequence[Tensor], encode: Callable[[Tensor], Tensor]) -> list[Tensor]:
        """What `encode`, (B, L) ids -> (B, rows, D), gives for each sentence."""
        found = [self.like] * len(ids)
        for places, batch in equal_lengths(ids, BATCH):
            for place, rows in zip(places, encode(batch.to(self.model.device)).float().cpu()):
                found[place] = rows.clone()  # not a view that keeps the batch
        return found


_MakeModel = Callable[[type[PreTrainedModel], PretrainedConfig, Path], PreTrainedModel]


class PretrainedEncoder(_LanguageModelEncoder):
    """A language model, frozen, tuned in its last layers, or tuned whole."""

    def __init__(
        self, config: TextConfig, model: PreTrainedModel, tokens: lm.LanguageTokens, settings: PretrainedConfig
    ) -> None:
        """From pooling and tuned layers, a model without heads in float32, its tokenizer, and its config.json."""
        with torch.no_grad(), lm.quiet():  # of a lone padding token; settings name D in many ways
            width = lm.hidden_states(model.train(False), torch.zeros(1, 1, dtype=torch.int64)).shape[-1]
        pool = Pool(config.pools, width)
        pooled_once = not config.tuned_layers and not pool.learns
        states = torch.empty(0, pool.dim if pooled_once else width)
        like = torch.empty(0, dtype=torch.int64) if config.tuned_layers else states
        super().__init__(pool.dim, like, model, tokens, settings)
        self.pool, self.pooled_once, self.prompts = pool, pooled_once, config.prompts
        self.tuned = lm.tuned_part(model, config.tuned_layers)
        self.train(self.training)

    @classmethod
    def learn(cls, config: TextConfig, captions: Sequence[str]) -> Self:
        return super().learn(lm.as_declared(config), captions)

    @classmethod
    def _open(cls, config: TextConfig, directory: Path, make: _MakeModel) -> Self:
        settings = lm.read_settings(directory)
        settings.use_cache = False  # nothing is generated
        kind = lm.text_class(settings, directory)
        tokenizer = lm.load_tokenizer(directory)
        model = make(kind, settings, directory)
        if settings.is_encoder_decoder:
            model = cast(PreTrainedModel, model.get_encoder())
        return cls(config, model, lm.LanguageTokens(tokenizer, model, config.longest), settings)

    def tokenize(self, sentences: Sequence[str]) -> list[Tensor]:
        ids = self._ids(sentences)
        return ids if self.tuned else self._run(ids, self._states)

    def forward(self, rows: Tensor, lengths: Tensor) -> Tensor:
        if self.pooled_once:
            return rows[:, 0]
        if self.tuned:
            real = torch.arange(rows.shape[1], device=rows.device) < lengths[:, None]
            rows = lm.hidden_states(self.model, rows, real).float()  # in mixed precision they are not
        return cast(Tensor, self.pool(rows, lengths))

    def of_ids(self, ids: Tensor) -> Tensor:
        states = lm.hidden_states(self.model, ids, torch.ones_like(ids))  # without: operators that ONNX lacks
        return cast(Tensor, self.pool(states, torch.full((1,), ids.shape[1])))

    def tuned_parameters(self) -> list[nn.Parameter]:
        return [parameter for parameter in self.model.parameters() if parameter.requires_grad]

    def _states(self, ids: Tensor) -> Tensor:
        """(B, L) -> (B, L, D) hidden states, or (B, 1, dim) pooled where pooling has nothing to learn."""
        states = lm.hidden_states(self.model, ids)
        if not self.pooled_once:
            return states
        pooled: Tensor = self.pool(states, torch.full((len(ids),), ids.shape[1], device=states.device))
        return pooled[:, None]


class AlignedTower(_LanguageModelEncoder):
    """Frozen; every sentence is read once, into one vector."""

    def __init__(
        self, half: Half, model: PreTrainedModel, tokens: lm.LanguageTokens, settings: PretrainedConfig
    ) -> None:
        """From the text half and how to run it, its tokenizer, and the config.json of both halves."""
        with torch.no_grad(), lm.quiet():  # transformers warns, since these ids are no sentence
            some = torch.zeros(1, tokens.longest, dtype=torch.int64)
            width = getattr(model.train(False)(input_ids=some), half.output).shape[-1]
        super().__init__(width, torch.empty(0, width), model.requires_grad_(False), tokens, settings)
        self.how = half

    @classmethod
    def _open(cls, config: TextConfig, directory: Path, make: _MakeModel) -> Self:
        settings = lm.read_settings(directory)
        half = HALVES.get(settings.model_type)
        if half is None:
            wanted = f"the text tower of an expert must be of type {', '.join(HALVES)}"
            raise InputError(f"'{directory}' is of type {settings.model_type}; {wanted}")
        tokenizer = lm.load_tokenizer(directory)
        model = make(getattr(transformers, half.model), settings.text_config, directory)
        return cls(half, model, lm.LanguageTokens(tokenizer, model), settings)

    def tokenize(self, sentences: Sequence[str]) -> list[Tensor]:
        return self._run(self._ids(sentences), lambda ids: self.of_ids(ids)[:, None])

    def of_ids(self, ids: Tensor) -> Tensor:
        filled = self.tokens.fill(ids) if self.how.padded else ids
        return cast(Tensor, getattr(self.model(input_ids=filled), self.how.output))

    def forward(self, rows: Tensor, lengths: Tensor) -> Tensor:
        return rows[:, 0]


def equal_lengths(rows: Sequence[Tensor], size: int) -> Iterator[tuple[list[int], Tensor]]:
    """Batches of rows of one length, the shortest first: their places, and (at most `size`, L).

    A model reads them as if each were alone, and needs no padding token, which decoders often lack.
    """
    by_length: dict[int, list[int]] = {}
    for place, row in enumerate(rows):
        by_length.setdefault(len(row), []).append(place)
    for _, places in sorted(by_length.items()):
        for start in range(0, len(places), size):
            some = places[start : start + size]
            yield some, torch.stack([rows[place] for place in some])
