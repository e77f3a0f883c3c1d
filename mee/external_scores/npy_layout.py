"""Where the numbers of a .npy lie, in a file of its own or in a zip.

    .npy    \\x93NUMPY, version, length of the header, {'descr': ..., 'fortran_order': ..., 'shape': ...}, numbers
    .npz    a zip of .npy; np.savez stores them as they are, np.savez_compressed deflates them

The header is parsed by numpy as a literal of bounded length; object arrays, which would be pickles, are refused.
"""

from __future__ import annotations

import tokenize
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final

import numpy as np
from numpy.typing import NDArray

from mee.errors import InputError
from mee.external_scores.stored_array import StoredArray, room_for

_LOCAL_HEADER: Final = 30  # bytes before the name and the extra field of a member, whose lengths are the last four
_HEADERS: Final = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
_STEP: Final = 1 << 22
_MOST_IDS: Final = 1 << 31  # bytes: ids are held in memory


@dataclass(frozen=True)
class NpyLayout:
    """What a header says."""

    shape: tuple[int, ...]
    fortran_order: bool
    dtype: np.dtype[Any]
    offset: int  # of the numbers, from the start of the .npy

    @property
    def size(self) -> int:
        """Bytes of the whole .npy."""
        count = 1
        for length in self.shape:
            count *= length
        return self.offset + count * self.dtype.itemsize


def read_layout(file: IO[bytes], where: str) -> NpyLayout:
    """Read the header at the start of a file, and leave the file at the first number.

    Raises:
        InputError: the array is of Python objects.
        ValueError: it is no .npy.
    """
    version = np.lib.format.read_magic(file)
    read = _HEADERS.get(version)
    if read is None:
        raise ValueError(f"version {version[0]} of the .npy format, which plain numbers do not need")
    try:
        shape, fortran_order, dtype = read(file)
    except tokenize.TokenError as error:  # what numpy's parser lets through
        raise ValueError(f"its header is damaged: {error.args[0]}") from error
    if dtype.hasobject:
        raise InputError(
            f"{where} holds Python objects, which are pickles and are never read; save plain arrays: ids as "
            "np.array(ids, dtype=str), numbers as floats"
        )
    if any(length < 0 for length in shape):
        raise ValueError(f"its shape is {shape}")
    return NpyLayout(shape, fortran_order, dtype, file.tell())


def open_npy(path: Path) -> StoredArray:
    """The table of a .npy.

    Raises:
        InputError, ValueError: see `read_layout`.
    """
    with path.open("rb") as file:
        if file.read(2) == b"PK":
            raise InputError(f"{path} is a .npz by its content; rename it")
        file.seek(0)
        layout = read_layout(file, str(path))
        return StoredArray.in_file(
            path, "", file, layout.offset, layout.shape, layout.dtype, fortran_order=layout.fortran_order
        )


def member_table(path: Path, archive: zipfile.ZipFile, name: str) -> StoredArray:
    """A table of a .npz: mapped where it lies if it is stored, or else unpacked into a temporary file.

    Raises:
        InputError, ValueError: see `read_layout`.
        zipfile.BadZipFile, …: it is damaged. Its checksum is looked at.
    """
    info = _member(path, archive, name)
    with archive.open(info) as member:
        layout = _checked_layout(path, name, member, info)
        form = (layout.shape, layout.dtype)
        if info.compress_type != zipfile.ZIP_STORED:
            with room_for(info.file_size, path) as file:
                for part in _parts(member):
                    file.write(part)
                file.flush()
                return StoredArray.in_file(path, name, file, 0, *form, fortran_order=layout.fortran_order)
        for _ in _parts(member):
            pass  # zipfile compares the checksum at the end
    with path.open("rb") as file:
        file.seek(info.header_offset)
        header = file.read(_LOCAL_HEADER)
        lengths = int.from_bytes(header[26:28], "little") + int.from_bytes(header[28:30], "little")
        offset = info.header_offset + _LOCAL_HEADER + lengths + layout.offset
        return StoredArray.in_file(path, name, file, offset, *form, fortran_order=layout.fortran_order)


def member_ids(path: Path, archive: zipfile.ZipFile, name: str) -> NDArray[Any]:
    """A vector of ids of a .npz.

    Raises:
        InputError: it holds Python objects, is no vector, or is larger than ids can be.
    """
    info = _member(path, archive, name)
    with archive.open(info) as member:
        layout = _checked_layout(path, name, member, info)
        if len(layout.shape) != 1 or info.file_size > _MOST_IDS:
            raise InputError(f"{path}: {name!r} has shape {layout.shape}; ids are one vector, one id a row")
        return np.frombuffer(member.read(), layout.dtype)


def _member(path: Path, archive: zipfile.ZipFile, name: str) -> zipfile.ZipInfo:
    info = archive.getinfo(f"{name}.npy")
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise InputError(f"{path}: {name!r} is packed in a way that numpy never packs; write it with np.savez")
    return info


def _checked_layout(path: Path, name: str, member: IO[bytes], info: zipfile.ZipInfo) -> NpyLayout:
    layout = read_layout(member, f"{path}: {name!r}")
    if layout.size != info.file_size:
        raise ValueError(f"{name!r} says it has shape {layout.shape}, and has {info.file_size} bytes")
    return layout


def _parts(member: IO[bytes]) -> Iterator[bytes]:
    while part := member.read(_STEP):
        yield part
