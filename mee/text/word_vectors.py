"""Frozen word vectors as a text encoder: a sentence is the bag of its words' vectors, pooled.

    text = pool of vector(word) over the words that are known

Words are read without their case. Kept are a file's most frequent words and every word of the training captions;
row 0 is a vector of zeros: the vector of a sentence without a known word. With netvlad-32 this is the text encoder
of Miech, Laptev, Sivic (arXiv 1804.02516, section 4.1).

    words.json           {"columns": D, "words": [...]}   the rows after row 0
    word2vec, binary     "V D\\n", then V times: the word, a space, D float32
    word2vec, text       "V D\\n", then V lines: the word and D numbers
    GloVe                lines only

Files of vectors have the most frequent word first and may be gzipped. gensim reads them (the extra `mee[words]`);
its own formats, which are pickles, are refused.
"""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Sequence, Set
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from mee.errors import InputError, usable
from mee.files import LARGEST_JSON, entry, limited, read_json
from mee.layers import Pool
from mee.text.base import TextEncoder
from mee.text.config import TextConfig, check_sentences
from mee.text.unread import Reader, split

PICKLES = (".kv", ".model", ".pkl", ".pickle", ".pt", ".npy")
LONGEST_LINE = 1 << 20  # bytes; of more columns than anybody has
FORMATS = "word2vec's text or binary format, or GloVe's"


def read_vectors(path: Path, most: int, besides: Set[str]) -> tuple[tuple[str, ...], Tensor]:
    """Read the `most` most frequent words of a file, and those of `besides`, in lower case, that are there.

    V words in lower case, the most frequent first, and their (V, D) float32 vectors. Of words that differ in case
    alone, the one that is in lower case counts, or else the most frequent.
    """
    keyed = _load(path, **_format(path))
    row_of: dict[str, int] = {}
    for row, key in enumerate(keyed.index_to_key):
        if key is None:  # the file has a word twice, and gensim leaves the last rows without words
            continue
        lower = key.lower()
        if lower not in row_of or key == lower:
            row_of[lower] = row
    ordered = sorted(row_of, key=row_of.__getitem__)
    words = tuple(word for place, word in enumerate(ordered) if place < most or word in besides)
    vectors = torch.from_numpy(np.asarray(keyed.vectors)[[row_of[word] for word in words]])
    if not words or not vectors.shape[1]:
        raise InputError(f"{path} holds no word vectors")
    if not vectors.isfinite().all():
        raise InputError(f"{path} is damaged: some of its numbers are not finite")
    return words, vectors.float()


def _load(path: Path, **how: bool) -> Any:
    try:
        from gensim.models import KeyedVectors
    except ImportError as error:
        advice = "pip install 'mee[words]'"
        raise InputError(f"word vectors are read by gensim, which is not installed: {advice}") from error
    with usable(f"{path} is damaged, or not in {FORMATS}"), limited(path):
        return KeyedVectors.load_word2vec_format(str(path), unicode_errors="replace", **how)


def _format(path: Path) -> dict[str, bool]:
    """gensim's options for a file: whether it is binary, and whether it has no header."""
    if not path.is_file():
        raise InputError(f"no file of word vectors at '{path}'")
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            first, second = file.readline(LONGEST_LINE), file.readline(LONGEST_LINE)
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"{path} cannot be read: {error}") from error
    if path.suffix in PICKLES or first.startswith(b"\x80"):
        never = "is in a library's own format, which may be a pickle and is never read"
        raise InputError(f"{path} {never}; write it in {FORMATS} (gensim: save_word2vec_format)")
    header = first.split()
    if len(header) == 2 and all(number.isdigit() for number in header):
        return {"binary": not _is_line(second, int(header[1])), "no_header": False}
    if len(header) > 2 and _is_line(first, len(header) - 1):
        return {"binary": False, "no_header": True}
    raise InputError(f"{path} is not in {FORMATS}")


def _is_line(line: bytes, columns: int) -> bool:
    try:
        numbers = [float(part) for part in line.split()[1:]]
    except ValueError:
        return False
    return len(numbers) == columns > 0


FILE = "words.json"


class WordVectorEncoder(TextEncoder):
    """Vectors that do not learn; what learns is their pooling, if anything."""

    def __init__(self, config: TextConfig, words: Sequence[str], vectors: Tensor) -> None:
        """Take V different words in lower case, and their (1 + V, D) vectors, of which the first row is zeros."""
        pool = Pool(config.pools, vectors.shape[1])
        super().__init__(pool.dim, torch.empty(0, dtype=torch.int64))
        self.words, self.max_words = tuple(words), config.longest
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
        with usable(f"{path}: the words cannot be read"):
            if not path.exists():
                raise InputError(f"'{directory}' has no {FILE}, which holds the words")
            content = read_json(entry(directory, FILE), LARGEST_JSON)
            words, columns = content["words"], content["columns"]
            if len(set(words)) < len(words) or not all(isinstance(word, str) for word in words) or columns < 1:
                raise InputError(f"{path}: the words are not different words, so it is not of a MEE model")
        return cls(config, words, torch.zeros(1 + len(words), columns))

    def save(self, directory: Path) -> None:
        content = {"columns": self.embedding.embedding_dim, "words": self.words}
        (directory / FILE).write_text(json.dumps(content))

    def tokenize(self, sentences: Sequence[str]) -> list[Tensor]:
        check_sentences(sentences)
        rows = [[row for word in split(sentence) for row in self._rows(word)] for sentence in sentences]
        return [torch.tensor(some[: self.max_words] or [0], dtype=torch.int64) for some in rows]

    def reader(self) -> Reader:
        def cuts(sentences: Sequence[str]) -> list[bool]:
            lengths = (sum(len(self._rows(word)) for word in split(sentence)) for sentence in sentences)
            return [length > self.max_words for length in lengths]

        return Reader(self.max_words, cuts, lambda word: bool(self._rows(word)))

    def forward(self, rows: Tensor, lengths: Tensor) -> Tensor:
        return cast(Tensor, self.pool(self.embedding(rows), lengths))

    def attention(self, sentence: str) -> None:
        return None

    def _rows(self, word: str) -> list[int]:
        """Rows of a word; of its parts if only they are known: man's is man and s."""
        parts = [word] if word in self.row_of else word.split("'")
        return [self.row_of[part] for part in parts if part in self.row_of]
