"""StoredArray: a table of floats that stays in its file and is read some rows, or some cells, at a time.

    float16, bfloat16, float32 -> float32          float64 -> float64          (each without loss)

The file is memory-mapped, so a table may be larger than memory, and what was read is let go of again.
"""

from __future__ import annotations

import mmap
import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import IO, Any, Final, final

import numpy as np
from numpy.typing import NDArray

from mee.errors import InputError

Floats = NDArray[Any]  # float32 or float64, in this machine's byte order
Rows = slice | NDArray[np.int64]
_LET_GO: Final = 1 << 26  # bytes of a mapping that are held
_AROUND: Final = 1 << 16  # bytes that a system maps in at once, where one is asked for


@final
class StoredArray:
    """A (rows, columns) table of floats."""

    def __init__(
        self,
        path: Path,
        name: str,
        array: NDArray[Any],
        mapping: mmap.mmap | None = None,
        *,
        bfloat16: bool = False,
    ) -> None:
        """Of an array that is there already.

        Args:
            path: the file it comes from, for messages.
            name: what it is called in the file, for messages.
            array: (rows, columns) floats.
            mapping: the memory map that the array lies in.
            bfloat16: the array's uint16 numbers are the bits of bfloat16, which numpy does not know.

        Raises:
            InputError: it is no table of floats, or is empty.
        """
        where = f"{path}: {name!r}" if name else str(path)
        if array.ndim != 2:
            raise InputError(
                f"{where} has shape {array.shape}; it must be a table of two axes, one row an id of its own"
            )
        if not array.size:
            raise InputError(f"{where} has shape {array.shape}, so there is nothing in it; write the file again")
        if not bfloat16 and array.dtype.newbyteorder("=") not in (np.float16, np.float32, np.float64):
            raise InputError(
                f"{where} holds {array.dtype.name} numbers; save it as float16, float32 or float64, as the system "
                "computed them"
            )
        self.where = where
        self.shape: tuple[int, int] = (array.shape[0], array.shape[1])
        self.dtype = np.dtype(np.float64 if array.dtype.itemsize == 8 else np.float32)
        self._array, self._mapping, self._bfloat16, self._touched = array, mapping, bfloat16, 0

    @classmethod
    def in_file(
        cls,
        path: Path,
        name: str,
        file: IO[bytes],
        offset: int,
        shape: tuple[int, ...],
        dtype: np.dtype[Any],
        *,
        fortran_order: bool = False,
        bfloat16: bool = False,
    ) -> StoredArray:
        """Numbers that lie in an open file from an offset on; the file may be closed afterwards.

        Raises:
            InputError: the file ends before they do, or see `__init__`.
        """
        size = file.seek(0, 2)
        count = 1
        for length in shape:
            count *= int(length)
        if offset + count * dtype.itemsize > size:
            raise InputError(f"{path} is cut short: it should hold {shape} numbers; copy or write it again")
        if not count:
            return cls(path, name, np.empty(shape, dtype), bfloat16=bfloat16)
        mapping = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        order: Any = "F" if fortran_order else "C"
        array: NDArray[Any] = np.ndarray(shape, dtype, buffer=mapping, offset=offset, order=order)
        return cls(path, name, array, mapping, bfloat16=bfloat16)

    def block(self, rows: Rows, columns: NDArray[np.int64] | None = None) -> Floats:
        """(rows, columns) copy of some rows, and of all columns or some."""
        values = self._array[rows]
        done = self._native(values if columns is None else values[:, columns])
        self._let_go(self._array.nbytes if self._array.flags.f_contiguous else values.nbytes)
        return done

    def cells(self, rows: NDArray[np.int64], columns: NDArray[np.int64]) -> Floats:
        """(N,) the cell of each row and column."""
        done = np.empty(len(rows), self.dtype)
        step = _LET_GO // _AROUND
        for start in range(0, len(rows), step):
            part = slice(start, start + step)
            done[part] = self._native(self._array[rows[part], columns[part]])
            self._let_go(len(done[part]) * _AROUND)
        return done

    def _native(self, values: NDArray[Any]) -> Floats:
        if not self._bfloat16:
            done: Floats = values.astype(self.dtype)  # a copy always: nobody outside may hold pages of the mapping
            return done
        bits = values.astype(np.uint32)
        bits <<= 16  # it is the upper half of a float32
        return bits.view(np.float32)

    def _let_go(self, touched: int) -> None:
        """Give the pages of the mapping back, after so many bytes of them: they lie in the file."""
        self._touched += touched
        if self._mapping is not None and self._touched > _LET_GO and hasattr(mmap, "MADV_DONTNEED"):
            self._mapping.madvise(mmap.MADV_DONTNEED)
            self._touched = 0


def room_for(size: int, path: Path) -> IO[bytes]:
    """A temporary file that has no name and ends with the program, for what cannot be mapped as it lies in `path`.

    Raises:
        InputError: the disk has no room for so many bytes.
    """
    folder = tempfile.gettempdir()
    free = shutil.disk_usage(folder).free
    if size > free:
        raise InputError(
            f"{path} takes {size / 1e9:.1f} GB unpacked, and {folder} has {free / 1e9:.1f} GB free; set TMPDIR to "
            "a folder with more room, or save the scores as .npy, which needs none"
        )
    return tempfile.TemporaryFile(dir=folder)


def unpacked(
    path: Path,
    name: str,
    shape: tuple[int, int],
    dtype: np.dtype[Any],
    parts: Iterable[NDArray[Any]],
    *,
    fortran_order: bool = False,
) -> StoredArray:
    """Write a table, part by part, into a temporary file.

    Args:
        path: the file that the numbers come from.
        name: what they are called there.
        shape: rows and columns.
        dtype: float32 or float64.
        parts: the numbers in the order in which they shall lie, as many as `shape` says in all.
        fortran_order: columns lie one after another, not rows.
    """
    with room_for(shape[0] * shape[1] * dtype.itemsize, path) as file:
        for part in parts:
            file.write(np.ascontiguousarray(part, dtype).data)
        file.flush()
        return StoredArray.in_file(path, name, file, 0, shape, dtype, fortran_order=fortran_order)
