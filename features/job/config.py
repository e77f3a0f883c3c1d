"""Settings of a precompute job. Nothing here imports a decoder: command lines are made from these fields."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Literal

from features.extractors import PRESETS, RunConfig
from features.media import Limits

BUILT_IN = "builtin"


@dataclass(frozen=True)
class Shard:
    """Share number ``index`` of ``count``, counted from 0."""

    index: int = 0
    count: int = 1

    def __post_init__(self) -> None:
        if self.count < 1 or not 0 <= self.index < self.count:
            raise ValueError(
                "shard must be i/n with i from 0 to n - 1, such as 0/4, 1/4, 2/4 and 3/4; got "
                f"{self.index}/{self.count}"
            )

    def holds(self, video: str) -> bool:
        """Whether a file, by its path below the library's folder, belongs to this share."""
        digest = hashlib.sha256(video.encode("utf-8", "surrogateescape")).digest()
        return int.from_bytes(digest[:8]) % self.count == self.index


@dataclass(frozen=True, kw_only=True)
class PrecomputeConfig:
    """How videos are turned into streams."""

    # a set of extractors; without --streams: builtin
    preset: Literal["builtin", "offline", "clip", "strong"] | None = None
    streams: tuple[str, ...] | None = None  # one word each: NAME, or NAME=MODEL[@REVISION][:key=value,...]
    clip_seconds: float | None = None  # length of a clip; default: whole up to 30 s, longer videos in 10 s clips
    reader: Literal["pyav", "decord"] = "pyav"  # decord is faster at every frame; pyav reads what it gets wrong
    # processes that decode; default: one a core, or one for every four cores where a model runs on the CPU, which
    # takes longer than decoding and uses the other cores
    workers: int | None = None
    timeout: float = 1800.0  # time limit of one file: seconds that a worker may work on it
    memory: float = 3.0  # GB of address space that one worker may use; films of 8K need most of it
    max_seconds: float | None = None  # a longer file is refused; default: no limit
    max_megapixels: float = 100.0  # a file of larger pictures is refused
    retries: int = 1  # further tries, at the end, of a file whose worker crashed, or ran out of memory or time
    skip_failed: bool = False  # skip files that failed in an earlier run
    overwrite: bool = False  # overwrite these streams where the store has them
    redo: tuple[str, ...] = ()  # extract these files again, and no others: by path below VIDEOS, or the end of one
    run: RunConfig = field(default_factory=RunConfig)

    def __post_init__(self) -> None:
        if self.streams is not None:
            names = [word.partition("=")[0] for word in self.streams]
            if not names or len(set(names)) != len(names):
                raise ValueError(f"streams must be named, each once, got {' '.join(self.streams) or 'none'}")
        if self.clip_seconds is not None and not 0.1 <= self.clip_seconds < float("inf"):
            raise ValueError(f"clip-seconds must be at least 0.1, got {self.clip_seconds}")
        if self.workers is not None and self.workers < 1:
            raise ValueError(f"workers must be at least 1, got {self.workers}")
        if not (0 < self.timeout < float("inf") and 0 < self.memory < float("inf")):
            raise ValueError(f"timeout and memory must be positive, got {self.timeout} and {self.memory}")
        if self.overwrite and self.redo:
            raise ValueError("redo and overwrite exclude each other: one is of some files, the other of all")
        if self.retries < 0:
            raise ValueError(f"retries must be at least 0, got {self.retries}")
        assert self.limits  # checks its values

    @property
    def limits(self) -> Limits:
        """Beyond which files are refused."""
        return Limits(max_seconds=self.max_seconds, max_megapixels=self.max_megapixels)

    @property
    def words(self) -> tuple[str, ...]:
        """A word for each stream: those of the preset, where `streams` replace those of the same name.

        Without a preset `streams` are all; without either the preset is builtin.
        """
        named = {word.partition("=")[0]: word for word in self.streams or ()}
        if self.preset is None and self.streams is not None:
            return tuple(named.values())
        preset = {word.partition("=")[0]: word for word in PRESETS[self.preset or BUILT_IN].words}
        return tuple((preset | named).values())
