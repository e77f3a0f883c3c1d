"""What text encoders do not read of sentences: what they cut, and words that are not learnt or say nothing.

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
COMMON |= {"as", "be", "has", "have", "its", "or", "that", "there", "this", "was", "were", "with"}
SOME = 3  # of sentences or words that a note shows
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
        read = tokenizer.encode(max(word.split("'"), key=len))  # of man's, man
        whole = len(read.ids) == len(set(read.word_ids))  # mp4 is two words to it
        return whole or (not word.isascii() and len(read.ids) <= len(word))  # not every script parts its words

    own = type(tokenizer.model).__name__ == "BPE" and tokenizer.token_to_id(PADDING) == 0
    return Reader((tokenizer.truncation or {}).get("max_length", 0), cuts, knows if own else bool)


@dataclass
class Unread:
    """Counts of what is not read of the sentences that were looked at, each with some examples."""

    sentences: int = 0
    cut: int = 0
    longest: int = 0  # tokens that are read of them
    common: int = 0  # sentences of very common words alone
    unknown: int = 0  # sentences without a content word that is known
    partly: int = 0  # sentences with such words, and others
    some: dict[str, list[str]] = field(default_factory=dict)  # of a count: sentences; of `partly` words

    def look(self, readers: Sequence[Reader], sentences: Sequence[str], *, words: bool = False) -> Unread:
        """Count sentences; returns itself; `words`: those with words that are common or not known, too."""
        cut = [reader.cuts(sentences) for reader in readers]
        self.sentences, self.cut = self.sentences + len(sentences), self.cut + sum(map(any, zip(*cut)))
        limits = [reader.longest for reader, its in zip(readers, cut) if any(its)]
        self.longest = min([*limits, self.longest or LARGEST])
        for sentence in sentences if words else ():
            said = dict.fromkeys(split(sentence))
            content = [word for word in said if word not in COMMON]
            strange = [word for word in content if readers and not any(each.knows(word) for each in readers)]
            if said and not content:
                self._count("common", [sentence])
            elif len(strange) == len(content) and readers:
                self._count("unknown", [sentence])
            elif strange:
                self._count("partly", strange)
        return self

    def _count(self, name: str, examples: Sequence[str]) -> None:
        setattr(self, name, getattr(self, name) + 1)
        self.some[name] = [*dict.fromkeys([*self.some.get(name, ()), *examples])][:SOME]

    def notes(self, what: str, option: str = "") -> list[str]:
        """In words; `option`: of the command line, that reads more."""
        one = self.sentences == 1
        are, have, their = ("is", "has", "its") if one else ("are", "have", "their")
        told = {
            "cut": f"{are} longer than {self.longest} tokens and {are} cut{f' ({option})' if option else ''}",
            "common": f"{have} only very common words, so {their} hits mean little",
            "unknown": f"{have} no content word that the model knows, so {their} hits mean little",
            "partly": f"{have} words that the model does not know, so what these add means little",
        }
        notes = []
        for name, text in told.items():
            if number := getattr(self, name):
                subject = f"the {what.removesuffix('s')}" if one else f"{number:,} of {self.sentences:,} {what}"
                some = ", ".join(f"'{each:.40}'" for each in self.some.get(name, ()))
                notes.append(f"note: {subject} {text}{some and f': {some}'}")
        return notes


def split(sentence: str) -> list[str]:
    """The words of a sentence in lower case, without punctuation."""
    return WORD.findall(unicodedata.normalize("NFKC", sentence).lower().replace("’", "'"))
