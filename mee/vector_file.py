"""Files of word vectors, the most frequent word first.

    word2vec, binary   "V D\\n", then V times: the word, a space, D float32
    word2vec, text     "V D\\n", then V lines: the word and D numbers
    GloVe              lines only

Each may be gzipped. gensim reads them (the extra `mee[words]`); its own formats, which are pickles, are refused.
"""

from __future__ import annotations

import gzip
from collections.abc import Set
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mee.errors import InputError

PICKLES = (".kv", ".model", ".pkl", ".pickle", ".pt", ".npy")
LONGEST_LINE = 1 << 20  # bytes; of more columns than anybody has
FORMATS = "word2vec's text or binary format, or GloVe's"


def read_vectors(path: Path, most: int, besides: Set[str]) -> tuple[tuple[str, ...], Tensor]:
    """Read the words that matter.

    Args:
        path: the file.
        most: how many of the most frequent words to take.
        besides: words in lower case to take too, if they are there.

    Returns:
        V words in lower case, the most frequent first, and their (V, D) float32 vectors. Of words that differ in
        case alone, the one that is in lower case counts, or else the most frequent.

    Raises:
        InputError: the file is not there, is of another format, or is damaged; or gensim is not installed.
    """
    keyed = _load(path, **_format(path))
    row_of: dict[str, int] = {}
    for row, key in enumerate(keyed.index_to_key):
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
    """gensim's table of the whole file."""
    try:
        from gensim.models import KeyedVectors
    except ImportError as error:
        raise InputError(
            "word vectors are read by gensim, which is not installed: pip install 'mee[words]'"
        ) from error
    try:
        return KeyedVectors.load_word2vec_format(str(path), unicode_errors="replace", **how)
    except (EOFError, OSError, ValueError, AssertionError, MemoryError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"{path} is damaged, or not in {FORMATS}: {reason}") from error


def _format(path: Path) -> dict[str, bool]:
    """What gensim must be told of a file: whether it is binary, and whether it has no header."""
    if not path.is_file():
        raise InputError(f"no file of word vectors at '{path}'")
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            first, second = file.readline(LONGEST_LINE), file.readline(LONGEST_LINE)
    except (OSError, EOFError) as error:
        raise InputError(f"{path} cannot be read: {error}") from error
    if path.suffix in PICKLES or first.startswith(b"\x80"):
        raise InputError(
            f"{path} is in a library's own format, which may be a pickle and is never read; write it in {FORMATS} "
            "(gensim: save_word2vec_format)"
        )
    header = first.split()
    if len(header) == 2 and all(number.isdigit() for number in header):
        return {"binary": not _is_line(second, int(header[1])), "no_header": False}
    if len(header) > 2 and _is_line(first, len(header) - 1):
        return {"binary": False, "no_header": True}
    raise InputError(f"{path} is not in {FORMATS}")


def _is_line(line: bytes, columns: int) -> bool:
    """Whether it is a word and so many numbers."""
    try:
        numbers = [float(part) for part in line.split()[1:]]
    except ValueError:
        return False
    return len(numbers) == columns > 0
