"""Frozen word vectors as a text encoder: a sentence is the bag of its words' vectors, pooled.

    text = pool of vector(word) over the words that are known

Words are read without their case. The vectors come from a file (mee.vector_file); kept are its most frequent words
and every word of the training captions. Row 0 is a vector of zeros: it stands for a sentence without a known word.
With netvlad-32 this is the text encoder of Miech, Laptev, Sivic (arXiv 1804.02516, section 4.1).

    words.json   {"columns": D, "words": [...]}   the rows after row 0
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from mee.errors import InputError
from mee.pooling import Pool
from mee.text_config import TextConfig
from mee.text_encoder import TextEncoder, check_sentences
from mee.vector_file import read_vectors

FILE = "words.json"
WORD = re.compile(r"\w+(?:'\w+)*")


class WordVectorEncoder(TextEncoder):
    """Vectors that do not learn; what learns is their pooling, if anything."""

    def __init__(self, config: TextConfig, words: Sequence[str], vectors: Tensor) -> None:
        """Take the vectors.

        Args:
            config: its pooling, and how many words of a sentence count.
            words: V different words in lower case.
            vectors: (1 + V, D); the first row is zeros.
        """
        pool = Pool(config.pooling, vectors.shape[1])
        super().__init__(pool.dim, torch.empty(0, dtype=torch.int64))
        self.words, self.max_words = tuple(words), config.max_tokens
        self.row_of = {word: row for row, word in enumerate(words, start=1)}
        self.embedding = nn.Embedding.from_pretrained(vectors, freeze=True)  # a parameter: it is no state of a run
        self.pool = pool

    @classmethod
    def learn(cls, config: TextConfig, captions: Sequence[str]) -> WordVectorEncoder:
        if not config.vectors:
            raise InputError("the text encoder 'word-vectors' needs a file of vectors: --text.vectors FILE")
        spoken = {part for caption in captions for word in split(caption) for part in (word, *word.split("'"))}
        words, vectors = read_vectors(Path(config.vectors), config.vocabulary, spoken)
        return cls(config, words, torch.cat([torch.zeros(1, vectors.shape[1]), vectors]))

    @classmethod
    def load(cls, config: TextConfig, directory: Path) -> WordVectorEncoder:
        path = directory / FILE
        try:
            content = json.loads(path.read_text())
            words, columns = content["words"], content["columns"]
            sound = len(set(words)) == len(words) and all(isinstance(word, str) for word in words) and columns > 0
        except FileNotFoundError as error:
            raise InputError(f"'{directory}' has no {FILE}, which holds the words") from error
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(f"{path}: the words cannot be read: {error}") from error
        if not sound:
            raise InputError(f"{path}: the words are not different words, so it is not of a MEE model")
        return cls(config, words, torch.zeros(1 + len(words), columns))

    def save(self, directory: Path) -> None:
        content = {"columns": self.embedding.embedding_dim, "words": self.words}
        (directory / FILE).write_text(json.dumps(content))

    def read(self, sentences: Sequence[str]) -> list[Tensor]:
        check_sentences(sentences)
        rows = [[row for word in split(sentence) for row in self._rows(word)] for sentence in sentences]
        return [torch.tensor(some[: self.max_words] or [0], dtype=torch.int64) for some in rows]

    def forward(self, rows: Tensor, lengths: Tensor) -> Tensor:
        pooled: Tensor = self.pool(self.embedding(rows), lengths)
        return pooled

    def attention(self, sentence: str) -> None:
        return None

    def _rows(self, word: str) -> list[int]:
        """Rows of a word; of its parts if only they are known: man's is man and s."""
        parts = [word] if word in self.row_of else word.split("'")
        return [self.row_of[part] for part in parts if part in self.row_of]


def split(sentence: str) -> list[str]:
    """The words of a sentence in lower case, without punctuation."""
    return WORD.findall(unicodedata.normalize("NFKC", sentence).lower().replace("’", "'"))
