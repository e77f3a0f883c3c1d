"""One clip's array, made elsewhere -> its stream as a store holds it: (T, D) float16, finite, or missing.

(D,)                        one row, T = 1
(0, D) or (0,)              missing
rows of NaN only            refused; with `nan_is_missing` left out, and where none is left, missing
nothing but zeros           kept; with `zero_is_missing` missing
NaN, infinity, beyond 65504 refused

What an extractor gave -> what is stored: (T, D) float16 and (T,) float32 seconds, checked on the way.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from features.errors import InputError, MediaError
from features.extractors import Extractor, Stream
from features.store.layout import Float16Stream

LARGEST = float(np.finfo(np.float16).max)


@dataclass(frozen=True, kw_only=True)
class MissingRule:
    """What else than nothing stands for a missing stream."""

    nan_is_missing: bool = False
    zero_is_missing: bool = False


def as_stream(array: NDArray[Any] | None, rule: MissingRule, where: str) -> Float16Stream | None:
    """Check one clip's array and bring it into the store's form; None where the stream is missing.

    Args:
        array: (D,) or (T, D) numbers; None: there is no entry.
        rule: what stands for a missing stream.
        where: file and clip, for messages.

    Raises:
        InputError: the array is of another shape or type, or holds what float16 cannot.
    """
    if array is None:
        return None
    if array.dtype.kind not in "fiu":
        raise InputError(f"{where} is of type {array.dtype}, and a stream is made of plain numbers")
    if array.ndim not in (1, 2):
        raise InputError(f"{where} has shape {array.shape}, and a stream is (D,) or (T, D)")
    if len(array) == 0:
        return None
    rows = array if array.ndim == 2 else array[None]
    if rows.shape[1] == 0:
        raise InputError(
            f"{where} has shape {array.shape}, rows without numbers; leave the clip out if it is missing"
        )
    if rule.nan_is_missing:
        rows = rows[~np.isnan(rows).all(axis=1)]
        if len(rows) == 0:
            return None
    _check_finite(rows, rule, where)
    if rule.zero_is_missing and not rows.any():
        return None
    with np.errstate(over="ignore", under="ignore"):
        stored = rows.astype(np.float16)
    if not np.isfinite(stored).all():
        raise InputError(
            f"{where} goes up to {np.abs(rows).max():g}, and a store's float16 to {LARGEST:g}; divide the whole "
            "stream by a constant first (training standardises it in any case)"
        )
    if not stored.any() and rows.any():
        raise InputError(
            f"{where} goes up to {np.abs(rows).max():g} only, which is 0 in a store's float16; multiply the whole "
            "stream by a constant first (training standardises it in any case)"
        )
    return np.ascontiguousarray(stored)


def _check_finite(rows: NDArray[Any], rule: MissingRule, where: str) -> None:
    if np.isfinite(rows).all():
        return
    nan = np.isnan(rows)
    if not nan.any():
        raise InputError(f"{where} holds infinite values; mend it where it was made")
    if nan.all(axis=1).any() and not rule.nan_is_missing:
        raise InputError(f"{where} holds a row of NaN; if NaN stands for what is missing, say --nan-is-missing")
    raise InputError(f"{where} holds NaN among numbers; mend it where it was made")


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
