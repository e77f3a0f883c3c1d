"""Our side of the comparison: the Trainer itself with the paper preset, stopped after a number of steps."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Literal

import torch

from benchmarks.random_clips import RandomClips
from mee.config import ModelConfig
from mee.presets import PRESETS
from mee.training.data import Batch
from mee.training.trainer import Trainer

PAPER = PRESETS["paper"]
Precision = Literal["no", "bf16"]


class OurTraining:
    """`run(n)` is an epoch of n steps, as `Trainer.run` does them."""

    def __init__(
        self,
        clips: RandomClips,
        batch_size: int,
        precision: Precision,
        device: torch.device,
        seed: int,
        work: Path,
    ) -> None:
        """Build the trainer; `work` is a directory for the words' vectors."""
        text = replace(PAPER.text, vectors=str(clips.write_vectors(work / "vectors.txt")))
        experts = tuple(PAPER.expert(name, dim, "random") for name, dim in clips.dims.items())
        config = replace(PAPER.training, batch_size=batch_size, mixed_precision=precision, seed=seed)
        names = list(clips.clips.index)
        self.trainer = Trainer(
            clips,
            clips.pairs(names),
            clips.pairs(names[:1]),
            ModelConfig(experts=experts, text=text, dropout=PAPER.dropout),
            config,
            device,
        )
        self.whole = self.trainer.data.batches
        self.endless = self._endless()

    def run(self, steps: int) -> float:
        """Train on. Returns the mean loss."""
        data = self.trainer.data
        data.batches = lambda config, generator: islice(self.endless, steps)  # type: ignore[method-assign]
        data.steps = lambda config: steps  # type: ignore[method-assign]
        return self.trainer._train_epoch()

    def _endless(self) -> Iterator[Batch]:
        while True:
            yield from self.whole(self.trainer.config, self.trainer.generator)
