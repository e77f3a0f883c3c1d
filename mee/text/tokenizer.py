"""Sentences -> token ids, by word pieces learnt from the training captions; the base of encoders that read them.

Byte-pair encoding over bytes (Sennrich et al., arXiv 1508.07909, algorithm 1), after Unicode NFKC and lower case:
no sentence is out of its vocabulary, and no training caption needs to be kept.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Self

import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from torch import Tensor, nn

from mee.errors import InputError, usable
from mee.files import LARGEST_JSON, entry, read_json
from mee.text.base import TextEncoder
from mee.text.config import TextConfig, check_sentences
from mee.text.unread import PADDING

FILE = "tokenizer.json"
FREE = ("model", "truncation")  # of the file's keys: read apart, and set by the model's settings


class CaptionTokenizer:
    """A learnt vocabulary."""

    def __init__(self, tokenizer: Tokenizer, max_tokens: int) -> None:
        self._tokenizer = tokenizer
        self._tokenizer.enable_truncation(max_tokens)
        self._tokenizer.no_padding()

    @classmethod
    def learn(cls, captions: Iterable[str], vocabulary: int, max_tokens: int) -> CaptionTokenizer:
        """Learn at most `vocabulary` word pieces (never fewer than the 256 bytes) from captions."""
        tokenizer = _with_rules(models.BPE())
        trainer = trainers.BpeTrainer(
            vocab_size=vocabulary,
            min_frequency=2,
            show_progress=False,
            special_tokens=[PADDING],
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        )
        tokenizer.train_from_iterator(captions, trainer)
        return cls(tokenizer, max_tokens)

    @classmethod
    def load(cls, directory: Path, max_tokens: int) -> CaptionTokenizer:
        """Read what `save` wrote."""
        path = directory / FILE
        own = _with_rules(models.BPE())
        own.add_special_tokens([PADDING])
        rules = json.loads(own.to_str())
        with usable(f"{path}: the vocabulary cannot be read"):
            if not path.exists():
                raise InputError(f"'{directory}' has no {FILE}, which holds the vocabulary")
            content = read_json(entry(directory, FILE), LARGEST_JSON)
            ids, merges = content["model"].pop("vocab"), content["model"].pop("merges")
            if sorted(ids.values()) != list(range(len(ids))) or ids.get(PADDING) != 0:
                raise ValueError(f"its ids must be 0, of {PADDING}, to {len(ids) - 1}")
            for part, known in ((content, rules), (content["model"], rules.pop("model"))):
                if other := [key for key in part if part[key] != known.get(key) and key not in FREE]:
                    raise ValueError(f"{other[0]:.80} is not as MEE writes it")
            tokenizer = _with_rules(models.BPE(vocab=ids, merges=[(one, other) for one, other in merges]))
        tokenizer.add_special_tokens([PADDING])
        return cls(tokenizer, max_tokens)

    def save(self, directory: Path) -> None:
        """Write the whole vocabulary into a directory, in the tokenizers library's own format."""
        (directory / FILE).write_text(self.to_json(), encoding="utf-8")

    def to_json(self) -> str:
        """In the tokenizers library's own format."""
        return str(self._tokenizer.to_str(pretty=False))

    @property
    def size(self) -> int:
        """Number of token ids."""
        return int(self._tokenizer.get_vocab_size())

    def tokenize(self, sentences: Sequence[str]) -> list[Tensor]:
        """One (L,) int64 tensor of token ids a sentence, L at least 1."""
        check_sentences(sentences)
        encodings = self._tokenizer.encode_batch([sentence.strip() for sentence in sentences])
        return [torch.tensor(encoding.ids, dtype=torch.int64) for encoding in encodings]

    def pieces(self, sentence: str) -> tuple[str, ...]:
        """The tokens of a sentence as a person reads them."""
        [ids] = self.tokenize([sentence])
        return tuple(self._tokenizer.decode([token]).strip() or "·" for token in ids.tolist())


def _with_rules(model: models.BPE) -> Tokenizer:
    tokenizer = Tokenizer(model)
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


class WordPieceEncoder(TextEncoder):
    """An encoder that learns from the captions alone."""

    def __init__(self, config: TextConfig, tokenizer: CaptionTokenizer) -> None:
        super().__init__(config.width, torch.empty(0, dtype=torch.int64))
        self.tokenizer, self.dropout = tokenizer, config.dropout
        self.embedding = nn.Embedding(tokenizer.size, config.width)

    @classmethod
    def learn(cls, config: TextConfig, captions: Sequence[str]) -> Self:
        return cls(config, CaptionTokenizer.learn(captions, config.vocabulary, config.longest))

    @classmethod
    def load(cls, config: TextConfig, directory: Path) -> Self:
        return cls(config, CaptionTokenizer.load(directory, config.longest))

    def save(self, directory: Path) -> None:
        self.tokenizer.save(directory)

    def tokenize(self, sentences: Sequence[str]) -> list[Tensor]:
        return self.tokenizer.tokenize(sentences)

    def tokens_file(self) -> str:
        return self.tokenizer.to_json()
