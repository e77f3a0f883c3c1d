"""Extractor: clips in, one stream of numbers or words out. A new one is one file and one line in registry.py."""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from types import MappingProxyType
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from features.media import Clip, Need

LONGEST_NAME, LONGEST_NAMES = 200, 1 << 20  # characters of a column's name, and of all of a stream, as lines
LONGEST_LINE, MOST_TEXT = 1000, 1 << 18  # characters of one utterance, and of all of a clip
LOOKS = {"first_look": True}  # in the parameters of the fingerprints of streams of one frame a clip


@dataclass(frozen=True, eq=False)
class Stream:
    """One modality of one clip over time; a clip that does not have the modality has None instead."""

    rows: NDArray[np.float32]  # (T, D), T at least 1
    times: NDArray[np.float64]  # (T,) seconds, the middle of what each row describes; several rows may share one


def is_line(text: str) -> bool:
    """Whether it can be an utterance of a store."""
    return len(text.strip()) > 0 and len(text) <= LONGEST_LINE and text.isprintable()


@dataclass(frozen=True, eq=False)
class Words:
    """What is said or written in one clip; a clip without any has None instead."""

    times: NDArray[np.float64]  # (T, 2) seconds on the video from which to which each lasts; starts never fall
    lines: tuple[str, ...]  # T at least 1, each of which `is_line`, at most MOST_TEXT characters in all

    def __post_init__(self) -> None:
        starts, ends = self.times.reshape(-1, 2).T  # raises ValueError where it is of another shape
        ordered = bool((starts <= ends).all() and (np.diff(starts) >= 0).all() and np.isfinite(self.times).all())
        text = all(map(is_line, self.lines)) and 0 < sum(map(len, self.lines)) <= MOST_TEXT
        if not (ordered and text and self.times.shape == (len(self.lines), 2)):
            raise ValueError("words are lines of printable text, each with a start and an end, in order of time")

    @classmethod
    def of(cls, found: Iterable[tuple[float, float, str]]) -> Words | None:
        """Start, end and text of each, in any order; without what cannot be printed, and cut at the limits."""
        kept, room = [], MOST_TEXT
        for start, end, text in sorted(found, key=lambda each: each[0]):
            line = "".join(filter(str.isprintable, " ".join(text.split())))[: min(LONGEST_LINE, room)].strip()
            if line:
                kept.append((start, max(start, end), line))
                room -= len(line)
        return (
            cls(np.array([each[:2] for each in kept], np.float64), tuple(each[2] for each in kept))
            if kept
            else None
        )


@dataclass(frozen=True, kw_only=True)
class Fingerprint:
    """What made a stream. A store never mixes two fingerprints in one stream."""

    extractor: str
    version: int  # of the extractor's code: raised whenever its numbers change
    dim: int  # 0: the stream holds words
    parameters: Mapping[str, Any] = field(default_factory=dict)
    model: str | None = None  # hub id or path, for pretrained extractors
    revision: str | None = None
    columns: tuple[str, ...] = ()  # names of the columns, or none: as check_columns takes them

    @property
    def digest(self) -> str:
        """Twelve hexadecimal digits of a hash of the whole fingerprint."""
        content = asdict(self)
        if not self.columns:
            del content["columns"]
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:12]


def check_columns(columns: Sequence[Any], dim: int) -> tuple[str, ...]:
    """The names of a stream's ``dim`` columns, or none. Columns without a name have "" and come before the others.

    Raises:
        ValueError: they are fewer or more, or a name is no text, empty, too long, or cannot be printed.
    """
    if len(columns) not in (0, dim):
        raise ValueError(f"{dim} columns need as many names, and {len(columns)} were given")
    unnamed = next((number for number, name in enumerate(columns) if name != ""), dim - 1)  # the last has one
    for number, name in enumerate(columns[unnamed:], unnamed + 1):
        if not (isinstance(name, str) and name.strip() and len(name) <= LONGEST_NAME and name.isprintable()):
            raise ValueError(
                f"the name of column {number} should be printable text of 1 to {LONGEST_NAME} characters, and is "
                f"{name!r:.80}"
            )
    if (length := len("\n".join(columns))) > LONGEST_NAMES:
        raise ValueError(f"the names of all columns have {length:,} characters, and may have {LONGEST_NAMES:,}")
    return tuple(columns)


class Extractor(ABC):
    """Turns clips into one modality's streams, the same numbers for the same clip every time."""

    modality: str
    version: int
    dim: int  # D, the size of a row; 0: it gives Words
    needs: tuple[Need, ...]  # what a reader has to decode for this extractor
    parameters: Mapping[str, Any] = MappingProxyType({})  # what else changes the numbers, for the fingerprint
    columns: tuple[str, ...] = ()  # names of the D columns, such as a classifier's classes: check_columns, or none
    model_revision: tuple[str, str] | None = None  # name and revision of a pretrained model, for the fingerprint
    shared: ClassVar[bool] = False  # True: one instance serves all workers, in the process that holds the model

    def load(self) -> None:  # noqa: B027  built-in extractors have nothing to load
        """Load now what `extract` would load at its first call, so that errors show before any file is read."""

    @abstractmethod
    def extract(self, clips: Sequence[Clip]) -> Sequence[Stream | Words | None]:
        """One stream a clip, or its words; None where the clip does not have the modality."""

    @property
    def fingerprint(self) -> Fingerprint:
        """What this extractor is, for the store's manifest."""
        needs = [{type(need).__name__: asdict(need)} for need in self.needs]
        module = type(self).__module__
        model, revision = self.model_revision or (None, None)
        place = "features" if module.startswith("features.") else module  # ours may move to another file
        return Fingerprint(
            extractor=f"{place}:{type(self).__qualname__}",
            version=self.version,
            dim=self.dim,
            parameters={**self.parameters, "needs": needs},
            model=model,
            revision=revision,
            columns=self.columns,
        )
