"""Sentences -> token ids, by the tokenizer that a pretrained language model brings.

Ids of different lengths are never padded here: `equal_lengths` puts sentences of one length together, so that a
model reads them as if each were alone, and needs no padding token (decoders often have none).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from mee.errors import InputError
from mee.text.base import check_sentences
from mee.text.language_model import quiet

VOCABULARIES = ("tokenizer.json", "tokenizer.model", "vocab.txt", "vocab.json", "spiece.model", "*.bpe.model")


class LanguageTokens:
    """A pretrained model's tokenizer, which never gives more tokens than the model can read."""

    def __init__(
        self, tokenizer: PreTrainedTokenizerBase, model: PreTrainedModel, most: int | None = None
    ) -> None:
        """Check that both fit.

        Args:
            tokenizer: of the model.
            model: any that reads ids.
            most: longer sentences are cut; None: as long as the model reads.

        Raises:
            InputError: the tokenizer is another model's, or `most` leaves no room for words.
        """
        known = int(cast(nn.Embedding, model.get_input_embeddings()).num_embeddings)
        ids = set(tokenizer.get_vocab().values()) - set(tokenizer.all_special_ids)  # a padding token may be added
        if max(ids, default=-1) >= known:
            raise InputError(f"the tokenizer of '{tokenizer.name_or_path}' has ids that its model does not know")
        self._tokenizer = tokenizer
        self.longest = min(int(tokenizer.model_max_length), positions(model), *([] if most is None else [most]))
        added = tokenizer.num_special_tokens_to_add()
        if self.longest <= added:
            raise InputError(
                f"max-tokens {self.longest} leaves no room for words: the tokenizer adds {added} of its own"
            )

    def save(self, directory: Path) -> None:
        """Write the tokenizer's files."""
        self._tokenizer.save_pretrained(directory)

    def read(self, sentences: Sequence[str]) -> list[Tensor]:
        """One (L,) int64 tensor of token ids a sentence, L at least 1.

        Raises:
            InputError: a sentence has no words in it, or is not text.
        """
        check_sentences(sentences)
        if not sentences:
            return []
        encoded = self._tokenizer(
            [sentence.strip() for sentence in sentences],
            truncation=True,
            max_length=self.longest,
            return_attention_mask=False,
            return_token_type_ids=False,
        )
        return [torch.tensor(ids or [self._nothing], dtype=torch.int64) for ids in encoded["input_ids"]]

    def fill(self, ids: Tensor) -> Tensor:
        """(L,) ids -> (longest,), padded on the tokenizer's side."""
        short = self.longest - len(ids)
        sides = (short, 0) if self._tokenizer.padding_side == "left" else (0, short)
        return F.pad(ids, sides, value=int(self._tokenizer.pad_token_id or 0))

    def pieces(self, ids: Tensor) -> tuple[str, ...]:
        """Tokens as a person reads them."""
        return tuple(str(self._tokenizer.decode([token])).strip() or "·" for token in ids.tolist())

    @property
    def _nothing(self) -> int:
        """What stands for a sentence of unknown words alone, where the tokenizer drops them."""
        some = (self._tokenizer.unk_token_id, self._tokenizer.eos_token_id, self._tokenizer.bos_token_id)
        return next((token for token in some if token is not None), 0)


def load_tokenizer(directory: Path) -> PreTrainedTokenizerBase:
    """The tokenizer in a model's directory.

    Raises:
        InputError: it is not there, or cannot be used.
    """
    if not any(list(directory.glob(name)) for name in VOCABULARIES):
        raise InputError(f"'{directory}' has no tokenizer: none of {', '.join(VOCABULARIES)} is there")
    try:
        with quiet():
            return AutoTokenizer.from_pretrained(directory, local_files_only=True, trust_remote_code=False)
    except Exception as error:  # the tokenizers library raises nothing narrower
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"the tokenizer in '{directory}' cannot be used: {reason}") from error


def positions(model: PreTrainedModel) -> int:
    """How many tokens a model can read."""
    most = getattr(model.config, "max_position_embeddings", None) or 0
    most = most if most > 0 else 1 << 30  # relative positions have no end
    for name, module in model.named_modules():
        if name.endswith("position_embeddings") and isinstance(module, nn.Embedding):
            before = -1 if module.padding_idx is None else module.padding_idx  # RoBERTa counts on from its padding
            most = min(most, module.num_embeddings - before - 1)
    return int(most)


def equal_lengths(rows: Sequence[Tensor], size: int) -> Iterator[tuple[list[int], Tensor]]:
    """Batches of rows of one length, the shortest first: their places, and (at most `size`, L)."""
    by_length: dict[int, list[int]] = {}
    for place, row in enumerate(rows):
        by_length.setdefault(len(row), []).append(place)
    for _, places in sorted(by_length.items()):
        for start in range(0, len(places), size):
            some = places[start : start + size]
            yield some, torch.stack([rows[place] for place in some])
