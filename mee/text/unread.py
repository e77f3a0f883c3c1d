"""What text encoders do not read of sentences: what they cut, and words that they have not learnt.

Nothing here imports torch. An encoder that learns its words from captions knows those that were frequent there as
one piece each; a pretrained one reads any word.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

WORD = re.compile(r"\w+(?:'\w+)*")
COMMON = frozenset({"a", "an", "and", "are", "at", "by", "for", "from", "in", "is", "it", "of", "on", "the", "to"})
CHUNK, LARGEST = 4096, 1 << 30
PADDING = "[PAD]"  # token 0 of our own vocabularies


@dataclass(frozen=True)
class Reader:
    """How one text encoder reads."""

    longest: int  # tokens
    cuts: Callable[[Sequence[str]], list[bool]]  # which sentences are longer
    knows: Callable[[str], bool] = bool  # whether a word in lower case is known


def reader_of(tokenizer: Any, prompt: str = "") -> Reader:
    """By a tokenizer of the tokenizers library, which cuts."""

    def cuts(sentences: Sequence[str]) -> list[bool]:
        chunks = (sentences[start : start + CHUNK] for start in range(0, len(sentences), CHUNK))
        encoded = (tokenizer.encode_batch_fast([prompt + text.strip() for text in chunk]) for chunk in chunks)
        return [bool(each.overflowing) for chunk in encoded for each in chunk]

    def knows(word: str) -> bool:
        pieces = len(tokenizer.encode(word).ids)
        return pieces == 1 or (not word.isascii() and pieces <= len(word))  # not every script parts its words

    own = type(tokenizer.model).__name__ == "BPE" and tokenizer.token_to_id(PADDING) == 0
    return Reader((tokenizer.truncation or {}).get("max_length", 0), cuts, knows if own else bool)


@dataclass
class Unread:
    """Counts of what is not read of the sentences that were looked at."""

    sentences: int = 0
    cut: int = 0
    longest: int = 0  # tokens that are read of them
    unknown: int = 0  # sentences without a content word that is known
    some: list[str] = field(default_factory=list)  # of these

    def look(self, readers: Sequence[Reader], sentences: Sequence[str], *, words: bool = False) -> Unread:
        """Count sentences; returns itself; `words`: those without a known word, too."""
        cut = [reader.cuts(sentences) for reader in readers]
        self.sentences, self.cut = self.sentences + len(sentences), self.cut + sum(map(any, zip(*cut)))
        limits = [reader.longest for reader, its in zip(readers, cut) if any(its)]
        self.longest = min([*limits, self.longest or LARGEST])
        for sentence in sentences if words and readers else ():
            content = set(split(sentence)) - COMMON
            if not any(reader.knows(word) for word in content for reader in readers):
                self.unknown, self.some = self.unknown + 1, [*self.some, sentence][:3]
        return self

    def notes(self, what: str, option: str = "") -> list[str]:
        """In words; `option`: of the command line, that reads more."""
        of = f"of {self.sentences:,} {what}"
        cut = f"{self.cut:,} {of} are longer than {self.longest} tokens and are cut"
        unknown = f"{self.unknown:,} {of} have no content word that the model knows, so their hits mean little"
        if self.sentences == 1:
            one = f"the {what.removesuffix('s')}"
            cut = f"{one} is longer than {self.longest} tokens and is cut"
            unknown = f"{one} has no content word that the model knows, so its hits mean little"
        some = ", ".join(f"'{sentence:.40}'" for sentence in self.some)
        notes = [f"note: {cut}{f' ({option})' if option else ''}"] if self.cut else []
        return notes + ([f"note: {unknown}: {some}"] if self.unknown else [])


def split(sentence: str) -> list[str]:
    """The words of a sentence in lower case, without punctuation."""
    return WORD.findall(unicodedata.normalize("NFKC", sentence).lower().replace("’", "'"))
