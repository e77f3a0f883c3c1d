"""How pretrained extractors run. Nothing here imports torch: command lines are made from these fields."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from features.merge_schedule import MergeSchedule


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
