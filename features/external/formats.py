"""Opening files of arrays, by their ending.

    .npy            one array, through a memory map
    .npz            arrays by name
    .safetensors    tensors by name, bfloat16 too
    .h5 .hdf5       data sets by name, or in a group a clip
    .pkl .pickle    a dict of arrays by name, or one array
    a folder        one .npy or .npz a clip, named after it

A data set of HDF5 is called after the part of its path that differs: /video7 and /streams/video7 are `video7`,
and so is /video7/streams where all data sets are called `streams`; otherwise it is the whole path. Links to other
files are not followed.
"""

from __future__ import annotations

import hashlib
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from features.errors import InputError

CACHE = 64 << 20  # bytes of HDF5 chunks kept unpacked, so that clips of one chunk do not unpack it again and again


@final
@dataclass(frozen=True)
class ArrayFile:
    """The arrays of one file, or of one folder."""

    path: Path
    names: tuple[str, ...]  # of the arrays; one empty name where the file holds a single array without a name
    get: Callable[[str], Any]  # by name: what has shape, dtype and [...]; None where the file says: nothing
    of_clips: bool = False  # the names are ids of clips for certain

    def read(self, name: str) -> Any:
        """The array of this name: an ndarray, or what reads parts of it, by [n]; None: there is nothing."""
        with errors_of(self.path, name):
            return self.get(name)

    def whole(self, name: str) -> NDArray[Any]:
        """All of the array of this name."""
        with errors_of(self.path, name):
            array = self.get(name)
            if array is None:
                raise InputError(f"{self.path}: {name!r} holds nothing")
            return np.asarray(array[...])


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
    """Open a file or a folder of arrays."""
    if path.is_dir():
        files = clip_files(path)
        return ArrayFile(path, tuple(files), lambda name: _one_array(files[name]), of_clips=True)
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


def _open_numpy(path: Path) -> ArrayFile:
    """Of .npy and .npz, by their content."""
    arrays = np.load(path, mmap_mode="r", allow_pickle=False)
    if isinstance(arrays, np.ndarray):
        return ArrayFile(path, ("",), lambda _: arrays)
    return ArrayFile(path, tuple(arrays.files), lambda name: arrays[name])


def _open_safetensors(path: Path) -> ArrayFile:
    from safetensors import safe_open

    tensors: Any = safe_open(path, framework="numpy")
    names = tuple(tensors.keys())
    if any(_is_of_torch(tensors.get_slice(name).get_dtype()) for name in names):
        tensors = safe_open(path, framework="pt")
    return ArrayFile(path, names, lambda name: _Tensor(tensors.get_slice(name)))


@final
class _Tensor:
    """A tensor of a safetensors file; of types that numpy does not know, as float32."""

    def __init__(self, part: Any) -> None:
        self._part, self.dtype, self.shape = part, part.get_dtype(), tuple(part.get_shape())

    def __getitem__(self, key: Any, /) -> Any:
        part = self._part[key]
        return np.asarray(part.float() if _is_of_torch(self.dtype) else part)


def _is_of_torch(dtype: str) -> bool:
    return dtype.startswith(("BF", "F8"))


def _open_hdf5(path: Path) -> ArrayFile:
    import h5py

    file = h5py.File(path, "r", rdcc_nbytes=CACHE)
    places: list[str] = []
    file.visititems(lambda place, item: places.append(place) if isinstance(item, h5py.Dataset) else None)
    by_name = dict(zip(_names_in_hdf5(path, places), places))

    def get(name: str) -> Any:
        data: Any = file[by_name[name]]
        if data.shape is None:
            return None
        return data if h5py.check_string_dtype(data.dtype) is None else np.array(data.asstr()[...])

    return ArrayFile(path, tuple(by_name), get)


def _names_in_hdf5(path: Path, places: list[str]) -> list[str]:
    groups = Counter(place.rpartition("/")[0] for place in places)
    last = {place.rpartition("/")[2] for place in places}
    if len(groups) == 1:  # all at the top, or all in one group
        return [place.rpartition("/")[2] for place in places]
    if len(last) == 1:
        return [place.rpartition("/")[0] for place in places]
    if "" not in groups and set(groups.values()) == {len(last)}:
        raise InputError(
            f"{path} holds {len(last)} data sets in each group ({', '.join(sorted(last)[:5])}), and a clip has "
            "one array in a stream; keep the one that is meant"
        )
    return places


def _open_pickle(path: Path) -> ArrayFile:
    from features.external.pickles import load_pickle

    content = load_pickle(path)
    if not isinstance(content, dict):
        array = np.asarray(content)
        if array.dtype.kind not in "fiu" or array.ndim < 2:
            raise InputError(f"{path} should hold a dict of arrays by clip id, or one array of all clips")
        return ArrayFile(path, ("",), lambda _: array)
    names = [key.decode(errors="replace") if isinstance(key, bytes) else str(key) for key in content]
    by_name = dict(zip(names, content.values()))
    if len(by_name) < len(names):
        raise InputError(f"{path} names two arrays alike, one by text and one by a number or by bytes")
    return ArrayFile(path, tuple(names), lambda name: None if by_name[name] is None else np.asarray(by_name[name]))


FORMATS: dict[str, Callable[[Path], ArrayFile]] = {
    ".npy": _open_numpy,
    ".npz": _open_numpy,
    ".safetensors": _open_safetensors,
    ".h5": _open_hdf5,
    ".hdf5": _open_hdf5,
    ".pkl": _open_pickle,
    ".pickle": _open_pickle,
}


def clip_files(folder: Path) -> dict[str, Path]:
    """Clip id -> its file, for a folder of one file a clip; folders below become part of the id."""
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


def _one_array(path: Path) -> Any:
    file = open_arrays(path)
    if len(file.names) != 1:
        raise InputError(f"{path} holds {len(file.names)} arrays; in a folder, one file is one array")
    return file.read(file.names[0])


def sha256_of(path: Path) -> str:
    """Sixty-four hexadecimal digits; of a folder, over the names and digests of its files."""
    if path.is_dir():
        parts = [f"{sha256_of(file)} {clip_id}\n" for clip_id, file in clip_files(path).items()]
        return hashlib.sha256("".join(parts).encode()).hexdigest()
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
