"""Files mapped into memory.

Maps are copy on write, and hold no file handle: an index has two or three files for each pattern of each segment,
and a process may have 1,024 handles. They stay readable when their file is replaced.
"""

from __future__ import annotations

import ctypes
import math
import mmap
import os
import re
from functools import cache
from pathlib import Path
from typing import Any, Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from mee.files import open_file

FAILED: Final = ctypes.c_void_p(-1).value  # what mmap returns then
HEADER: Final = re.compile(  # as numpy writes it; what others write may be anything
    rb"\x93NUMPY\x01\x00..\{'descr': '([<>|=]?\w{1,9})', 'fortran_order': (False|True), "
    rb"'shape': \(([\d, ]{0,99})\), \} *\n",
    re.DOTALL,
)
Value = TypeVar("Value", np.float32, np.int64, np.uint8)


class _Map:
    """The bytes of a file in memory, copy on write; unlike maps of numpy and mmap it holds no file handle."""

    def __init__(self, path: Path) -> None:
        with open_file(path) as file:
            self._size = os.fstat(file.fileno()).st_size
            if not self._size:
                raise ValueError("it is empty")
            for access in (mmap.PROT_READ | mmap.PROT_WRITE, mmap.PROT_READ):  # the second needs no memory
                place = _system().mmap(None, self._size, access, mmap.MAP_PRIVATE, file.fileno(), 0)
                if place != FAILED:
                    break
            else:
                raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), str(path))
        self._place = place
        read_only = not access & mmap.PROT_WRITE
        shape = {"shape": (self._size,), "typestr": "|u1", "version": 3}
        self.__array_interface__ = {"data": (place, read_only), **shape}

    def __del__(self) -> None:
        if hasattr(self, "_place"):
            _system().munmap(self._place, self._size)


@cache
def _system() -> Any:
    """The C library's mmap and munmap, of POSIX."""
    library = ctypes.CDLL(None, use_errno=True)
    size, word = ctypes.c_size_t, ctypes.c_int
    library.mmap.argtypes = (ctypes.c_void_p, size, word, word, word, ctypes.c_long)
    library.mmap.restype, library.munmap.argtypes = ctypes.c_void_p, (ctypes.c_void_p, size)
    return library


def mapped_bytes(path: Path) -> NDArray[np.uint8]:
    """(N,) all bytes of a file, which may be replaced or deleted afterwards."""
    return np.asarray(_Map(path))


def mapped_array(path: Path, shape: tuple[int, ...], dtype: type[Value]) -> NDArray[Value]:
    """The array of an .npy file."""
    return array_of(mapped_bytes(path), shape, dtype)


def array_of(content: NDArray[np.uint8], shape: tuple[int, ...], dtype: type[Value]) -> NDArray[Value]:
    """The array of the bytes of an .npy file; of a first axis of -1 any length is taken."""
    head = HEADER.match(content[:1024].tobytes())
    if head is None or head.end() % 16:
        raise ValueError("it does not begin with the magic string and the header of a plain .npy file")
    found = tuple(map(int, re.findall(rb"\d{1,18}", head[3])))
    wanted = (found[0] if found else 0, *shape[1:]) if shape[0] < 0 else shape
    try:
        kind, order = np.dtype(head[1].decode()), " by column" * (head[2] == b"True")
    except TypeError as error:
        raise ValueError(f"it holds numbers of an unknown kind, {head[1].decode()}") from error
    if found != wanted or kind != dtype or order:
        raise ValueError(f"it holds {found} {kind}{order} and not {wanted} {np.dtype(dtype)}")
    content = content[head.end() :]
    if len(content) != np.dtype(dtype).itemsize * math.prod(wanted):
        raise ValueError(f"it has {len(content):,} bytes of {wanted} {np.dtype(dtype)}")
    return content.view(dtype).reshape(wanted)
