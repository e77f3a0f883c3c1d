"""A score matrix of another system.

    block and pairs are the file's numbers: float16, bfloat16 and float32 as float32, float64 as float64

None of these rounds, so that scores tie where the system's own numbers do and nowhere else, and the margin is 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mee.errors import InputError
from mee.external_scores.named_scores import NamedScores, run_or_rows
from mee.external_scores.stored_array import Floats, StoredArray


@final
class MatrixScores(NamedScores):
    """Scores that were computed elsewhere; read from their file block by block."""

    def __init__(
        self,
        matrix: StoredArray,
        query_ids: Sequence[str],
        clip_ids: Sequence[str],
        *,
        device: torch.device | None = None,
        rows: NDArray[np.int64] | None = None,
        columns: NDArray[np.int64] | None = None,
    ) -> None:
        """Of a matrix.

        Args:
            matrix: queries x clips of the file.
            query_ids: Q ids.
            clip_ids: G ids.
            device: where blocks are wanted; None: the CPU.
            rows: (Q,) the row of each query in the matrix; None: as they come.
            columns: (G,) the column of each clip; None: as they come.
        """
        super().__init__(query_ids, clip_ids, device)
        self.margin = 0.0
        self.rule = f"score matrix, compared as {matrix.dtype.name}"
        self._matrix = matrix
        self._rows = np.arange(self.queries) if rows is None else rows
        as_they_come = columns is None or np.array_equal(columns, np.arange(matrix.shape[1]))
        self._columns = None if as_they_come else columns

    def take(self, queries: NDArray[np.int64], clips: NDArray[np.int64]) -> Self:
        columns = clips if self._columns is None else self._columns[clips]
        return type(self)(
            self._matrix,
            [self.query_ids[query] for query in queries],
            [self.clip_ids[clip] for clip in clips],
            device=self.device,
            rows=self._rows[queries],
            columns=columns,
        )

    def block(self, rows: slice) -> Tensor:
        """(q, G) float32, or float64 where the file's numbers are.

        Raises:
            InputError: a score is NaN or infinite.
        """
        asked = np.arange(self.queries)[rows]
        values = self._matrix.block(run_or_rows(self._rows[asked]), self._columns)
        finite = np.isfinite(values)
        if not finite.all():
            query, clip = np.unravel_index(int(finite.argmin()), values.shape)
            raise self._not_finite(int(asked[query]), int(clip), values[query, clip])
        return self._tensor(values)

    def pairs(self, queries: Tensor, candidates: Tensor) -> Tensor:
        """(N,) of the type of `block`.

        Raises:
            InputError: a score is NaN or infinite.
        """
        rows, columns = queries.cpu().numpy(), candidates.cpu().numpy()
        values = self._matrix.cells(self._rows[rows], columns if self._columns is None else self._columns[columns])
        finite = np.isfinite(values)
        if not finite.all():
            first = int(finite.argmin())
            raise self._not_finite(int(rows[first]), int(columns[first]), values[first])
        return self._tensor(values)

    def _tensor(self, values: Floats) -> Tensor:
        return torch.from_numpy(values).to(self.device)

    def _not_finite(self, query: int, clip: int, value: float) -> InputError:
        return InputError(
            f"{self._matrix.where}: the score of query {self.query_ids[query]!r} and clip {self.clip_ids[clip]!r} "
            f"is {value}; a score must be a finite number"
        )
