"""Which extractor makes a stream, in one word of a command line, and how pretrained extractors run.

    NAME                                             a built-in extractor: appearance, motion, audio, face, …
    NAME=SOURCE[@REVISION][:key=value[,key=value]]   a pretrained model; NAME is the stream's, free to choose

SOURCE is a name on the hub ("owner/name"), a directory in the hub's format, a file (.onnx), or for faces two of
these with "+" between them, each with its own @REVISION. Keys are the extractor's: output, merge, fps, window, …

    motion=MCG-NJU/videomae-base    sound=laion/clap-htsat-unfused:output=projected    dino=./dinov2:fps=1,merge=8

Token merging (features.extractors.token_merging) is such an option, and one of the job:

    merge          layer i of L, N tokens at the start                      Bolya et al. 2023, Token Merging
    8              8                                                        constant, section 4.1
    0.066          floor(0.066 N): a share, for inputs of many tokens
    13:falling     floor(2 * 13 * (L - 1 - i) / (L - 1)): 26 … 0            decreasing, section 4.1
    0.066:falling  the same from 2 floor(0.066 N) to 0

Nothing here imports torch: command lines are made from these fields.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Literal, TypeVar

from features.errors import InputError
from features.files import NAME

_OPTIONS = re.compile(r":(?=[A-Za-z_]+=)")  # where they begin; a value may hold ":" too, as in merge=13:falling
_MERGE = re.compile(r"(?P<count>[0-9]{1,6})|(?P<share>0?\.[0-9]{1,12})")
_FALLING = ":falling"
N = TypeVar("N", int, float)


@dataclass(frozen=True)
class Checkpoint:
    """A pretrained model's files on this machine."""

    model: str  # name on the hub; for local files the name of the directory or file, which may move
    path: Path  # directory or file
    revision: str  # commit on the hub, or "sha256:" and the first digits of a hash of the local files


@dataclass(frozen=True)
class ExtractorSpec:
    """A parsed word. `registry.resolve` adds the model's local files, so that workers need not look for them."""

    stream: str
    source: str | None = None  # None: the registry's extractor of this name
    revision: str | None = None  # as given; of two models, each has its own within `source`
    options: Mapping[str, str] = field(default_factory=dict, hash=False)
    checkpoints: tuple[Checkpoint, ...] = ()

    def __str__(self) -> str:
        """The word again."""
        place = "" if self.source is None else f"={self.source}" + (f"@{self.revision}" if self.revision else "")
        options = ",".join(f"{key}={value}" for key, value in self.options.items())
        return f"{self.stream}{place}{options and ':' + options}"


def parse_spec(word: str) -> ExtractorSpec:
    """Parse a word of the module's form."""
    stream, equals, rest = word.partition("=")
    if not NAME.fullmatch(stream):
        raise InputError(
            f"'{word}' names no stream: a name is of at most 100 letters, digits, - and _, as in: "
            "appearance=OWNER/MODEL:fps=2"
        )
    if not equals:
        return ExtractorSpec(stream)
    place, *options = _OPTIONS.split(rest, maxsplit=1)
    source, revision = _split_revision(place)
    if not source or revision == "":
        raise InputError(
            f"'{word}' names no model after the =; it may be OWNER/MODEL, OWNER/MODEL@REVISION or a path"
        )
    return ExtractorSpec(stream, source, revision, _parse_options(word, options[0]) if options else {})


def _split_revision(place: str) -> tuple[str, str | None]:
    """Source and revision; an existing path is never split, and each of two models keeps its own revision."""
    if "+" in place or os.path.exists(os.path.expanduser(place)):
        return place, None
    source, at, revision = place.partition("@")
    return source, revision if at else None


def _parse_options(word: str, text: str) -> dict[str, str]:
    options: dict[str, str] = {}
    for pair in text.split(","):
        key, equals, value = (part.strip() for part in pair.partition("="))
        if not (key and equals and value) or key in options:
            raise InputError(
                f"'{word}': options are key=value, each key once, separated by commas; '{pair}' is not one"
            )
        options[key] = value
    return options


def check_options(spec: ExtractorSpec, known: Collection[str]) -> None:
    """Refuse keys that the extractor does not have."""
    for key in spec.options:
        if key not in known:
            raise InputError(f"'{spec}': there is no option '{key}' here; there are {', '.join(sorted(known))}")


def positive_option(spec: ExtractorSpec, key: str, default: N) -> N:
    """The value of an option that is a number above 0, whole where its default is an int."""
    text = spec.options.get(key)
    if text is None:
        return default
    try:
        value = type(default)(text)
    except ValueError:
        value = type(default)(0)
    if not 0 < value < math.inf:
        whole = "whole " if isinstance(default, int) else ""
        raise InputError(f"'{spec}': {key} must be a {whole}number above 0, got '{text}'")
    return value


@dataclass(frozen=True)
class MergeSchedule:
    """Tokens to merge away in each layer: a count, or a share of the tokens that the first layer gets."""

    amount: Fraction  # a whole number unless it is a share
    share: bool = False
    falling: bool = False

    def __post_init__(self) -> None:
        fits = self.amount < 1 if self.share else self.amount.denominator == 1
        if self.amount < 0 or not fits:
            raise ValueError(f"merge must be a whole number, or a share of the tokens below 1, got {self}")

    @classmethod
    def parse(cls, text: str) -> MergeSchedule:
        """From one of the module's forms: "8", "0.066", either with ":falling"; else ValueError."""
        number = text.strip().removesuffix(_FALLING)
        found = _MERGE.fullmatch(number)
        if found is None:
            raise ValueError(
                f"merge '{text}' is neither a number of tokens a layer, such as 8, nor a share of the tokens, "
                "such as 0.066; either may end in :falling"
            )
        return cls(Fraction(number), share=found["share"] is not None, falling=text.strip().endswith(_FALLING))

    def __str__(self) -> str:
        """The canonical text of the schedule, for fingerprints; `parse` reads it."""
        number = f"{float(self.amount):.12f}".rstrip("0").rstrip(".") if self.share else str(self.amount)
        return f"{number}{_FALLING}" if self.falling and self.merges else number

    @property
    def merges(self) -> bool:
        """Whether any tokens merge at all."""
        return self.amount > 0

    def wanted(self, layers: int, tokens: int) -> list[int]:
        """Tokens to merge in each layer, before the limit of half of the ``tokens`` that the first one gets."""
        amount = int(self.amount * tokens) if self.share else int(self.amount)
        if not self.falling or layers == 1:  # one layer: the mean of 2r and 0
            return [amount] * layers
        return [2 * amount * (layers - 1 - layer) // (layers - 1) for layer in range(layers)]

    def per_layer(self, layers: int, tokens: int, protected: int) -> list[int]:
        """Tokens that each layer really merges away; the first ``protected`` never merge."""
        return limited(self.wanted(layers, tokens), tokens, protected)


def limited(wanted: list[int], tokens: int, protected: int) -> list[int]:
    """Counts a layer, cut to at most half of the remaining tokens that are not protected."""
    merged = []
    for count in wanted:
        merged.append(max(0, min(count, (tokens - protected) // 2)))
        tokens -= merged[-1]
    return merged


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """Where and how pretrained models run; built-in extractors ignore it."""

    device: Literal["auto", "cpu", "cuda"] = "auto"  # where models run; auto: a GPU if there is one
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"  # of weights and activations; what is stored is float16
    batch_size: int = 32  # rows (frames, or windows of frames) in one forward pass, of several clips
    merge: str | None = None  # token merging: "8", "0.1" (a share of the tokens), "13:falling"; default: none

    def __post_init__(self) -> None:
        if self.batch_size < 1:
            raise ValueError(f"batch-size must be at least 1, got {self.batch_size}")
        if self.merge is not None:
            MergeSchedule.parse(self.merge)  # raises ValueError
