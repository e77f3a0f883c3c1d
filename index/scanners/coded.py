"""Scanners of codes, how codes are stored beside the vectors, and files mapped into memory.

    <path>               the codes and how to search them, written by faiss.write_index
    <path>.safetensors   arrays of the kind (scales, error norms); its metadata:
        facts            JSON: format, kind, rows, sizes, offset; of <path>: bytes, codes (how many bytes at
                         its end are codes), head (SHA-256 of all before them); sample (SHA-256 of a few vectors)
        sha256           of the facts and the arrays

Opening reads the second file only and maps the first, which stays readable when it is replaced. The first scan
compares the head with that of an index of FAISS that was made here, of the same size: FAISS trusts what it reads,
and would read out of bounds. A flipped code makes one estimate wrong; the index's own checksums detect it.

Maps are copy on write, and hold no file handle: an index has two or three files for each pattern of each segment,
and a process may have 1,024 handles.
"""

from __future__ import annotations

import ctypes
import hashlib
import json
import math
import mmap
import os
import re
from abc import abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Final, Self, TypeVar

import faiss
import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from index.scanners.scanner import Floats, Scanner, Shape
from mee.files import MOST_BYTES, open_file, parse_json, regular_size

FORMAT: Final = 1
SAMPLE: Final = 16  # vectors that are compared
FAILED: Final = ctypes.c_void_p(-1).value  # what mmap returns then
CHUNK: Final = 4 * 2**20  # bytes of vectors coded at a time: they stay in the cache
HEADER: Final = re.compile(  # as numpy writes it; what others write may be anything
    rb"\x93NUMPY\x01\x00..\{'descr': '([<>|=]?\w{1,9})', 'fortran_order': (False|True), "
    rb"'shape': \(([\d, ]{0,99})\), \} *\n",
    re.DOTALL,
)
if TYPE_CHECKING:
    pass

Arrays = dict[str, NDArray[Any]]
Specs = dict[str, tuple[tuple[int, ...], type]]  # shape and dtype of each array
Value = TypeVar("Value", np.float32, np.int64, np.uint8)


@dataclass(frozen=True)
class Saved:
    """Codes on disk."""

    path: Path
    facts: dict[str, Any]
    mapped: NDArray[np.uint8]  # FAISS reads from it, so it must outlive FAISS's index


class CodedScanner(Scanner):
    """A scanner with FAISS's index of codes and some arrays of its own."""

    codes_at_end: ClassVar[bool]  # whether FAISS's file ends with codes that are not in the checksum

    def __init__(
        self, vectors: Floats, shape: Shape, arrays: Arrays, codes: Any = None, saved: Saved | None = None
    ) -> None:
        """Take over what was built or opened; without `codes` they are read from `saved` when first needed."""
        super().__init__(vectors, shape)
        self.arrays, self._codes, self._saved = arrays, codes, saved

    @property
    @abstractmethod
    def columns(self) -> int:
        """Columns that FAISS's index has."""

    @classmethod
    @abstractmethod
    def specs(cls, shape: Shape) -> Specs:
        """The arrays of a scanner of such vectors."""

    @abstractmethod
    def without_codes(self, fill: int) -> tuple[Any, int]:
        """FAISS's index of as many rows without codes, what it learns filled with a byte; and the codes' bytes."""

    @property
    def codes(self) -> Any:
        """FAISS's index."""
        if self._codes is None and self._saved is not None:
            self._codes = self._read(self._saved)
        return self._codes

    @classmethod
    def open(cls, path: Path, vectors: Floats, shape: Shape) -> Self:
        beside = cls.files(path)[1]
        try:
            regular_size(beside, MOST_BYTES)
            with safe_open(beside, framework="numpy") as file:
                metadata = file.metadata() or {}
                arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            text = metadata["facts"]
            facts = parse_json(text)
        except (OSError, SafetensorError, ValueError, KeyError, TypeError) as error:
            raise ValueError(f"'{beside}' is missing or damaged, and cannot be opened") from error
        if metadata.get("sha256") != _checksum(text, arrays):
            raise ValueError(f"'{beside}' is damaged: its checksum is not that of its content")
        for name, value in cls._identity(vectors, shape).items():
            if facts[name] != value:
                words = f"its {name} is {facts[name]!s:.80}, theirs is {value}"
                raise ValueError(f"'{path}' does not belong to the vectors: {words}")
        numbers = {name: (array.shape, array.dtype) for name, array in arrays.items()}
        if numbers != cls.specs(shape) or not all(np.isfinite(array).all() for array in arrays.values()):
            raise ValueError(f"'{beside}' is damaged: it does not hold the numbers of such a scanner")
        try:
            mapped = mapped_bytes(path)
        except (OSError, ValueError) as error:  # ValueError: an empty file
            raise ValueError(f"'{path}' is missing or empty, and cannot be opened") from error
        if len(mapped) != facts["bytes"]:
            raise ValueError(
                f"'{path}' is damaged: it has {len(mapped)} bytes, and was written with {facts['bytes']}"
            )
        return cls(vectors, shape, arrays, saved=Saved(path, facts, mapped))

    def save(self, path: Path) -> None:
        faiss.write_index(self.codes, str(path))
        size = path.stat().st_size
        codes = len(self.vectors) * self.columns if self.codes_at_end else 0
        facts = {
            **self._identity(self.vectors, self.shape),
            "bytes": size,
            "codes": codes,
            "head": _digest(np.memmap(path, np.uint8, "r", shape=(size - codes,))),
            "sample": _sample(self.vectors),
        }
        text = json.dumps(facts, sort_keys=True)
        arrays = {name: np.ascontiguousarray(array) for name, array in self.arrays.items()}
        save_file(arrays, self.files(path)[1], {"facts": text, "sha256": _checksum(text, arrays)})

    @staticmethod
    def files(path: Path) -> tuple[Path, ...]:
        return path, path.with_name(f"{path.name}.safetensors")

    def _read(self, saved: Saved) -> Any:
        """FAISS's index over the mapped bytes."""
        path, facts, mapped = saved.path, saved.facts, saved.mapped
        if _digest(mapped[: len(mapped) - facts["codes"]]) != facts["head"]:
            raise ValueError(f"'{path}' is damaged: its checksum is not what was written")
        if _sample(self.vectors) != facts["sample"]:
            raise ValueError(f"'{path}' does not belong to the vectors: it was made of others")
        if not self._as_made_here(mapped):
            raise ValueError(f"'{path}' is damaged, or of a FAISS that this one cannot read")
        reader = faiss.ZeroCopyIOReader(faiss.swig_ptr(mapped), len(mapped))  # type: ignore[attr-defined]
        return faiss.read_index(reader)

    def _as_made_here(self, content: NDArray[np.uint8]) -> bool:
        """Whether FAISS's file has the sizes that it must have; what is learnt, and codes, may be anything."""
        (index, size), (other, _) = map(self.without_codes, (0, 255))
        zeros, ones = faiss.serialize_index(index), faiss.serialize_index(other)
        zeros[-8:] = ones[-8:] = np.array([size], np.int64).view(np.uint8)  # how many codes follow
        fixed, head = zeros == ones, content[: len(zeros)]
        if len(content) != len(zeros) + size or (head != zeros)[fixed].any():
            return False
        return bool(np.isfinite(head[~fixed].view(np.float32)).all())

    @classmethod
    def _identity(cls, vectors: Floats, shape: Shape) -> dict[str, Any]:
        return {
            "format": FORMAT,
            "kind": cls.kind,
            "rows": len(vectors),
            "sizes": list(shape.sizes),
            "offset": shape.offset,
        }


def _digest(content: NDArray[np.uint8]) -> str:
    return hashlib.sha256(content.data).hexdigest()


def _sample(vectors: Floats) -> str:
    """SHA-256 of a few rows, from the first to the last."""
    rows = np.unique(np.linspace(0, len(vectors) - 1, SAMPLE).astype(np.int64))
    return hashlib.sha256(np.ascontiguousarray(vectors[rows]).data).hexdigest()


def _checksum(text: str, arrays: Mapping[str, NDArray[Any]]) -> str:
    digest = hashlib.sha256(text.encode())
    for name in sorted(arrays):
        array = arrays[name]
        digest.update(f"\0{name} {array.dtype} {array.shape}\0".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def multiple(width: int, of: int) -> int:
    """The least multiple of `of` that is at least `width`."""
    return -(-width // of) * of


def chunks(vectors: Floats) -> Iterator[Floats]:
    """Some rows at a time, of about CHUNK bytes."""
    step = max(1, CHUNK // (4 * vectors.shape[1]))
    for start in range(0, len(vectors), step):
        yield np.asarray(vectors[start : start + step])


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
    kind, order = np.dtype(head[1].decode()), " by column" * (head[2] == b"True")
    if found != wanted or kind != dtype or order:
        raise ValueError(f"it holds {found} {kind}{order} and not {wanted} {np.dtype(dtype)}")
    content = content[head.end() :]
    if len(content) != np.dtype(dtype).itemsize * math.prod(wanted):
        raise ValueError(f"it has {len(content):,} bytes of {wanted} {np.dtype(dtype)}")
    return content.view(dtype).reshape(wanted)
