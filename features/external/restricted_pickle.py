"""Reading a pickle without trusting it: plain containers, text, numbers and numpy arrays, and nothing else.

    what the pickle asks for                        what it gets
    numpy's _reconstruct, _frombuffer, scalar       our own, which check that shape, type and bytes agree
    numpy.dtype                                     our own: numbers and text of fixed size, or a flat list
    OrderedDict, defaultdict, set, frozenset        the plain container
    _codecs.encode(text, "latin1"), bytes()         bytes, as protocols 0 to 2 spell them
    anything else                                   InputError, which names it

No function or class that a pickle can name is ever called: what it gets are stand-ins, and numpy's own unpickling,
which trusts its input, never runs. The file is read through a memory map by Python's own unpickler, so that
lengths and memo places that a file merely claims take no memory. Text of Python 2 arrives as bytes.
"""

from __future__ import annotations

import math
import mmap
import pickle
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar, NoReturn, final

import numpy as np
from numpy.typing import NDArray

from features.errors import InputError

NUMBERS, TEXT = "fiu", "SU"  # kinds of numpy's types that a pickle may hold


def load_pickle(path: Path) -> Any:
    """What a pickle holds; numpy arrays in it are `PickledArray`.

    Raises:
        InputError: it asks for something that could run code, or is no whole pickle.
    """
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            return _Unpickler(content, path).load()
    except InputError:
        raise
    except Exception as error:  # a damaged pickle is a program gone wrong: any exception may come of it
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise InputError(f"{path} cannot be read as a pickle ({reason})") from error


@final
class PickledArray:
    """An array of a pickle. It is not an ndarray itself: a pickle could set the state of one."""

    __slots__ = ("content",)

    def __init__(self, content: NDArray[Any] | list[Any] | None = None) -> None:
        self.content = content  # a list where the array holds Python objects

    def __setstate__(self, state: Any) -> None:
        """What pickles of the protocols up to 4 fill an array with."""
        if self.content is not None or not isinstance(state, tuple) or len(state) not in (4, 5):
            raise ValueError("an array with a wrong state")
        shape, made_of, fortran, raw = state[-4:]
        self.content = _array(raw, made_of, shape, "F" if fortran else "C")


@final
class _Type:
    """A stand-in for numpy.dtype."""

    __slots__ = ("dtype",)

    def __init__(self, name: Any, *_: Any) -> None:
        text = name.decode("ascii") if isinstance(name, bytes) else name
        if not isinstance(text, str):
            raise ValueError("a numpy type without a name")
        self.dtype = np.dtype(text)
        if self.dtype.kind not in NUMBERS + TEXT + "O" or self.dtype.shape:
            raise ValueError(f"arrays of {self.dtype} are not read")

    def __setstate__(self, state: Any) -> None:
        _, order, *structure = state
        if any(part is not None for part in structure[:3]):
            raise ValueError("arrays of structures are not read")
        swap: Any = order.decode("ascii") if isinstance(order, bytes) else order
        self.dtype = self.dtype.newbyteorder(swap)


@final
class _StandIn:
    """What the pickle gets for a function or a class: it can be called, and nothing can be set on it."""

    __slots__ = ("_make",)

    def __init__(self, make: Callable[..., Any]) -> None:
        self._make = make

    def __call__(self, *arguments: Any) -> Any:
        return self._make(*arguments)

    def __setstate__(self, state: Any) -> NoReturn:
        raise ValueError("it sets the state of what is no array")


def _array(raw: Any, made_of: Any, shape: Any, order: str) -> NDArray[Any] | list[Any]:
    if not isinstance(made_of, _Type) or not isinstance(shape, tuple):
        raise ValueError("an array without a type or a shape")
    if not all(type(length) is int and length >= 0 for length in shape):
        raise ValueError(f"an array of shape {shape}")
    if made_of.dtype.kind == "O":
        if len(shape) != 1 or not isinstance(raw, list) or len(raw) != shape[0]:
            raise ValueError("an array of Python objects that is no flat list")
        return raw
    if not isinstance(raw, (bytes, bytearray)) or len(raw) != math.prod(shape) * made_of.dtype.itemsize:
        raise ValueError(f"an array of shape {shape} whose bytes do not fit it")
    return np.ndarray(shape, made_of.dtype, buffer=raw, order="F" if order == "F" else "C")


def _reconstruct(*_: Any) -> PickledArray:
    """numpy.core.multiarray._reconstruct: an array that gets its content later."""
    return PickledArray()


def _frombuffer(
    raw: Any, made_of: Any, shape: Any, order: Any, axis_order: tuple[int, ...] | None = None
) -> PickledArray:
    """numpy.core.numeric._frombuffer, of protocol 5."""
    content = _array(raw, made_of, shape, order)
    if axis_order is not None and isinstance(content, np.ndarray):
        content = content.transpose(axis_order)
    return PickledArray(content)


def _scalar(made_of: Any, raw: Any) -> Any:
    """numpy.core.multiarray.scalar, as a number of Python."""
    content = _array(raw, made_of, (), "C")
    return content.item() if isinstance(content, np.ndarray) else content


def _latin1(text: str, encoding: str) -> bytes:
    """_codecs.encode, for the one encoding that pickles need it for."""
    if encoding not in ("latin1", "latin-1"):
        raise ValueError(f"bytes in the encoding {encoding!r}")
    return text.encode("latin1")


def _never(*_: Any) -> NoReturn:
    raise ValueError("it makes an array by calling its class")


_ARRAY_CLASS = _StandIn(_never)  # only named by pickles, as what _reconstruct shall make


def _keys(values: Any) -> list[Any]:
    """Keys of a dict or elements of a set. To hash a tuple of tuples of tuples may take for ever."""
    if any(isinstance(value, tuple) for value in values):
        raise ValueError("a key that is neither text nor a number")
    return list(values)


def _ordered(pairs: Any = ()) -> dict[Any, Any]:
    """collections.OrderedDict, of what Python 2 gave it."""
    return dict(zip(_keys([key for key, _ in pairs]), [value for _, value in pairs]))


_PLAIN: tuple[tuple[str, Callable[..., Any]], ...] = (
    ("set", lambda values=(): set(_keys(values))),
    ("frozenset", lambda values=(): frozenset(_keys(values))),
    ("bytes", lambda: b""),
    *(
        (name, _never) for name in ("list", "dict", "int", "float", "str")
    ),  # only named, as what a defaultdict makes
)
_STAND_INS = {
    ("numpy", "ndarray"): _ARRAY_CLASS,
    ("numpy", "memmap"): _ARRAY_CLASS,
    ("numpy", "dtype"): _StandIn(_Type),
    ("collections", "OrderedDict"): _StandIn(_ordered),
    ("collections", "defaultdict"): _StandIn(lambda *_: {}),  # what it makes of a missing key does not matter
    ("_codecs", "encode"): _StandIn(_latin1),
    **{
        (module, name): _StandIn(make)
        for core in ("numpy.core", "numpy._core")
        for module, name, make in (
            (f"{core}.multiarray", "_reconstruct", _reconstruct),
            (f"{core}.multiarray", "scalar", _scalar),
            (f"{core}.numeric", "_frombuffer", _frombuffer),
        )
    },
    **{(module, name): _StandIn(make) for module in ("builtins", "__builtin__") for name, make in _PLAIN},
}


_DEFAULT: dict[int, Callable[[Any], None]] = dict(pickle._Unpickler.dispatch)  # what Python does at each code


@final
class _Unpickler(pickle._Unpickler):
    """Python's own unpickler: the one in C takes memory for whatever length or memo place a file claims."""

    dispatch: ClassVar[dict[int, Any]] = {
        **_DEFAULT,
        pickle.REDUCE[0]: lambda self: _reduce(self),
        pickle.BYTEARRAY8[0]: lambda self: _bytearray(self),
        pickle.SETITEM[0]: lambda self: _hash(self, pickle.SETITEM, self.stack[-2:-1]),
        pickle.SETITEMS[0]: lambda self: _hash(self, pickle.SETITEMS, self.stack[::2]),
        pickle.DICT[0]: lambda self: _hash(self, pickle.DICT, self.stack[::2]),
        pickle.ADDITEMS[0]: lambda self: _hash(self, pickle.ADDITEMS, self.stack),
        pickle.FROZENSET[0]: lambda self: _hash(self, pickle.FROZENSET, self.stack),
    }

    def __init__(self, content: mmap.mmap, path: Path) -> None:
        super().__init__(content, encoding="bytes")
        self._path = path
        self.budget = 2 * len(content) + 1000  # what its calls may take in: no text or list is worth many copies

    def find_class(self, module: str, name: str, /) -> _StandIn:
        stand_in = _STAND_INS.get((module, name))
        if stand_in is None:
            raise InputError(
                f"{self._path} asks for {f'{module}.{name}'!a}, which could run code; from a pickle only plain "
                "containers, text, numbers and numpy arrays are read. If you trust the file, load it yourself and "
                "save its arrays with numpy.savez"
            )
        return stand_in

    def persistent_load(self, pid: Any) -> NoReturn:
        raise InputError(
            f"{self._path} points to objects outside of itself, as files of torch.save do; save its arrays with "
            "numpy.savez"
        )


def _reduce(unpickler: Any) -> None:
    """One call, as long as the calls do not copy what the file holds again and again."""
    unpickler.budget -= sum(len(part) for part in unpickler.stack[-1] if hasattr(part, "__len__"))
    if unpickler.budget < 0:
        raise ValueError("it copies what it holds again and again")
    _DEFAULT[pickle.REDUCE[0]](unpickler)


def _hash(unpickler: Any, code: bytes, keys: list[Any]) -> None:
    """Carry out a code that puts keys into a dict or a set."""
    _keys(keys)
    _DEFAULT[code[0]](unpickler)


def _bytearray(unpickler: Any) -> None:
    """A bytearray of what there is, not of the length that is claimed."""
    (length,) = struct.unpack("<Q", unpickler.read(8))
    unpickler.append(bytearray(unpickler.read(length)))
