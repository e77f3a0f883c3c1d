"""NamedScores: scores of another system, whose queries and clips go by ids."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray

from mee.ranking.scores import Scores


class NamedScores(Scores):
    """Scores of `query_ids` x `clip_ids`; the candidates are the clips."""

    query_ids: tuple[str, ...]
    clip_ids: tuple[str, ...]
    rule: str  # in words: what the scores are, and as what they are compared

    def __init__(self, query_ids: Sequence[str], clip_ids: Sequence[str], device: torch.device | None) -> None:
        self.query_ids, self.clip_ids = tuple(query_ids), tuple(clip_ids)
        self.queries, self.candidates = len(self.query_ids), len(self.clip_ids)
        self.device = device or torch.device("cpu")

    @abstractmethod
    def take(self, queries: NDArray[np.int64], clips: NDArray[np.int64]) -> Self:
        """The same scores of some queries and clips, in this order; nothing is copied."""


def run_or_rows(rows: NDArray[np.int64]) -> slice | NDArray[Any]:
    """A slice where the rows follow each other, so that reading them is one view."""
    if len(rows) and np.array_equal(rows, np.arange(rows[0], rows[0] + len(rows))):
        return slice(int(rows[0]), int(rows[0]) + len(rows))
    return rows
