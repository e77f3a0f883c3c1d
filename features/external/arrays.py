"""Which part of a file of arrays belongs to which clip.

    keyed      one array a clip, named after it           (D,) or (T, D) each
    stacked    one array, place i is the i-th clip's      (N, D) or (N, T, D)
    ragged     `rows` and `offsets`, as mee store export writes them: clip i owns rows[offsets[i]:offsets[i + 1]]

All but the first need ids: an array `ids` in the file, or a list in the same order.
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
from features.external.formats import ArrayFile, errors_of
from features.external.ids import checked_ids

IDS, RAGGED = "ids", {"rows", "offsets"}


@final
@dataclass(frozen=True)
class ClipArrays:
    """One stream of many clips, as a file has it."""

    path: Path
    places: Mapping[str, Any]  # clip id -> where its array is, in the order of the file
    get: Callable[[Any], Any]  # from such a place; None where there is nothing
    layout: str  # for people: "stacked (810, 12, 1280) float16"

    def read(self, clip_id: str) -> NDArray[Any] | None:
        """The array of one clip, None where the file has none."""
        if clip_id not in self.places:
            return None
        with errors_of(self.path, clip_id):
            array = self.get(self.places[clip_id])
            return None if array is None else np.asarray(array[...])

    def renamed(self, name_of: Callable[[str], str]) -> ClipArrays:
        """The same under other ids."""
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
    """
    names = list(file.names)
    if not file.of_clips:
        ids, where = listed, "--ids"
        if len(names) > 1 and IDS in names:
            names.remove(IDS)
            ids, where = _ids_in(file), f"'{IDS}'"
        if set(names) == RAGGED:
            return _ragged(file, ids, where)
        if len(names) == 1 and (where != "--ids" or names[0] not in (listed or ())):
            return _stacked(file, names[0], ids, where)
        if where != "--ids":
            raise InputError(f"{file.path} holds more than {IDS} and one array: {', '.join(names[:5])}")
    ids = checked_ids(names, str(file.path))
    first = file.read(names[0])
    kind = "" if first is None else f", the first {tuple(first.shape)} {first.dtype}"
    return ClipArrays(file.path, dict(zip(ids, names)), file.get, f"keyed{kind}")


def _stacked(file: ArrayFile, name: str, ids: Sequence[str] | None, where: str) -> ClipArrays:
    array = file.read(name)
    shape = () if array is None else tuple(array.shape)
    if len(shape) not in (2, 3):
        raise InputError(f"{file.path} has an array of shape {shape}; clips are stacked as (N, D) or (N, T, D)")
    places = _placed(file.path, range(shape[0]), ids, where)
    return ClipArrays(file.path, places, lambda n: array[n], f"stacked {shape} {array.dtype}")


def _ragged(file: ArrayFile, ids: Sequence[str] | None, where: str) -> ClipArrays:
    rows, ends = file.whole("rows"), file.whole("offsets")
    whole = ends.ndim == 1 and ends.dtype.kind in "iu" and len(ends) > 0
    if not whole or rows.ndim != 2 or ends[0] != 0 or ends[-1] != len(rows) or (ends[1:] < ends[:-1]).any():
        raise InputError(f"{file.path}: offsets should be whole numbers that rise from 0 to the number of rows")
    places = _placed(file.path, [slice(*span) for span in pairwise(ends.tolist())], ids, where)
    return ClipArrays(file.path, places, lambda span: rows[span], f"ragged {tuple(rows.shape)} {rows.dtype}")


def _placed(path: Path, places: Sequence[Any], ids: Sequence[str] | None, where: str) -> dict[str, Any]:
    """Places by clip id."""
    if ids is None:
        raise InputError(f"{path} holds {len(places)} clips and no ids; list them in the same order, with --ids")
    if len(ids) != len(places):
        raise InputError(f"{path} holds {len(places)} clips, and {where} {len(ids)} ids; they must be as many")
    return dict(zip(ids, places))


def _ids_in(file: ArrayFile) -> list[str]:
    values = file.whole(IDS)
    if values.ndim != 1 or values.dtype.kind not in "SUOiu":
        raise InputError(f"{file.path}: '{IDS}' is {values.shape} {values.dtype}, no list of clip ids")
    return checked_ids(values.tolist(), f"{file.path}: '{IDS}'")
