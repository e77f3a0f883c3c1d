"""Which files of a library one of several jobs takes.

    file  ->  first 8 bytes of SHA-256 of its path below the library's folder, mod n  ->  shard 0 .. n - 1

A path keeps its shard while the library grows, so jobs stay disjoint and together complete. `--shard env` asks the
environment that a launcher sets, the first of these rows that is there:

    torchrun                RANK, WORLD_SIZE
    Slurm, srun             SLURM_PROCID, SLURM_NTASKS
    Slurm, job arrays       SLURM_ARRAY_TASK_ID, _MIN, _COUNT, _STEP

Where tasks of srun run inside an array (a batch script sees one task, number 0, too), a shard is one task of one
element: `element * tasks + task` of `elements * tasks`.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass

from features.errors import InputError

ENVIRONMENT = "env"


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
        """Whether a file, by its path below the library's folder, falls to this share."""
        digest = hashlib.sha256(video.encode()).digest()
        return int.from_bytes(digest[:8]) % self.count == self.index


def parse_shard(text: str, environment: Mapping[str, str]) -> Shard:
    """The share that a command line asks for: ``i/n``, or ``env``.

    Raises:
        InputError: ``env``, and the environment does not say, or says nonsense.
        ValueError: it is neither.
    """
    if text == ENVIRONMENT:
        return _of_environment(environment)
    match = re.fullmatch(r"([0-9]+)/([0-9]+)", text)
    if match is None:
        raise ValueError(f"shard must be i/n, such as 0/4, or env; got '{text}'")
    return Shard(int(match[1]), int(match[2]))


def _of_environment(environment: Mapping[str, str]) -> Shard:
    if "RANK" in environment:
        return _shard(environment, "RANK", "WORLD_SIZE")
    tasks = _shard(environment, "SLURM_PROCID", "SLURM_NTASKS") if "SLURM_PROCID" in environment else None
    if "SLURM_ARRAY_TASK_ID" in environment:
        elements, tasks = _array(environment), tasks or Shard()
        return Shard(elements.index * tasks.count + tasks.index, elements.count * tasks.count)
    if tasks is None:
        raise InputError(
            "--shard env: none of RANK (torchrun), SLURM_PROCID (srun) and SLURM_ARRAY_TASK_ID (a job array) is "
            "set here; name the share, such as --shard 0/4"
        )
    return tasks


def _array(environment: Mapping[str, str]) -> Shard:
    """The element of a job array; its numbers may start anywhere and keep a step, but must have no gaps."""
    number, first = (_number(environment, f"SLURM_ARRAY_TASK_{name}") for name in ("ID", "MIN"))
    step = _number(environment, "SLURM_ARRAY_TASK_STEP", "1")
    place, rest = divmod(number - first, max(1, step))
    if rest:
        raise InputError(_nonsense(f"SLURM_ARRAY_TASK_ID={number} is no step of {step} after {first}"))
    return _within(place, _number(environment, "SLURM_ARRAY_TASK_COUNT"), "SLURM_ARRAY_TASK_ID - _MIN", "_COUNT")


def _shard(environment: Mapping[str, str], index: str, count: str) -> Shard:
    return _within(_number(environment, index), _number(environment, count), index, count)


def _within(place: int, of: int, index: str, count: str) -> Shard:
    if not 0 <= place < of:
        raise InputError(_nonsense(f"{index} = {place} is not below {count} = {of}"))
    return Shard(place, of)


def _number(environment: Mapping[str, str], name: str, default: str = "") -> int:
    value = environment.get(name, default)
    if not re.fullmatch(r"[0-9]{1,9}", value):
        raise InputError(_nonsense(f"{name} is '{value}', not a number" if value else f"{name} is not set"))
    return int(value)


def _nonsense(what: str) -> str:
    return f"--shard env: {what}; name the share, such as --shard 0/4"
