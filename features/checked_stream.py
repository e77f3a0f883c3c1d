"""What an extractor gave -> what is stored: (T, D) float16 and (T,) float32 seconds, checked on the way."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from features.errors import MediaError
from features.extractor import Extractor, Stream
from features.record import Float16Stream


class CheckedStream(NamedTuple):
    """One stream of one clip as the store takes it."""

    rows: Float16Stream  # (T, D)
    times: NDArray[np.float32]  # (T,) seconds


def checked(stream: str, extractor: Extractor, made: Stream | None, clip_id: str) -> CheckedStream | None:
    """The stream as it is stored; None where the clip does not have it.

    Raises:
        MediaError: the extractor broke its promise: T at least 1, D its `dim`, finite numbers, a time a row.
    """
    if made is None:
        return None
    with np.errstate(over="ignore"):
        rows = np.asarray(made.rows).astype(np.float16)
    times = np.asarray(made.times, np.float32)
    if rows.ndim != 2 or rows.shape[1] != extractor.dim or len(rows) == 0 or not np.isfinite(rows).all():
        raise MediaError(f"its {stream} extractor gave no (T, {extractor.dim}) finite numbers at {clip_id}")
    if times.shape != rows.shape[:1] or not np.isfinite(times).all():
        raise MediaError(f"its {stream} extractor gave no time for each row at {clip_id}")
    return CheckedStream(rows, times)
