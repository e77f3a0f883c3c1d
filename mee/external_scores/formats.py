"""What a file of scores holds, by its ending.

    .npy            one table of floats; ids are in files of their own
    .npz            arrays `scores`, or `text` and `video`; `query_ids`, `clip_ids`
    .safetensors    tensors of the same names; ids are JSON lists in the metadata
    .parquet        see mee.external_scores.score_parquet

    scores (Q, G): the higher the better      text (Q, E), video (G, E): their inner product is the score

Tables stay in the file (mee.external_scores.stored_array). Nothing is ever unpickled.
"""

from __future__ import annotations

import json
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np

from mee.errors import InputError
from mee.external_scores.id_file import Side, checked_ids
from mee.external_scores.npy_layout import member_ids, member_table, open_npy
from mee.external_scores.stored_array import StoredArray

SIDES: Final[tuple[Side, Side]] = ("query", "clip")
NAMES: Final = ("scores", "text", "video")
KINDS: Final = {
    "F16": "<f2",
    "BF16": "<u2",
    "F32": "<f4",
    "F64": "<f8",
}  # of safetensors; its numbers are little-endian


@dataclass(frozen=True)
class FoundScores:
    """The tables of a file, and the ids that it names itself."""

    tables: Mapping[str, StoredArray]  # "scores"; "text" and "video"; or "" where the format gives no names
    ids: Mapping[Side, tuple[str, ...]] = field(default_factory=dict)


def open_scores(path: Path) -> FoundScores:
    """Open a file of scores or of embeddings.

    Raises:
        InputError: it is not there, is empty, is of an unknown format, is damaged, or has not the arrays above.
    """
    if not path.is_file():
        raise InputError(f"no file of scores at '{path}'")
    opener = FORMATS.get(path.suffix.lower())
    if opener is None:
        raise InputError(f"{path}: scores are read from {', '.join(FORMATS)}, not '{path.suffix}'")
    with errors_of(path):
        if path.stat().st_size == 0:
            raise InputError(f"{path} is empty; write it again")
        return opener(path)


@contextmanager
def errors_of(path: Path) -> Iterator[None]:
    """Turn what the readers of numpy, zip, safetensors and parquet raise into one sentence."""
    from safetensors import SafetensorError

    failures = (ValueError, TypeError, OSError, EOFError, KeyError, RuntimeError, MemoryError, OverflowError)
    try:
        yield
    except InputError:
        raise
    except (*failures, zipfile.BadZipFile, zlib.error, SafetensorError, SyntaxError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"{path} cannot be read, it may be damaged or of another format ({reason})") from error


def _npy(path: Path) -> FoundScores:
    return FoundScores({"": open_npy(path)})


def _npz(path: Path) -> FoundScores:
    with path.open("rb") as file:
        if file.read(6) == b"\x93NUMPY":
            raise InputError(f"{path} is a .npy by its content; rename it")
    with zipfile.ZipFile(path) as archive:
        names = [name.removesuffix(".npy") for name in archive.namelist() if name.endswith(".npy")]
        tables = {name: member_table(path, archive, name) for name in _wanted(path, names)}
        ids = {
            side: checked_ids(member_ids(path, archive, f"{side}_ids").tolist(), side, f"{path}: '{side}_ids'")
            for side in SIDES
            if f"{side}_ids" in names
        }
    return FoundScores(tables, ids)


def _safetensors(path: Path) -> FoundScores:
    from safetensors import safe_open

    with safe_open(path, framework="numpy") as opened:  # checks the header, and that the file is whole
        names: list[str] = list(opened.keys())
        metadata: dict[str, str] = opened.metadata() or {}
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        header: dict[str, Any] = json.loads(file.read(length))
        tables = {}
        for name in _wanted(path, names):
            facts = header[name]
            kind = facts["dtype"]
            if kind not in KINDS:
                raise InputError(f"{path}: {name!r} holds {kind} numbers; save it as one of {', '.join(KINDS)}")
            tables[name] = StoredArray.in_file(
                path,
                name,
                file,
                8 + length + facts["data_offsets"][0],
                tuple(facts["shape"]),
                np.dtype(KINDS[kind]),
                bfloat16=kind == "BF16",
            )
    return FoundScores(
        tables, {side: _listed(path, side, metadata) for side in SIDES if f"{side}_ids" in metadata}
    )


def _listed(path: Path, side: Side, metadata: dict[str, str]) -> tuple[str, ...]:
    """Ids in the metadata of a safetensors file."""
    where = f"{path}: '{side}_ids' in its metadata"
    try:
        listed = json.loads(metadata[f"{side}_ids"])
    except (ValueError, RecursionError):
        listed = None
    if not isinstance(listed, list):
        raise InputError(f'{where} is no JSON list; write json.dumps(["…", "…"])')
    return checked_ids(listed, side, where)


def _parquet(path: Path) -> FoundScores:
    from mee.external_scores.score_parquet import read_parquet

    scores, query_ids, clip_ids = read_parquet(path)
    return FoundScores({"scores": scores}, {"query": query_ids, "clip": clip_ids})


def _wanted(path: Path, names: list[str]) -> tuple[str, ...]:
    """Which arrays to take: the score matrix, or the two tables."""
    found = tuple(name for name in NAMES if name in names)
    if found in (("scores",), ("text", "video")):
        return found
    there = ", ".join(f"{name!r}" for name in names[:8]) or "nothing"
    if "scores" in found:
        raise InputError(f"{path} holds 'scores' and {found[1]!r}, so it is unclear which ranks; save one kind")
    raise InputError(f"{path} must hold an array 'scores', or two tables 'text' and 'video'; it holds {there}")


FORMATS: Final[dict[str, Callable[[Path], FoundScores]]] = {
    ".npy": _npy,
    ".npz": _npz,
    ".safetensors": _safetensors,
    ".parquet": _parquet,
}
