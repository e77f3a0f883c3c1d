"""Settings of a precompute job, and which share of a library it takes. Nothing here imports a decoder.

    file  ->  first 8 bytes of SHA-256 of its path below the library's folder, mod n  ->  shard 0 .. n - 1

A path keeps its shard while the library grows, so jobs stay disjoint and together complete. `--shard env` reads
the environment set by a launcher: RANK and WORLD_SIZE (torchrun), else SLURM_PROCID and SLURM_NTASKS (srun). All
elements of a job array have the same values of these, so they name their share themselves.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from features.errors import InputError
from features.extractors import PRESETS, RunConfig
from features.media import Limits

BUILT_IN = "builtin"
ENVIRONMENT = "env"


@dataclass(frozen=True, kw_only=True)
class PrecomputeConfig:
    """How videos are turned into streams."""

    preset: Literal["builtin", "clip", "strong"] | None = None  # a set of extractors; without --streams: builtin
    streams: tuple[str, ...] | None = None  # one word each: NAME, or NAME=MODEL[@REVISION][:key=value,...]
    clip_seconds: float | None = None  # length of a clip; default: whole up to 30 s, longer videos in 10 s clips
    reader: Literal["pyav", "decord"] = "pyav"  # decord is faster where every frame is wanted; guarded, see README
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
        preset = {part.stream: part.word for part in PRESETS[self.preset or BUILT_IN].streams}
        return tuple((preset | named).values())


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
        digest = hashlib.sha256(video.encode()).digest()
        return int.from_bytes(digest[:8]) % self.count == self.index


def parse_shard(text: str, environment: Mapping[str, str]) -> Shard:
    """The share that a command line requests: ``i/n``, or ``env``.

    Raises:
        InputError: ``env``, and the environment names no share.
        ValueError: it is neither.
    """
    if text == ENVIRONMENT:
        return _of_environment(environment)
    match = re.fullmatch(r"([0-9]+)/([0-9]+)", text)
    if match is None:
        raise ValueError(f"shard must be i/n, such as 0/4, or env; got '{text}'")
    return Shard(int(match[1]), int(match[2]))


def _of_environment(environment: Mapping[str, str]) -> Shard:
    names = ("RANK", "WORLD_SIZE") if "RANK" in environment else ("SLURM_PROCID", "SLURM_NTASKS")
    index, count = (environment.get(name, "") for name in names)
    if "SLURM_ARRAY_TASK_ID" in environment and "RANK" not in environment:
        raise _no_shard("elements of a job array", "$SLURM_ARRAY_TASK_ID/4 with --array=0-3")
    if names[0] not in environment:
        raise _no_shard("neither RANK (torchrun) nor SLURM_PROCID (srun) is set here", "0/4")
    if not all(re.fullmatch(r"[0-9]{1,9}", value) for value in (index, count)) or int(index) >= int(count):
        raise _no_shard(f"{names[0]} is '{index}' and {names[1]} '{count}', not i below n", "0/4")
    return Shard(int(index), int(count))


def _no_shard(what: str, instead: str) -> InputError:
    return InputError(f"--shard env: {what}; name the share, such as --shard {instead}")
