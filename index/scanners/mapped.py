"""Files mapped into memory, copy on write: nothing is read until it is looked at, and what is written stays here.

No handle is held: an index has two or three files for each pattern of each segment, and a process may have 1,024.
"""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

Value = TypeVar("Value", np.float32, np.int64)


def mapped_bytes(path: Path) -> NDArray[np.uint8]:
    """(N,) all bytes of a file, which may be replaced or taken away afterwards."""
    import torch  # numpy's maps hold a handle each

    size = path.stat().st_size
    if not size:
        raise ValueError("it is empty")
    try:
        content: NDArray[np.uint8] = torch.from_file(str(path), shared=False, size=size, dtype=torch.uint8).numpy()
    except RuntimeError:  # a writable map is more than the system promises to keep; nobody is going to write
        content = np.memmap(path, np.uint8, "r").view(np.ndarray)
    return content


def mapped_array(path: Path, shape: tuple[int, ...], dtype: type[Value]) -> NDArray[Value]:
    """The array of an .npy file."""
    with path.open("rb") as file:
        version = np.lib.format.read_magic(file)
        if version != (1, 0):
            raise ValueError(f"it is of version {version} of .npy")
        found, fortran, kind = np.lib.format.read_array_header_1_0(file)
        start = file.tell()
    if (found, kind) != (shape, np.dtype(dtype)) or (fortran and len(shape) > 1):
        raise ValueError(f"it holds {found} {kind} and not {shape} {np.dtype(dtype)}")
    content = mapped_bytes(path)[start:]
    if len(content) != np.dtype(dtype).itemsize * int(np.prod(shape)):
        raise ValueError(f"it has {len(content):,} bytes of {shape} {np.dtype(dtype)}")
    return content.view(dtype).reshape(shape)
