"""An array that grows at its end, by doubling, while what was handed out before stays as it was."""

from __future__ import annotations

from typing import Generic, TypeVar, final

import numpy as np
from numpy.typing import NDArray

Value = TypeVar("Value", np.float32, np.int64, np.bool_)


@final
class GrowingArray(Generic[Value]):
    """(N, ...) rows of one shape."""

    def __init__(self, shape: tuple[int, ...], dtype: type[Value]) -> None:
        self._rows: NDArray[Value] = np.empty((0, *shape), dtype=dtype)
        self._count = 0

    def __len__(self) -> int:
        return self._count

    @property
    def rows(self) -> NDArray[Value]:
        """(N, ...) what there is now; later rows come behind it."""
        return self._rows[: self._count]

    def extend(self, rows: NDArray[Value]) -> None:
        """Put rows behind the others."""
        count = self._count + len(rows)
        if count > len(self._rows):
            grown = np.empty((max(count, 2 * len(self._rows)), *self._rows.shape[1:]), dtype=self._rows.dtype)
            grown[: self._count] = self.rows
            self._rows = grown
        self._rows[self._count : count] = rows
        self._count = count
