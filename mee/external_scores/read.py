"""Read the scores of another system from a file.

    .npy            one table of floats, memory-mapped; ids are in files of their own
    .npz            arrays `scores`, or `text` and `video`; `query_ids`, `clip_ids`
    .safetensors    tensors of the same names; ids are JSON lists in the metadata

    scores (Q, G): the higher the better      text (Q, E), video (G, E): their inner product is the score

Ids in a file of their own are in the order of the rows, or columns:

    .csv .tsv .parquet    a table with a column query_id, or clip_id; where there is none, video_id
    .json                 ["id", ...]
    any other ending      one id a line

Nothing is ever unpickled.
"""

from __future__ import annotations

import zipfile
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import torch

from mee.data import read_rows
from mee.errors import InputError, usable
from mee.external_scores.scores import MatrixScores, NamedScores, Table, TableScores
from mee.files import limited, parse_json
from mee.protocols import file_stamp

Side = Literal["query", "clip"]
SIDES: Final[tuple[Side, Side]] = ("query", "clip")
ENDINGS: Final = (".npy", ".npz", ".safetensors")
DAMAGED: Final = "cannot be read, it may be damaged or of another format"


@dataclass(frozen=True)
class ScoreFile:
    """Scores from a file, or from two files of tables."""

    name: str  # for messages: its path
    scores: NamedScores
    files: Mapping[str, str]  # role -> "name sha256:digits" of every file that was read


def read_scores(
    path: Path,
    *,
    query_ids: Path | None = None,
    clip_ids: Path | None = None,
    video: Path | None = None,
    unit_norm: bool = False,
    device: torch.device | None = None,
) -> ScoreFile:
    """Open scores.

    Args:
        path: a score matrix or two tables; or the (Q, E) text table, where `video` is given.
        query_ids: ids of the rows, where the file has none.
        clip_ids: ids of the columns, or of the rows of the video table, where the file has none.
        video: the (G, E) video table, where it is a .npy of its own.
        unit_norm: divide every embedding by its norm.
        device: where blocks are computed; None: the CPU.

    Raises:
        InputError: a file or its embeddings cannot be used; ids are missing, repeated, or not as many as rows or
            columns. A NaN among scores is found when it is read.
    """
    tables, own_ids = _open(path)
    if video is not None:
        others, _ = _open(video)
        if set(tables) != {""} or set(others) != {""}:
            raise InputError(
                f"{video if set(tables) == {''} else path}: a table in a file of its own is read from .npy; .npz "
                "and .safetensors hold both, 'text' and 'video'"
            )
        tables = {"text": tables[""], "video": others[""]}
    matrix = tables.get("scores", tables.get(""))
    if matrix is not None and unit_norm:
        raise InputError(f"{path} is a score matrix, which has no norms; leave out --unit-norm")
    ids: dict[Side, tuple[str, ...]] = {}
    for side, given in zip(SIDES, (query_ids, clip_ids)):
        if given is None and side not in own_ids:
            raise InputError(f"{path} names no {side} ids; give them in a file, one a line: --{side}-ids FILE")
        if given is not None and side in own_ids:
            raise InputError(f"{path} names its {side} ids itself; leave out --{side}-ids {given}")
        ids[side] = own_ids[side] if given is None else read_ids(given, side)
    shape = tuple(matrix.values.shape) if matrix else tuple(len(table.values) for table in tables.values())
    named = (len(ids["query"]), len(ids["clip"]))
    if shape != named:
        what = "rows and columns" if matrix else "text and video embeddings"
        turned = matrix is not None and shape == named[::-1]
        advice = "its rows must be queries, so transpose it" if turned else "name each one once"
        raise InputError(
            f"{path} has {shape[0]} x {shape[1]} {what}, but {named[0]} x {named[1]} query and clip ids; {advice}"
        )
    scores: NamedScores
    if matrix is not None:
        scores = MatrixScores(matrix, ids["query"], ids["clip"], device=device)
    else:
        scores = TableScores(tables["text"], tables["video"], *ids.values(), device=device, unit_norm=unit_norm)
    roles = {"scores" if video is None else "text": path, "video": video}
    roles |= {"query ids": query_ids, "clip ids": clip_ids}
    stamps = {role: file_stamp(file) for role, file in roles.items() if file is not None}
    return ScoreFile(str(path), scores, stamps)


def read_ids(path: Path, side: Side) -> tuple[str, ...]:
    """Read a file of ids, each of them once."""
    if not path.is_file():
        raise InputError(f"no file of {side} ids at '{path}'")
    found: Iterable[Any]
    with usable(f"{path} {DAMAGED}"), limited(path):
        match path.suffix.lower():
            case ".csv" | ".tsv" | ".parquet":
                table = read_rows(path, (f"{side}_id", "video_id"))
                found = table[_column(path, side, list(table.columns))].tolist()
            case ".json":
                found = parse_json(path.read_text(encoding="utf-8-sig"))
                if not isinstance(found, list):
                    raise InputError(f'{path} is no JSON list of {side} ids: ["…", "…"]')
            case ending if ending in ENDINGS:
                raise InputError(f"{path}: {side} ids are read from .txt, .csv, .tsv, .parquet or .json")
            case _:
                text = path.read_text(encoding="utf-8-sig").rstrip()
                found = text.split("\n") if text else []
    return _checked_ids(found, side, str(path))


_Found = tuple[dict[str, Table], dict[Side, tuple[str, ...]]]


def _open(path: Path) -> _Found:
    """Tables "scores"; "text" and "video"; or "" of a .npy; and the ids in the file."""
    if not path.is_file():
        raise InputError(f"no file of scores at '{path}'")
    if path.suffix.lower() not in ENDINGS:
        raise InputError(f"{path}: scores are read from {', '.join(ENDINGS)}, not '{path.suffix}'")
    with usable(f"{path} {DAMAGED}"), limited(path):
        return _safetensors(path) if path.suffix.lower() == ".safetensors" else _numpy(path)


def _numpy(path: Path) -> _Found:
    loaded = np.load(path, mmap_mode="c", allow_pickle=False)  # with "r" torch warns; it is never written to
    if isinstance(loaded, np.ndarray):
        return {"": Table(str(path), _tensor(loaded))}, {}
    with loaded:
        names = _wanted(path, loaded.files)
        tables = {name: Table(f"{path}: {name!r}", _tensor(_member(loaded.zip, name))) for name in names}
        ids = {
            side: _checked_ids(np.atleast_1d(_member(loaded.zip, name)).tolist(), side, f"{path}: {name!r}")
            for side, name in zip(SIDES, ("query_ids", "clip_ids"))
            if name in loaded.files
        }
        return tables, ids


def _member(archive: zipfile.ZipFile, name: str) -> np.ndarray[Any, Any]:
    """An array of a .npz, read to its end, where zipfile compares the checksum."""
    with archive.open(f"{name}.npy") as member:
        array = np.lib.format.read_array(member, allow_pickle=False)
        if member.read(1):
            raise ValueError(f"{name!r} is longer than its shape {array.shape} says")
    return array


def _tensor(array: np.ndarray[Any, Any]) -> torch.Tensor:
    return torch.from_numpy(np.asarray(array, array.dtype.newbyteorder("=")))  # copies foreign byte order only


def _safetensors(path: Path) -> _Found:
    from safetensors import safe_open

    with safe_open(path, framework="pt") as opened:
        metadata: dict[str, str] = opened.metadata() or {}
        names = _wanted(path, list(opened.keys()))
        tables = {name: Table(f"{path}: {name!r}", opened.get_tensor(name)) for name in names}
    ids: dict[Side, tuple[str, ...]] = {}
    for side in SIDES:
        if f"{side}_ids" in metadata:
            where, found = f"{path}: '{side}_ids' in its metadata", parse_json(metadata[f"{side}_ids"])
            if not isinstance(found, list):
                raise InputError(f'{where} is no JSON list; write json.dumps(["…", "…"])')
            ids[side] = _checked_ids(found, side, where)
    return tables, ids


def _wanted(path: Path, names: Sequence[str]) -> tuple[str, ...]:
    """The arrays to read: the score matrix, or the two tables."""
    found = tuple(name for name in ("scores", "text", "video") if name in names)
    if found in (("scores",), ("text", "video")):
        return found
    there = ", ".join(f"{name!r}" for name in names[:8]) or "nothing"
    raise InputError(f"{path} must hold either an array 'scores' or two, 'text' and 'video'; it holds {there}")


def _checked_ids(found: Iterable[Any], side: Side, where: str) -> tuple[str, ...]:
    ids = []
    for row, value in enumerate(found, 1):
        value = value.decode("utf-8", "replace") if isinstance(value, bytes) else value
        if isinstance(value, bool) or not isinstance(value, str | int):
            shown = type(value).__name__ if isinstance(value, list | dict) else repr(value)
            raise InputError(f"{where}: {side} id {row} is {shown}, which is no text; write ids as text")
        ids.append(str(value).strip())
    if not ids:
        raise InputError(f"{where} holds no {side} ids")
    if not all(ids):
        raise InputError(f"{where}: {side} id {ids.index('') + 1} is empty")
    if len(set(ids)) < len(ids):
        often = Counter(ids)
        some = [name for name, count in often.items() if count > 1]
        raise InputError(f"{where} has {len(some)} {side} ids more than once, {some[0]!r} {often[some[0]]} times")
    return tuple(ids)


def _column(path: Path, side: Side, names: Sequence[str]) -> str:
    wanted = (f"{side}_id", "video_id")
    if found := [name for name in wanted if name in names]:
        return found[0]
    shown = ", ".join(f"{name!r}" for name in names[:8]) or "none"
    raise InputError(f"{path} has no column {' or '.join(map(repr, wanted))}; it has {shown}")
