"""Sentences -> token ids, by word pieces learnt from the training captions.

Byte-pair encoding over bytes (Sennrich et al., arXiv 1508.07909, algorithm 1), after Unicode NFKC and lower case:
no sentence is out of its vocabulary, and no training caption needs to be kept.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from torch import Tensor

from mee.errors import InputError

PADDING = "[PAD]"


class CaptionTokenizer:
    """A learnt vocabulary; `to_json` and `from_json` keep it in the tokenizers library's own format."""

    def __init__(self, tokenizer: Tokenizer, max_tokens: int) -> None:
        self._tokenizer = tokenizer
        self._tokenizer.enable_truncation(max_tokens)
        self._tokenizer.enable_padding(pad_id=tokenizer.token_to_id(PADDING), pad_token=PADDING)

    @classmethod
    def learn(cls, captions: Iterable[str], vocabulary: int, max_tokens: int) -> CaptionTokenizer:
        """Learn at most `vocabulary` word pieces (never fewer than the 256 bytes) from captions."""
        tokenizer = Tokenizer(models.BPE())
        tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
        tokenizer.decoder = decoders.ByteLevel()
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
    def from_json(cls, text: str, max_tokens: int) -> CaptionTokenizer:
        """Read what `to_json` wrote.

        Raises:
            InputError: it is something else.
        """
        try:
            tokenizer = Tokenizer.from_str(text)
        except Exception as error:  # the library raises nothing narrower
            raise InputError(f"the vocabulary cannot be read: {error}") from error
        if tokenizer.token_to_id(PADDING) is None:
            raise InputError(f"the vocabulary has no {PADDING}, so it is not of a MEE model")
        return cls(tokenizer, max_tokens)

    def to_json(self) -> str:
        """The whole vocabulary as text."""
        return str(self._tokenizer.to_str(pretty=False))

    @property
    def size(self) -> int:
        """Number of token ids."""
        return int(self._tokenizer.get_vocab_size())

    def encode(self, sentences: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Sentences to padded token ids.

        Returns:
            (B, L) int64 tokens and (B,) int64 lengths.

        Raises:
            InputError: a sentence has no words in it, or is not text.
        """
        empty = [number for number, sentence in enumerate(sentences) if not sentence.strip()]
        if empty:
            raise InputError(
                f"the sentence is empty (number {empty[0] + 1} of {len(sentences)}); write some words"
            )
        for sentence in sentences:
            if any("\ud800" <= character <= "\udfff" for character in sentence):  # bytes that were no UTF-8
                raise InputError(f"the sentence {sentence!a} is not UTF-8 text")
        encodings = self._tokenizer.encode_batch([sentence.strip() for sentence in sentences])
        tokens = torch.tensor([encoding.ids for encoding in encodings], dtype=torch.int64)
        lengths = torch.tensor([sum(encoding.attention_mask) for encoding in encodings], dtype=torch.int64)
        return tokens, lengths
