"""Opening files of arrays, by their ending.

.npy            one array, through a memory map
.npz            arrays by name
.safetensors    tensors by name, bfloat16 too
.h5 .hdf5       data sets by name, or in a group a clip
.pkl .pickle    a dict of arrays by name, a list of arrays, or one array
a folder        one .npy or .npz a clip, named after it

ArrayFile: arrays by name, each read when it is asked for, whatever the format of the file.
"""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol, final

import numpy as np

from features.errors import InputError


class ArrayLike(Protocol):
    """What an ndarray, a memory map and an HDF5 data set have in common."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Lengths of the axes."""
        ...

    @property
    def dtype(self) -> Any:
        """Type of the elements."""
        ...

    def __getitem__(self, key: Any, /) -> Any:
        """Some of it; with `...`, all of it as an ndarray."""
        ...


@final
@dataclass(frozen=True)
class ArrayFile:
    """The arrays of one file, or of one folder."""

    path: Path
    names: tuple[str, ...]  # of the arrays; one empty name where the file holds a single array without a name
    read: Callable[[str], ArrayLike | None]  # by name; None where the file says that there is nothing
    names_are: Literal["clips", "places", "unknown"] = "unknown"  # ids of clips, or only places in a list

    def array(self, name: str) -> ArrayLike:
        """The array of this name.

        Raises:
            InputError: it cannot be read, or there is nothing.
        """
        with errors_of(self.path, name):
            array = self.read(name)
        if array is None:
            raise InputError(f"{self.path}: {name!r} holds nothing")
        return array


@contextmanager
def errors_of(path: Path, name: str = "") -> Iterator[None]:
    """Turn what the readers of numpy, zip, HDF5 and safetensors raise into one sentence."""
    from safetensors import SafetensorError

    failures = (ValueError, TypeError, OSError, EOFError, KeyError, RuntimeError, MemoryError, SyntaxError)
    try:
        yield
    except InputError:
        raise
    except (*failures, zipfile.BadZipFile, zlib.error, SafetensorError) as error:
        where = f"{path}: {name!r}" if name else str(path)
        if "allow_pickle" in str(error) or "Python objects" in str(error):
            raise InputError(
                f"{where} holds Python objects, or is no numpy file; save plain arrays of numbers, or the same as "
                "a .pickle, which is read with care"
            ) from error
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"{where} cannot be read, it may be damaged or of another format ({reason})") from error


def open_arrays(path: Path) -> ArrayFile:
    """Open a file or a folder of arrays.

    Raises:
        InputError: it is not there, is empty, is of an unknown format, or is damaged.
    """
    if path.is_dir():
        return _open_folder(path)
    if not path.is_file():
        raise InputError(f"there is nothing at '{path}'; name a file of arrays, or a folder of one .npy a clip")
    opener = FORMATS.get(path.suffix.lower())
    if opener is None:
        raise InputError(
            f"{path}: arrays are read from {', '.join(FORMATS)}, or a folder of .npy and .npz, not '{path.suffix}'"
        )
    if path.stat().st_size == 0:
        raise InputError(f"{path} is empty; there is no array in it")
    with errors_of(path):
        opened = opener(path)
    if not opened.names:
        raise InputError(f"{path} holds no arrays")
    return opened


def _open_npy(path: Path) -> ArrayFile:
    array = np.load(path, mmap_mode="r", allow_pickle=False)
    if not isinstance(array, np.ndarray):
        raise InputError(f"{path} is no .npy but a .npz, by its content; rename it")
    return ArrayFile(path, ("",), lambda _: array)


def _open_npz(path: Path) -> ArrayFile:
    arrays = np.load(path, allow_pickle=False)
    if isinstance(arrays, np.ndarray):
        raise InputError(f"{path} is no .npz but a .npy, by its content; rename it")
    return ArrayFile(path, tuple(arrays.files), lambda name: arrays[name])


def _open_safetensors(path: Path) -> ArrayFile:
    from safetensors import safe_open

    tensors: Any = safe_open(path, framework="numpy")
    return ArrayFile(path, tuple(tensors.keys()), lambda name: _Tensor(path, tensors, name))


@final
class _Tensor:
    """A tensor of a safetensors file; of types that numpy does not know, by way of torch."""

    def __init__(self, path: Path, tensors: Any, name: str) -> None:
        self._name, self._file = name, tensors
        part = tensors.get_slice(name)
        self.dtype, self.shape = part.get_dtype(), tuple(part.get_shape())
        self._through_torch = self.dtype == "BF16" or self.dtype.startswith("F8")
        if self._through_torch:
            from safetensors import safe_open

            self._file = safe_open(path, framework="pt")

    def __getitem__(self, key: Any, /) -> Any:
        part = self._file.get_tensor(self._name) if key is ... else self._file.get_slice(self._name)[key]
        return part.float().numpy() if self._through_torch else np.asarray(part)


def _open_hdf5(path: Path) -> ArrayFile:
    from features.external.hdf5_arrays import open_hdf5

    return open_hdf5(path)


def _open_pickle(path: Path) -> ArrayFile:
    from features.external.pickled_arrays import open_pickle

    return open_pickle(path)


FORMATS: dict[str, Callable[[Path], ArrayFile]] = {
    ".npy": _open_npy,
    ".npz": _open_npz,
    ".safetensors": _open_safetensors,
    ".h5": _open_hdf5,
    ".hdf5": _open_hdf5,
    ".pkl": _open_pickle,
    ".pickle": _open_pickle,
}


def clip_files(folder: Path) -> dict[str, Path]:
    """Clip id -> its file, for a folder of one file a clip; folders below become part of the id.

    Raises:
        InputError: no file in it is a .npy or .npz, or two are of one clip.
    """
    files: dict[str, Path] = {}
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() in (".npy", ".npz") and not path.name.startswith(".") and path.is_file():
            clip_id = path.relative_to(folder).with_suffix("").as_posix()
            if clip_id in files:
                raise InputError(f"{folder} has two files of clip '{clip_id}': {files[clip_id].name}, {path.name}")
            files[clip_id] = path
    if not files:
        raise InputError(f"the folder {folder} holds no .npy or .npz; it should have one a clip, named after it")
    return files


def _open_folder(folder: Path) -> ArrayFile:
    files = clip_files(folder)

    def read(clip_id: str) -> ArrayLike:
        path = files[clip_id]
        if path.stat().st_size == 0:
            raise InputError(f"{path} is empty; there is no array in it")
        with errors_of(path):
            content = np.load(path, allow_pickle=False)
            if isinstance(content, np.ndarray):
                return content
            with content:
                if len(content.files) != 1:
                    raise InputError(
                        f"{path} holds {len(content.files)} arrays; in a folder, one file is one array"
                    )
                array: ArrayLike = content[content.files[0]]
                return array

    return ArrayFile(folder, tuple(files), read, names_are="clips")
