"""A text encoder: sentences -> text vectors, in two steps.

    rows = tokenize(sentence)  (L,) token ids or (L, D) token vectors: the part that never changes in training
    text = forward(rows)       (B, dim): the part that learns

What `tokenize` gives depends on the sentence alone, so training calls it once a caption: a frozen language model
never runs again. A sentence is then a stream like any other, and is pooled by the same code.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from pkgutil import resolve_name
from typing import Self, cast

import torch
from tokenizers import Tokenizer
from torch import Tensor, nn

from mee.streams import Ragged, Streams
from mee.text.config import ALIGNED, ENCODERS, PRETRAINED, TextConfig
from mee.text.unread import Reader, reader_of


@dataclass(frozen=True)
class Attention:
    """A text encoder's attention in one sentence."""

    tokens: tuple[str, ...]  # L tokens, as a person reads them
    weights: Tensor  # (layers, heads, R, L): a row sums to 1; R = L queries, or 1: the sentence


class TextEncoder(nn.Module, ABC):
    """Base of the text encoders, and of the text towers of experts.

    They raise an InputError where settings, files or sentences cannot be used.
    """

    dim: int  # D of a text vector
    like: Tensor  # (0,) int64 or (0, D) float: shape and dtype of what `tokenize` gives
    prompts: tuple[str, str] = ("", "")  # put before what is looked for, and before what is searched
    nothing: int = 0  # token of a sentence in which its tokenizer finds none

    def __init__(self, dim: int, like: Tensor) -> None:
        super().__init__()
        self.dim, self.like = dim, like

    @classmethod
    @abstractmethod
    def learn(cls, config: TextConfig, captions: Sequence[str]) -> Self:
        """A new encoder, with what it must know of the training captions."""

    @classmethod
    @abstractmethod
    def load(cls, config: TextConfig, directory: Path) -> Self:
        """The encoder from the files that `save` wrote; its weights are loaded with the model's."""

    @abstractmethod
    def save(self, directory: Path) -> None:
        """Write what is needed besides the weights into an existing directory."""

    @abstractmethod
    def tokenize(self, sentences: Sequence[str]) -> list[Tensor]:
        """One (L,) int64 or (L, D) float tensor a sentence, L at least 1, on the CPU; no gradients."""

    @abstractmethod
    def forward(self, rows: Tensor, lengths: Tensor) -> Tensor:
        """(B, dim) text vectors of padded rows, (B, L) or (B, L, D), and (B,) int lengths, at least 1 each.

        Rows may be anything valid beyond a sentence's length: padding has no influence.
        """

    def tokens_file(self) -> str:
        """How sentences become token ids, as JSON of the tokenizers library; empty where that cannot say it."""
        return ""

    def reader(self) -> Reader | None:
        """How it reads sentences; None where that is unknown."""
        text = self.tokens_file()
        return reader_of(Tokenizer.from_str(text), self.prompts[0]) if text else None

    def of_ids(self, ids: Tensor) -> Tensor:
        """(1, L) token ids of a sentence -> (1, dim): both steps in one, as it is exported."""
        return cast(Tensor, self(ids, torch.full((1,), ids.shape[1])))

    @abstractmethod
    def attention(self, sentence: str) -> Attention | None:
        """Its attention, in eval mode; None if it has none."""

    def tuned_parameters(self) -> list[nn.Parameter]:
        """Those of a pretrained model that learn; they have their own learning rate."""
        return []

    def pad(self, sentences: Sequence[str]) -> Streams:
        """What `tokenize` gives, as one batch."""
        return Ragged.of(self.tokenize(sentences), self.like).all()

    def prompted(self, sentences: Sequence[str], *, searched: bool = False) -> list[str]:
        """Sentences as they are read: behind the prompt of what is looked for, or of what is searched."""
        prompt = self.prompts[searched]
        return [prompt + sentence.strip() if prompt and sentence.strip() else sentence for sentence in sentences]

    def encode(self, sentences: Sequence[str], device: torch.device, *, searched: bool = False) -> Tensor:
        """(B, dim) text vectors of sentences that are looked for, or of what is searched: words and names."""
        streams = self.pad(self.prompted(sentences, searched=searched)).to(device)
        return cast(Tensor, self(streams.padded, streams.lengths))


def encoder_class(config: TextConfig) -> type[TextEncoder]:
    """The class that the settings name."""
    return cast(type[TextEncoder], resolve_name(ENCODERS.get(config.encoder, PRETRAINED)))


def tower_class() -> type[TextEncoder]:
    """The class of an expert's own text tower."""
    return cast(type[TextEncoder], resolve_name(ALIGNED))
