"""Files of arrays -> the array of each clip.

Format, by the ending of the file:

    .npy            one array, memory-mapped; of objects: as a pickle
    .npz            arrays by name
    .safetensors    tensors by name, including bfloat16 and float8
    .h5 .hdf5       data sets by name, or in a group a clip
    .pkl .pickle    a dict of arrays by name, one array, or a list of arrays and None
    a folder        one .npy or .npz a clip, named after it

A data set of HDF5 is named by the part of its path that differs: /video7 and /streams/video7 are `video7`, and so
is /video7/streams if all data sets are called `streams`; otherwise by the whole path.

A file may come from anyone. Links in a folder are refused, and so is what HDF5 reads from other files (external
and virtual data sets, external links) or by a plug-in (filters that are not built in); its soft links are ignored.

Layout:

    keyed      one array a clip, named after it             (D,) or (T, D) each
    stacked    one array, entry i is the i-th clip's        (N, D) or (N, T, D), or a list of (D,) and (T, D)
    ragged     `rows` and `offsets`, as mee store export writes them: clip i owns rows[offsets[i]:offsets[i + 1]]

All but the first need ids: an array `ids` in the file, or a list in the same order. Beside `ids` there may be an
array `columns`, the names of the D columns. A single array is a clip, and no stack, where it has the name of one.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from features.errors import InputError
from features.external.config import checked_ids
from features.external.pickles import OF_TORCH, as_array, as_entries, load_objects, load_pickle, unwrapped
from features.files import limited, open_file, regular_size

CACHE = 64 << 20  # bytes of decompressed HDF5 chunks, so that clips that share a chunk decompress it once
FILTERS = {*range(7), 32000}  # of HDF5, that are built in; the last is LZF, of h5py
IDS, COLUMNS, RAGGED = "ids", "columns", {"rows", "offsets"}
HEADER = 10_000  # bytes of the description of a .npy, as numpy limits it after it has read it
SAVE = "save what it holds by clip id with numpy.savez"
FOREIGN = (  # what files of other tools are, by how their endings start, and how they become one that is read
    ((".pt", ".pth", ".ckpt", ".bin"), OF_TORCH),
    ((".tar", ".tgz", ".zip", ".gz", ".zst", ".7z"), "is an archive; unpack it, and name what is in it"),
    ((".mdb", ".lmdb"), f"is of an LMDB data base; {SAVE}"),
    ((".tfrecord",), f"is of TensorFlow; {SAVE}"),
    ((".mat",), f"is of MATLAB; load it with scipy.io.loadmat (version 7.3: h5py), and {SAVE}"),
    ((".parquet", ".arrow", ".feather", ".csv", ".tsv", ".json"), f"is a table; {SAVE}"),
)


@dataclass(frozen=True)
class ArrayFile:
    """The arrays of one file, or of one folder."""

    path: Path
    names: tuple[str, ...]  # of the arrays; one empty name for a single array without a name
    get: Callable[[str], Any]  # by name: an array with shape, dtype and [...]; None for an empty entry
    of_clips: bool = False  # the names are ids of clips for certain

    def read(self, name: str) -> Any:
        """The array of this name, which may read its parts on demand; None for an empty entry."""
        with errors_of(self.path, name):
            return self.get(name)

    def load(self, name: str) -> NDArray[Any]:
        """All of the array of this name."""
        with errors_of(self.path, name):
            array = self.get(name)
            if array is None:
                raise InputError(f"{self.path}: {name!r} holds nothing")
            return np.asarray(array[...])


@contextmanager
def errors_of(path: Path, name: str = "") -> Iterator[None]:
    """Turn the exceptions of numpy, zip, HDF5 and safetensors into one sentence."""
    try:
        with limited(path):
            yield
    except InputError:
        raise
    except Exception as error:  # the libraries raise anything on a damaged file
        where = f"{path}: {name!r}" if name else str(path)
        if "allow_pickle" in str(error):
            raise InputError(f"{where} is not a numpy file; save it with numpy.savez") from error
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"{where} cannot be read, it may be damaged or of another format ({reason})") from error


def open_arrays(path: Path) -> ArrayFile:
    """Open a file or a folder of arrays; there is at least one in it."""
    if path.is_dir():
        files = clip_files(path)
        return ArrayFile(path, tuple(files), lambda name: _single_array(files[name]), of_clips=True)
    if not path.exists():
        raise InputError(f"there is nothing at '{path}'; name a file of arrays, or a folder of one .npy a clip")
    return _open_file(path, follow=True)


def _open_file(path: Path, *, follow: bool) -> ArrayFile:
    size = regular_size(path, follow=follow)
    opener = FORMATS.get(path.suffix.lower())
    if what := _foreign(path):
        raise InputError(f"{path} {what}")
    if opener is None:
        raise InputError(
            f"{path}: arrays are read from {', '.join(FORMATS)}, or a folder of .npy and .npz, not '{path.suffix}'"
        )
    if size == 0:
        raise InputError(f"{path} is empty; there is no array in it")
    with errors_of(path):
        opened = opener(path)
    if not opened.names:
        raise InputError(f"{path} holds no arrays")
    return opened


def _foreign(path: Path) -> str:
    return next((what for endings, what in FOREIGN if path.suffix.lower().startswith(endings)), "")


def _open_numpy(path: Path) -> ArrayFile:
    """Of .npy and .npz, by their content."""
    with open_file(path, follow=True) as file:
        start = file.read(12)
    if start[:6] == np.lib.format.MAGIC_PREFIX and start[6] > 1 and int.from_bytes(start[8:], "little") > HEADER:
        raise InputError(f"{path} is described by more than {HEADER:,} bytes, as no plain array is; save it again")
    try:
        arrays = np.load(path, mmap_mode="r", allow_pickle=False)
    except ValueError as error:
        if "Python objects" not in str(error):
            raise
        with open_file(path, follow=True) as file:
            return _of_pickle(path, load_objects(file, path, of_numpy=True))
    if isinstance(arrays, np.ndarray):
        return ArrayFile(path, ("",), lambda _: arrays)

    def get(name: str) -> Any:
        try:
            return arrays[name]
        except ValueError as error:
            if "Object arrays" not in str(error):
                raise
        with arrays.zip.open(f"{name}.npy") as member:
            return as_entries(path, load_objects(member, path, of_numpy=True))

    return ArrayFile(path, tuple(arrays.files), get)


def _open_safetensors(path: Path) -> ArrayFile:
    from safetensors import safe_open

    tensors: Any = safe_open(path, framework="numpy")
    names = tuple(tensors.keys())
    of_torch = {name for name in names if tensors.get_slice(name).get_dtype().startswith(("BF", "F8"))}
    if of_torch:  # types that numpy does not have become float32
        tensors = safe_open(path, framework="pt")
    return ArrayFile(path, names, lambda name: _Tensor(tensors.get_slice(name), name in of_torch))


class _Tensor:
    """A tensor in a file, of which parts are read."""

    def __init__(self, parts: Any, of_torch: bool) -> None:
        self.parts, self.of_torch = parts, of_torch
        self.shape = tuple(parts.get_shape())

    @property
    def dtype(self) -> np.dtype[Any]:
        return self[... if 0 in self.shape else tuple(slice(1) for _ in self.shape)].dtype

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        return self[...]

    def __getitem__(self, place: Any) -> NDArray[Any]:
        part = self.parts[place]
        return np.asarray(part.float() if self.of_torch else part)


def _open_hdf5(path: Path) -> ArrayFile:
    import h5py

    file = h5py.File(path, "r", rdcc_nbytes=CACHE)
    places: list[str] = []
    file.visititems(lambda place, item: places.append(place) if isinstance(item, h5py.Dataset) else None)
    links: dict[str, Any] = {}
    file.visititems_links(lambda place, link: links.update({place: link}))
    if out := [place for place, link in links.items() if not isinstance(link, (h5py.HardLink, h5py.SoftLink))]:
        raise InputError(
            f"{path}: {out[0]!r} is a link out of the file, which is never followed; copy the data into it"
        )
    by_name = dict(zip(_names_in_hdf5(path, places), places))

    def get(name: str) -> Any:
        data: Any = file[by_name[name]]
        if data.shape is None:
            return None
        _check_data_set(path, data)
        return data if h5py.check_string_dtype(data.dtype) is None else np.array(data.asstr()[...])

    return ArrayFile(path, tuple(by_name), get)


def _check_data_set(path: Path, data: Any) -> None:
    """Refuse what is read from other files or by a plug-in, and types that point elsewhere."""
    import h5py

    how, where = data.id.get_create_plist(), f"{path}: {data.name!r}"
    if how.get_external_count() or how.get_layout() == h5py.h5d.VIRTUAL:
        raise InputError(
            f"{where} takes its numbers from other files, which are never read; copy them into this one"
        )
    if unknown := {how.get_filter(number)[0] for number in range(how.get_nfilters())} - FILTERS:
        raise InputError(
            f"{where} needs filter {min(unknown)} of HDF5, which would load a plug-in; save it with gzip"
        )
    if data.dtype.hasobject and h5py.check_string_dtype(data.dtype) is None:
        raise InputError(f"{where} is of type {data.dtype}; a stream holds plain numbers")


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
            "one array in a stream; keep the one to import"
        )
    return places


def _of_pickle(path: Path, content: Any) -> ArrayFile:
    if not isinstance(content, dict):
        array = np.empty(0) if content is None else as_entries(path, content)
        if not isinstance(array, list) and (array.dtype.kind not in "fiu" or array.ndim < 2):
            raise InputError(f"{path} should hold a dict of arrays by clip id, or one array of all clips")
        return ArrayFile(path, ("",), lambda _: array)
    if wrong := next((key for key in content if not isinstance(key, (str, bytes, int, float))), None):
        raise InputError(f"{path} names an array by a {type(wrong).__name__}; name it by text")
    names = [key.decode(errors="replace") if isinstance(key, bytes) else str(key) for key in content]
    by_name, left = dict(zip(names, map(unwrapped, content.values()))), [path.stat().st_size]
    if len(by_name) < len(names):
        raise InputError(f"{path} names two arrays alike, one by text and one by a number or by bytes")
    return ArrayFile(
        path, tuple(names), lambda name: None if by_name[name] is None else as_array(path, by_name[name], left[:])
    )


FORMATS: dict[str, Callable[[Path], ArrayFile]] = {
    **dict.fromkeys((".npy", ".npz"), _open_numpy),
    ".safetensors": _open_safetensors,
    **dict.fromkeys((".h5", ".hdf5"), _open_hdf5),
    **dict.fromkeys((".pkl", ".pickle"), lambda path: _of_pickle(path, load_pickle(path))),
}


def clip_files(folder: Path) -> dict[str, Path]:
    """Clip id -> its file, in a folder of one file a clip; names of sub-folders become part of the id."""
    files: dict[str, Path] = {}
    others: list[Path] = []
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() in (".npy", ".npz") and not path.name.startswith("."):
            regular_size(path)  # no link out of the folder
            clip_id = path.relative_to(folder).with_suffix("").as_posix()
            if clip_id in files:
                raise InputError(f"{folder} has two files of clip '{clip_id}': {files[clip_id].name}, {path.name}")
            files[clip_id] = path
        elif _foreign(path):
            others.append(path)
    if not files:
        found = f"; '{others[0].name}' {_foreign(others[0])}" if others else ""
        raise InputError(
            f"the folder {folder} holds no .npy or .npz; it should have one a clip, named after it{found}"
        )
    return files


def _single_array(path: Path) -> Any:
    file = _open_file(path, follow=False)
    if len(file.names) != 1:
        raise InputError(f"{path} holds {len(file.names)} arrays; in a folder, one file is one array")
    return file.read(file.names[0])


def sha256_of(path: Path) -> str:
    """64 hexadecimal digits; of a folder, over the names and digests of its files."""
    if path.is_dir():
        parts = [f"{sha256_of(file)} {clip_id}\n" for clip_id, file in clip_files(path).items()]
        return hashlib.sha256("".join(parts).encode()).hexdigest()
    with open_file(path, follow=True) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@dataclass(frozen=True)
class ClipArrays:
    """One stream of many clips in a file."""

    path: Path
    places: Mapping[str, Any]  # clip id -> argument of `get`, in the order of the file
    get: Callable[[Any], Any]  # the array there; None for an empty entry
    layout: str  # for people: "stacked (810, 12, 1280) float16"
    columns: tuple[str, ...] = ()  # names of the D columns, if the file has them

    def read(self, clip_id: str) -> NDArray[Any] | None:
        """The array of one clip; None where the file has none."""
        if clip_id not in self.places:
            return None
        with errors_of(self.path, clip_id):
            array = self.get(self.places[clip_id])
            return None if array is None else np.asarray(array[...])


def arrange(file: ArrayFile, listed: Sequence[str] | None, known: Container[str] = ()) -> ClipArrays:
    """Find out the layout of a stream's file.

    ``listed``: ids given beside it, in the order of its stack; ``known``: ids of clips that there are already.
    """
    names, ids, where = list(file.names), listed, "--ids"
    columns: tuple[Any, ...] = ()
    path = file.path
    if not file.of_clips:
        if len(names) > 1 and IDS in names:
            names.remove(IDS)
            ids, where = checked_ids(_list_in(file, IDS, "clip ids"), f"{path}: '{IDS}'"), f"'{IDS}'"
            if COLUMNS in names:
                names.remove(COLUMNS)
                columns = tuple(_list_in(file, COLUMNS, "names"))
        if set(names) == RAGGED:
            rows, ends = file.load("rows"), file.load("offsets")
            rising = ends.ndim == 1 and ends.dtype.kind in "iu" and len(ends) > 0 and (ends[1:] >= ends[:-1]).all()
            if not rising or rows.ndim != 2 or ends[0] != 0 or ends[-1] != len(rows):
                raise InputError(f"{path}: offsets should be integers that rise from 0 to the number of rows")
            places = _placed(path, [slice(*span) for span in pairwise(ends.tolist())], ids, where)
            return ClipArrays(path, places, lambda span: rows[span], f"ragged {rows.shape} {rows.dtype}", columns)
        is_clip = names[0] in (known if ids is None else listed or () if where == "--ids" else ())
        if len(names) == 1 and not is_clip:
            array = file.read(names[0])
            several = isinstance(array, list)
            shape = (len(array),) if several else () if array is None else tuple(array.shape)
            if ids is None and names[0] and shape:
                raise InputError(
                    f"{path} has one array, '{names[0]}', of shape {shape}: if that is a clip, list its id with "
                    f"--ids; if it is {shape[0]} clips, list theirs in the same order"
                )
            if len(shape) < 2 and not several:
                raise InputError(f"{path} has an array of shape {shape}; clips are stacked as (N, D) or (N, T, D)")
            places, kind = _placed(path, range(shape[0]), ids, where), "objects" if several else array.dtype
            return ClipArrays(path, places, lambda n: array[n], f"stacked {shape} {kind}", columns)
        if where != "--ids":
            raise InputError(f"{path} holds more than {IDS} and one array: {', '.join(names[:5])}")
    keys = checked_ids(names, str(path))
    first = file.read(names[0])
    kind = "" if first is None else f", the first {tuple(first.shape)} {first.dtype}"
    return ClipArrays(path, dict(zip(keys, names)), file.get, f"keyed{kind}")


def _placed(path: Path, places: Sequence[Any], ids: Sequence[str] | None, where: str) -> dict[str, Any]:
    """Places by clip id."""
    if ids is None:
        raise InputError(f"{path} holds {len(places)} clips and no ids; list them in the same order, with --ids")
    if len(ids) != len(places):
        raise InputError(f"{path} holds {len(places)} clips, and {where} {len(ids)} ids; they must be as many")
    return dict(zip(ids, places))


def _list_in(file: ArrayFile, name: str, what: str) -> list[Any]:
    values = file.load(name)
    if values.ndim != 1 or values.dtype.kind not in "SUOiu":
        raise InputError(f"{file.path}: '{name}' is {values.shape} {values.dtype}, not a list of {what}")
    return list(values.tolist())
