"""Settings of a precompute job. Nothing here imports a decoder: command lines are made from these fields."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class PrecomputeConfig:
    """How videos are turned into streams."""

    streams: tuple[str, ...] = ("appearance", "motion", "audio", "face")  # which streams to extract
    clip_seconds: float | None = None  # length of a clip; default: whole up to 30 s, longer videos in 10 s clips
    reader: Literal["pyav", "decord"] = "pyav"  # decord is faster where every frame is wanted; guarded, see README
    workers: int | None = None  # processes; default: one a core
    timeout: float = 1800.0  # seconds that one file may take before it is given up
    memory: float = 4.0  # GB of address space that one worker may take
    overwrite: bool = False  # begin these streams anew, though the store has them

    def __post_init__(self) -> None:
        if not self.streams or len(set(self.streams)) != len(self.streams):
            raise ValueError(f"streams must be named, each once, got {' '.join(self.streams) or 'none'}")
        if self.clip_seconds is not None and not 0.1 <= self.clip_seconds < float("inf"):
            raise ValueError(f"clip-seconds must be at least 0.1, got {self.clip_seconds}")
        if self.workers is not None and self.workers < 1:
            raise ValueError(f"workers must be at least 1, got {self.workers}")
        if self.timeout <= 0 or self.memory <= 0:
            raise ValueError("timeout and memory must be positive")
