"""Which files of a library one of several jobs takes.

    file  ->  first 8 bytes of SHA-256 of its path below the library's folder, mod n  ->  shard 0 .. n - 1

A path keeps its shard while the library grows, so jobs stay disjoint and together complete. `--shard env` asks the
environment that a launcher sets: RANK and WORLD_SIZE (torchrun), else SLURM_PROCID and SLURM_NTASKS (srun).
Elements of a job array all see the same of these, and name their share themselves.
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
    names = ("RANK", "WORLD_SIZE") if "RANK" in environment else ("SLURM_PROCID", "SLURM_NTASKS")
    index, count = (environment.get(name, "") for name in names)
    if "SLURM_ARRAY_TASK_ID" in environment and "RANK" not in environment:
        raise _no_share("elements of a job array", "$SLURM_ARRAY_TASK_ID/4 with --array=0-3")
    if names[0] not in environment:
        raise _no_share("neither RANK (torchrun) nor SLURM_PROCID (srun) is set here", "0/4")
    if not all(re.fullmatch(r"[0-9]{1,9}", value) for value in (index, count)) or int(index) >= int(count):
        raise _no_share(f"{names[0]} is '{index}' and {names[1]} '{count}', not i below n", "0/4")
    return Shard(int(index), int(count))


def _no_share(what: str, instead: str) -> InputError:
    return InputError(f"--shard env: {what}; name the share, such as --shard {instead}")
