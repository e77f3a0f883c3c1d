"""Reading a pickle without trusting it: plain containers, text, numbers and numpy arrays, and nothing else.

An allow-list, as the `pickle` documentation describes (`Unpickler.find_class`). Not even numpy's own functions are
called, because they trust their input: every allowed name stands for one of ours, which checks that shape, type
and bytes agree. Text of Python 2 is read as bytes. An array of objects, which .npy and .npz hold as a pickle, is
the list of them, or what it holds if it has no axes.

A small file may reference one list or tuple millions of times, so tuples are no keys (hashing nested ones could
take forever; C's unpickler cannot be told), and an array of lists has no more numbers than the file has bytes.
"""

from __future__ import annotations

import math
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar, Never, final

import numpy as np
from numpy.typing import NDArray

from features.errors import InputError
from features.files import open_file

KINDS = "fiuSU"  # of numpy's types: numbers, and text of fixed size
LONGEST, DEEPEST = 16, 8  # letters of a type, axes of an array of lists
OLD_TORCH = 0x1950A86A20F9469CFC6C  # what torch.save writes first, where it makes no archive
OF_TORCH = (
    "holds tensors of torch, as torch.save writes them, which are not read. If you trust it, load it "
    "(torch.load with weights_only=True) and save its tensors by clip id with safetensors.torch.save_file"
)


def load_pickle(path: Path) -> Any:
    """The content of a pickle, no archive; `as_array` makes arrays of what is in it."""
    if zipfile.is_zipfile(path):
        raise InputError(f"{path} {OF_TORCH}")
    with open_file(path, follow=True) as file:
        return load_objects(file, path)


def load_objects(file: Any, path: Path, *, of_numpy: bool = False) -> Any:
    """What is pickled in an open file, behind numpy's header if it is a .npy; `path`: for messages."""
    try:
        if of_numpy:
            form = np.lib.format
            first = form.read_magic(file) == (1, 0)
            (form.read_array_header_1_0 if first else form.read_array_header_2_0)(file)
        content = unwrapped(_Unpickler(file, encoding="bytes").load())
        if content == OLD_TORCH:
            raise InputError(OF_TORCH)
        return content
    except InputError as error:
        raise InputError(f"{path} {error}") from error
    except Exception as error:  # a damaged pickle is a damaged program: it may raise any exception
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise InputError(f"{path} cannot be read as a pickle ({reason})") from error


def unwrapped(value: Any) -> Any:
    """The objects in place of an array of them."""
    return value.objects if isinstance(value, PickledArray) and value.content is None else value


def as_array(path: Path, value: Any, left: list[int]) -> NDArray[Any]:
    """An array that was pickled in a file, or one of lists with at most so many numbers."""
    try:
        return np.asarray(_plain(value, left, DEEPEST))
    except InputError as error:
        raise InputError(f"{path} {error}") from error


def as_entries(path: Path, value: Any) -> Any:
    """An array, or a list of arrays that differ in length and of None; None for nothing."""
    left = [path.stat().st_size]
    try:
        return None if value is None else as_array(path, value, left[:])
    except (InputError, ValueError):
        if not isinstance(value, list):
            raise
        return [None if each is None else as_array(path, each, left[:]) for each in map(unwrapped, value)]


def _plain(value: Any, left: list[int], depth: int) -> Any:
    left[0] -= 1
    if left[0] < 0 or depth < 0:
        raise InputError("holds lists in lists that are longer than the file; save arrays with numpy.savez")
    if isinstance(value, (list, tuple)):
        return [_plain(each, left, depth - 1) for each in value]
    if isinstance(value, PickledArray):
        return _plain(value.objects, left, depth - 1) if value.content is None else value.content
    if not isinstance(value, (int, float, str, bytes)):
        raise InputError(f"holds a {type(value).__name__} where an array should be; save arrays with numpy.savez")
    return value


@final
class PickledArray:
    """Stands for numpy.ndarray, whose state a pickle could set."""

    def __init__(self, content: NDArray[Any] | None = None) -> None:
        self.content = content
        self.objects: Any = None  # in place of the content

    def __setstate__(self, state: Any) -> None:
        shape, of, fortran, raw = state[-4:]
        if of.dtype.kind == "O":
            if not isinstance(raw, list) or len(shape) > 1 or len(raw) != math.prod(shape):
                raise InputError(f"holds an array of objects of shape {shape}; save a dict of arrays by clip id")
            self.objects = raw if shape else raw[0]
            return
        self.content = _array(raw, of, shape, "F" if fortran else "C")

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any] | None:
        return self.content


class _Type:
    """Stands for numpy.dtype: numbers, text and objects, no structures."""

    def __init__(self, name: Any, *_: Any) -> None:
        self.dtype = np.dtype(_text(name)[:LONGEST])
        if self.dtype.kind not in f"{KINDS}O" or self.dtype.shape:
            raise InputError(f"holds an array of '{self.dtype}', and only arrays of numbers and text are read")

    def __setstate__(self, state: Any) -> None:
        if any(part is not None for part in state[2:5]):
            raise InputError("holds an array of structures, and only arrays of numbers and text are read")
        order: Any = _text(state[1])
        self.dtype = self.dtype.newbyteorder(order)


def _text(value: Any) -> str:
    if not isinstance(value, (bytes, str)):
        raise ValueError(f"a {type(value).__name__} in place of text")  # not its content: it may reference itself
    return value.decode("ascii") if isinstance(value, bytes) else value


def _array(raw: bytes, of: _Type, shape: tuple[int, ...], order: Any) -> NDArray[Any]:
    sizes = all(isinstance(size, int) and size >= 0 for size in shape)
    if not sizes or of.dtype.kind not in KINDS or len(raw) != math.prod(shape) * of.dtype.itemsize:
        raise ValueError(f"an array of shape {shape} whose bytes do not fit it")
    return np.ndarray(shape, of.dtype, buffer=raw, order="F" if order == "F" else "C")


def _from_buffer(raw: bytes, of: _Type, shape: tuple[int, ...], order: Any, axes: Any = None) -> PickledArray:
    content = _array(raw, of, shape, order)
    return PickledArray(content if axes is None else content.transpose(axes))


def _bytes(text: str = "", encoding: str = "latin1") -> bytes:
    """Bytes as protocols 0 to 2 encode them."""
    if encoding != "latin1":
        raise ValueError(f"bytes in the encoding {encoding!r}")
    return text.encode("latin1")


ALLOWED: dict[str, Callable[..., Any]] = {
    "numpy.ndarray": PickledArray,
    "numpy.memmap": PickledArray,
    "numpy.dtype": _Type,
    "numpy._core.multiarray._reconstruct": lambda *_: PickledArray(),
    "numpy._core.multiarray.scalar": lambda of, raw: _array(raw, of, (), "C").item(),
    "numpy._core.numeric._frombuffer": _from_buffer,
    "_codecs.encode": _bytes,
    "builtins.bytes": _bytes,
    "builtins.list": lambda *_: [],  # the factory of a defaultdict
    "collections.OrderedDict": dict,
    "collections.defaultdict": lambda *_: {},
}


class _Tuple(tuple[Any, ...]):
    """A tuple that is no key of a dict."""

    __hash__ = None  # type: ignore[assignment]


def _of_torch(_: Any) -> Never:  # no other library refers to what is kept beside a pickle
    raise InputError(OF_TORCH)


def _of_tuple(load: Callable[[Any], None]) -> Callable[[Any], None]:
    def run(unpickler: Any) -> None:
        load(unpickler)
        unpickler.stack[-1] = _Tuple(unpickler.stack[-1])

    return run


_KNOWN: dict[int, Any] = dict(pickle._Unpickler.dispatch)  # Python's function for each opcode
_TUPLES = (pickle.EMPTY_TUPLE, pickle.TUPLE, pickle.TUPLE1, pickle.TUPLE2, pickle.TUPLE3)


class _Unpickler(pickle._Unpickler):
    dispatch: ClassVar[dict[int, Any]] = _KNOWN | {code[0]: _of_tuple(_KNOWN[code[0]]) for code in _TUPLES}
    dispatch |= dict.fromkeys((pickle.PERSID[0], pickle.BINPERSID[0]), _of_torch)

    def find_class(self, module: str, name: str, /) -> Any:
        current = module.replace("__builtin__", "builtins").replace("numpy.core", "numpy._core")
        allowed = ALLOWED.get(f"{current}.{name}")
        if allowed is None and module.partition(".")[0] == "torch":
            raise InputError(OF_TORCH)
        if allowed is None:
            raise InputError(
                f"names {f'{module}.{name}'!a}, which could run code; only plain containers, text, numbers and "
                "numpy arrays are read from a pickle. If you trust the file, load it yourself and save its arrays "
                "with numpy.savez"
            )
        return lambda *arguments: allowed(*arguments)  # a new one each time: a pickle may set attributes of it
