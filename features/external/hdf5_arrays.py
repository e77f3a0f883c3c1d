"""Arrays of an HDF5 file, and which part of a data set's path is the clip's id.

/video7            the name
/streams/video7    the name below the group that holds them all
/video7/streams    the group, where all data sets bear one name
/a/video7          otherwise the whole path
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from features.errors import InputError
from features.external.formats import ArrayFile, ArrayLike

CACHE = 64 << 20  # bytes of chunks kept unpacked, so that clips of one chunk do not unpack it again and again


def open_hdf5(path: Path) -> ArrayFile:
    """Open a file; its data sets are read when asked for.

    Raises:
        InputError: the groups hold several data sets a clip.
        OSError: it is no HDF5 file.
    """
    file = h5py.File(path, "r", rdcc_nbytes=CACHE)
    places: list[str] = []
    file.visititems(lambda place, item: places.append(place) if isinstance(item, h5py.Dataset) else None)
    by_name = dict(zip(_clip_names(path, places), places))

    def read(name: str) -> ArrayLike:
        data: Any = file[by_name[name]]
        if data.shape is None:
            raise InputError(f"{path}: {name!r} is a data set without content")
        if h5py.check_string_dtype(data.dtype) is not None:
            text: ArrayLike = np.array(data.asstr()[...])
            return text
        array: ArrayLike = data
        return array

    return ArrayFile(path, tuple(by_name), read)


def _clip_names(path: Path, places: list[str]) -> list[str]:
    split = [place.rpartition("/") for place in places]
    groups = Counter(group for group, _, _ in split)
    last = {name for _, _, name in split}
    if len(groups) == 1:  # all at the top, or all in one group
        return [name for _, _, name in split]
    if len(last) == 1:
        return [group for group, _, _ in split]
    if "" not in groups and set(groups.values()) == {len(last)}:
        raise InputError(
            f"{path} holds {len(last)} data sets in each group ({', '.join(sorted(last)[:5])}), and a clip has "
            "one array in a stream; keep the one that is meant"
        )
    return places
