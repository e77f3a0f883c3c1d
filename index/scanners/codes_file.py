"""Codes beside the vectors, in two files:

    <path>               the codes and how to search them, written by faiss.write_index
    <path>.safetensors   arrays of the kind (scales, error norms); its metadata:
        facts            JSON: format, kind, rows, sizes, offset; of <path>: bytes, codes (how many bytes at
                         its end are codes), head (SHA-256 of all before them); sample (SHA-256 of a few vectors)
        sha256           of the facts and the arrays

Opening reads the second file only and maps the first, so that it stays readable when it is replaced. The first
scan checks the head: a broken size would make FAISS read where nothing is. A flipped code makes an
estimate wrong, and is what the index's own checksums are for.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Self, final

import faiss
import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from index.scanners.mapped import mapped_bytes
from index.scanners.scanner import Floats, Shape

FORMAT: Final = 1
SAMPLE: Final = 16  # vectors that are compared
READER: Final[Any] = faiss.ZeroCopyIOReader  # type: ignore[attr-defined]  # reads memory without a copy
Arrays = dict[str, NDArray[Any]]


def files(path: Path) -> tuple[Path, ...]:
    """What is written for codes at `path`."""
    return path, path.with_name(f"{path.name}.safetensors")


def write(
    path: Path,
    index: Any,
    codes: int,
    arrays: Mapping[str, NDArray[Any]],
    kind: str,
    vectors: Floats,
    shape: Shape,
) -> None:
    """Write both files.

    Args:
        path: of the codes.
        index: FAISS's.
        codes: how many bytes of codes stand at the end of what FAISS writes.
        arrays: of the kind.
        kind: its name.
        vectors: (N, W) that the codes were made of.
        shape: of these.
    """
    faiss.write_index(index, str(path))
    size = path.stat().st_size
    facts = {
        **_belonging(kind, vectors, shape),
        "bytes": size,
        "codes": codes,
        "head": _digest(np.memmap(path, np.uint8, "r", shape=(size - codes,))),
        "sample": _sample(vectors),
    }
    text = json.dumps(facts, sort_keys=True)
    kept = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    save_file(kept, files(path)[1], {"facts": text, "sha256": _whole(text, kept)})


@final
class CodesFile:
    """Both files, open; `arrays` are read, the codes are mapped."""

    def __init__(self, path: Path, facts: dict[str, Any], arrays: Arrays, mapped: NDArray[np.uint8]) -> None:
        self.path = path
        self.arrays = arrays
        self._facts = facts
        self._mapped = mapped

    @classmethod
    def open(cls, path: Path, kind: str, vectors: Floats, shape: Shape, names: tuple[str, ...]) -> Self:
        """Read the small file and map the large one.

        Args:
            path: of the codes.
            kind: that they must be of.
            vectors: (N, W) that they must belong to.
            shape: of these.
            names: arrays that there must be.
        """
        beside = files(path)[1]
        try:
            with safe_open(beside, framework="numpy") as file:
                said = file.metadata() or {}
                arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            text = said["facts"]
            facts = json.loads(text)
        except (OSError, SafetensorError, ValueError, KeyError, TypeError) as error:
            raise ValueError(f"'{beside}' is missing or damaged, and cannot be opened") from error
        if said.get("sha256") != _whole(text, arrays) or set(arrays) != set(names):
            raise ValueError(f"'{beside}' is damaged: its checksum is not that of its content")
        wanted = _belonging(kind, vectors, shape)
        wrong = [name for name, value in wanted.items() if facts[name] != value]
        if wrong:
            name = wrong[0]
            raise ValueError(
                f"'{path}' does not belong to the vectors: its {name} is {facts[name]}, theirs is {wanted[name]}"
            )
        try:
            mapped = mapped_bytes(path)
        except (OSError, ValueError) as error:  # ValueError: an empty file
            raise ValueError(f"'{path}' is missing or empty, and cannot be opened") from error
        if len(mapped) != facts["bytes"]:
            raise ValueError(
                f"'{path}' is damaged: it has {len(mapped)} bytes, and was written with {facts['bytes']}"
            )
        return cls(path, facts, arrays, mapped)

    def read(self, vectors: Floats, width: int) -> Any:
        """FAISS's index over the mapped bytes; it looks into them, so that this must live as long.

        Args:
            vectors: (N, W) that it must belong to.
            width: of the index.
        """
        if _digest(self._mapped[: len(self._mapped) - self._facts["codes"]]) != self._facts["head"]:
            raise ValueError(f"'{self.path}' is damaged: its checksum is not what was written")
        if _sample(vectors) != self._facts["sample"]:
            raise ValueError(f"'{self.path}' does not belong to the vectors: it was made of others")
        try:
            index = faiss.read_index(READER(faiss.swig_ptr(self._mapped), len(self._mapped)))
        except (RuntimeError, MemoryError) as error:
            raise ValueError(f"'{self.path}' is damaged, or of a FAISS that this one cannot read") from error
        if index.ntotal != len(vectors) or index.d != width:
            raise ValueError(
                f"'{self.path}' does not belong to the vectors: it has another number of rows or columns"
            )
        return index


def _belonging(kind: str, vectors: Floats, shape: Shape) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "kind": kind,
        "rows": len(vectors),
        "sizes": list(shape.sizes),
        "offset": shape.offset,
    }


def _digest(content: NDArray[np.uint8]) -> str:
    return hashlib.sha256(content.data).hexdigest()


def _sample(vectors: Floats) -> str:
    """Of a few rows, from the first to the last."""
    rows = np.unique(np.linspace(0, len(vectors) - 1, SAMPLE).astype(np.int64))
    return hashlib.sha256(np.ascontiguousarray(vectors[rows]).data).hexdigest()


def _whole(text: str, arrays: Mapping[str, NDArray[Any]]) -> str:
    digest = hashlib.sha256(text.encode())
    for name in sorted(arrays):
        array = arrays[name]
        digest.update(f"\0{name} {array.dtype} {array.shape}\0".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()
