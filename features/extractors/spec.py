"""Which extractor makes a stream, in one word of a command line.

    NAME                                             a row of the registry: appearance, motion, audio, face, …
    NAME=SOURCE[@REVISION][:key=value[,key=value]]   a pretrained model; NAME is the stream's, free to choose

SOURCE is a name on the hub ("owner/name"), a directory in the hub's format, a file (.onnx), or for faces two of
these with "+" between them, each with its own @REVISION. Keys are the extractor's: output, merge, fps, window, …

    motion=MCG-NJU/videomae-base    sound=laion/clap-htsat-unfused:output=projected    dino=./dinov2:fps=1,merge=8

How pretrained extractors run. Nothing here imports torch: command lines are made from these fields.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from features.errors import InputError
from features.extractors.token_merging import MergeSchedule

_NAME = re.compile(r"[A-Za-z0-9_-]+")
_OPTIONS = re.compile(r":(?=[A-Za-z_]+=)")  # where they begin; a value may hold ":" too, as in merge=13:falling


@dataclass(frozen=True)
class Checkpoint:
    """A pretrained model's files on this machine."""

    model: str  # name on the hub; for local files the name of the directory or file, which may move
    path: Path  # directory or file
    revision: str  # commit on the hub, or "sha256:" and digits that stand for the content of local files


@dataclass(frozen=True)
class ExtractorSpec:
    """A word, taken apart. `registry.resolve` adds where the model's files are, so that workers need not look."""

    stream: str
    source: str | None = None  # None: the registry's extractor of this name
    revision: str | None = None  # as asked for; of two models, each has its own within `source`
    options: Mapping[str, str] = field(default_factory=dict, hash=False)
    checkpoints: tuple[Checkpoint, ...] = ()

    def __str__(self) -> str:
        """The word again."""
        place = "" if self.source is None else f"={self.source}" + (f"@{self.revision}" if self.revision else "")
        options = ",".join(f"{key}={value}" for key, value in self.options.items())
        return f"{self.stream}{place}{options and ':' + options}"


def parse_spec(word: str) -> ExtractorSpec:
    """Take a word apart, as the module says."""
    stream, equals, rest = word.partition("=")
    if not _NAME.fullmatch(stream):
        raise InputError(
            f"'{word}' names no stream: a name is of letters, digits, - and _, as in: appearance=OWNER/MODEL:fps=2"
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
    """Source and revision; a path that exists is taken whole, and each of two models keeps its own."""
    if "+" in place or Path(place).expanduser().exists():
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


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """Where and how models run; built-in extractors take no notice of it."""

    device: Literal["auto", "cpu", "cuda"] = "auto"  # where models run; auto: a GPU if there is one
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"  # of weights and activations; what is stored is float16
    batch_size: int = 32  # rows (frames, or windows of frames) in one forward pass, of several clips
    merge: str | None = None  # token merging: "8", "0.1" (a share of the tokens), "13:falling"; default: none

    def __post_init__(self) -> None:
        if self.batch_size < 1:
            raise ValueError(f"batch-size must be at least 1, got {self.batch_size}")
        if self.merge is not None:
            MergeSchedule.parse(self.merge)  # refuses nonsense
