"""Which part of a file of arrays belongs to which clip.

    keyed      one array a clip, named after it                  (D,) or (T, D) each
    stacked    one array, place i is the i-th clip's             (N, D) or (N, T, D)
    ragged     `rows` and `offsets`, clip i owns rows[offsets[i]:offsets[i + 1]]      (R, D) and (N + 1,)
    a list     place i is the i-th clip's                        (D,) or (T, D) each

All but the first need ids: an array `ids` in the file itself, or a list beside it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from features.errors import InputError
from features.external.formats import ArrayFile, ArrayLike, errors_of
from features.external.ids import checked_ids

IDS = ("ids", "clip_ids", "video_ids", "id", "clip_id", "video_id", "names")  # what an array of ids may be called
RAGGED = {"rows", "offsets"}


@final
@dataclass(frozen=True)
class ClipArrays:
    """One stream of many clips, as a file has it."""

    path: Path
    places: Mapping[str, Any]  # clip id -> where its array is, in the order of the file
    get: Callable[[Any], NDArray[Any] | None]  # from such a place; None where there is nothing
    layout: str  # for people: "stacked (810, 12, 1280) float16"

    def read(self, clip_id: str) -> NDArray[Any] | None:
        """The array of one clip, None where the file has none.

        Raises:
            InputError: the file is damaged there.
        """
        if clip_id not in self.places:
            return None
        with errors_of(self.path, clip_id):
            return self.get(self.places[clip_id])

    def renamed(self, name_of: Callable[[str], str]) -> ClipArrays:
        """The same under other ids.

        Raises:
            InputError: two ids become one.
        """
        places: dict[str, Any] = {}
        for clip_id, place in self.places.items():
            name = name_of(clip_id)
            if name in places:
                raise InputError(f"{self.path} has two streams of the clip '{name}' of the store; keep one")
            places[name] = place
        return replace(self, places=places)


def arrange(file: ArrayFile, listed: Sequence[str] | None) -> ClipArrays:
    """Find out how a file is laid out.

    Args:
        file: of one stream.
        listed: ids given beside the file, in the order of what is stacked in it.

    Raises:
        InputError: ids are needed and not there, or do not fit.
    """
    if file.names_are == "places":
        ids = _fitting(file.path, len(file.names), listed, "a list of", "--ids")
        return ClipArrays(
            file.path, dict(zip(ids, file.names)), lambda name: _whole(file.read(name)), f"list of {len(ids)}"
        )
    names = set(file.names)
    lone = len(names) == 1 or file.names_are == "clips"
    inner = None if lone else next((name for name in IDS if name in names), None)
    rest = names - {inner}
    if rest >= RAGGED and not lone:
        _only(file, rest, RAGGED, inner)
        return _ragged(file, listed, inner)
    if inner is not None:
        _only(file, rest, {min(rest)}, inner)
        return _stacked(file, min(rest), listed, inner)
    if len(rest) == 1 and file.names_are == "unknown" and not (listed and min(rest) in listed):
        return _stacked(file, min(rest), listed, None)
    ids = checked_ids(file.names, f"{file.path}")
    with errors_of(file.path, file.names[0]):
        first = file.read(file.names[0])
    kind = "" if first is None else f", the first {tuple(first.shape)} {first.dtype}"
    return ClipArrays(file.path, dict(zip(ids, file.names)), lambda name: _whole(file.read(name)), f"keyed{kind}")


def _whole(array: ArrayLike | None) -> NDArray[Any] | None:
    return None if array is None else np.asarray(array[...])


def _only(file: ArrayFile, rest: set[str], expected: set[str], inner: str | None) -> None:
    if surplus := sorted(rest - expected):
        beside = ", ".join(sorted(expected | ({inner} if inner else set())))
        raise InputError(
            f"{file.path} holds more than {beside}: {', '.join(surplus[:5])}; keep one stream in a file"
        )


def _stacked(file: ArrayFile, name: str, listed: Sequence[str] | None, inner: str | None) -> ClipArrays:
    array = file.array(name)
    if len(array.shape) not in (2, 3):
        raise InputError(
            f"{file.path} has an array of shape {tuple(array.shape)}; clips are stacked as (N, D) or (N, T, D)"
        )
    ids = _ids(file, array.shape[0], listed, inner)
    layout = f"stacked {tuple(array.shape)} {array.dtype}"
    return ClipArrays(file.path, {clip: n for n, clip in enumerate(ids)}, lambda n: np.asarray(array[n]), layout)


def _ragged(file: ArrayFile, listed: Sequence[str] | None, inner: str | None) -> ClipArrays:
    rows, ends = file.array("rows"), np.asarray(file.array("offsets")[...])
    if len(rows.shape) != 2 or ends.ndim != 1 or ends.dtype.kind not in "iu" or len(ends) == 0:
        raise InputError(
            f"{file.path}: rows {tuple(rows.shape)} and offsets {ends.shape} {ends.dtype} should be (R, D) and "
            "(N + 1,) whole numbers"
        )
    offsets = [int(end) for end in ends]
    if offsets[0] != 0 or offsets[-1] != rows.shape[0] or any(stop < start for start, stop in pairwise(offsets)):
        raise InputError(
            f"{file.path}: offsets should rise from 0 to the {rows.shape[0]} rows, and go from {offsets[0]} to "
            f"{offsets[-1]}{'' if offsets == sorted(offsets) else ', not always rising'}"
        )
    ids = _ids(file, len(offsets) - 1, listed, inner)
    spans = dict(zip(ids, pairwise(offsets)))
    layout = f"ragged {tuple(rows.shape)} {rows.dtype}"
    return ClipArrays(file.path, spans, lambda span: np.asarray(rows[slice(*span)]), layout)


def _ids(file: ArrayFile, count: int, listed: Sequence[str] | None, inner: str | None) -> list[str]:
    if inner is None:
        return _fitting(file.path, count, listed, "one array for", "--ids")
    values = np.asarray(file.array(inner)[...])
    if values.ndim != 1 or values.dtype.kind not in "SUOiu":
        raise InputError(f"{file.path}: '{inner}' is {values.shape} {values.dtype}, no list of clip ids")
    return _fitting(file.path, count, checked_ids(values.tolist(), f"{file.path}: '{inner}'"), "", f"'{inner}'")


def _fitting(path: Path, count: int, ids: Sequence[str] | None, what: str, where: str) -> list[str]:
    if ids is None:
        raise InputError(
            f"{path} holds {what} {count} clips and no ids; give a list of them in the same order, with --ids"
        )
    if len(ids) != count:
        raise InputError(f"{path} holds {count} clips, and {where} {len(ids)} ids; they must be as many")
    return list(ids)
