"""Scalars of a run for TensorBoard.

train/loss, learning_rate, gradient_norm, temperature (of InfoNCE)    one a step
validation/MRR, R@1, R@5, R@10, MedR                                  one an epoch, at its last step
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mee.errors import InputError


class Scalars:
    """Writes event files into a directory; with None, and before `begin`, it writes nothing."""

    def __init__(self, directory: Path | None) -> None:
        """Nothing is written yet.

        Raises:
            InputError: TensorBoard is not installed.
        """
        self.directory = directory
        self._writer: Any = None
        self._make = _writer_class() if directory is not None else None

    def begin(self, step: int) -> None:
        """Start after a number of steps done; what is there already of later steps no longer counts: it comes from
        a run that was stopped before its state was saved, or from one that is started again."""
        if self._make is not None:
            self._writer = self._make(str(self.directory), purge_step=step + 1)

    def add(self, group: str, figures: Mapping[str, float], step: int) -> None:
        """Take figures of one step."""
        if self._writer is not None:
            for name, value in figures.items():
                self._writer.add_scalar(f"{group}/{name}", value, step)

    def flush(self) -> None:
        """Write what waits, so that a run that is killed later does not lose it."""
        if self._writer is not None:
            self._writer.flush()

    def close(self) -> None:
        """Write what waits, and no more after it."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None


def _writer_class() -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise InputError("--tensorboard needs TensorBoard: pip install 'mee[tensorboard]'") from error
    return SummaryWriter
