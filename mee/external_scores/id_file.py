"""Ids of the rows or columns of a score file, in their order.

    .txt, or any ending not below    one id a line
    .csv .tsv                        a table with a column of ids
    .parquet                         the same
    .json                            ["id", ...]

The column is query_id, or clip_id; where there is none, video_id.
"""

from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np

from mee.errors import InputError

Side = Literal["query", "clip"]
COLUMNS: Final[dict[Side, tuple[str, str]]] = {
    "query": ("query_id", "video_id"),
    "clip": ("clip_id", "video_id"),
}
_ADVICE: Final[dict[Side, str]] = {
    "query": "every row needs an id of its own, the protocol's query id",
    "clip": "every clip of the gallery is scored once",
}


def read_ids(path: Path, side: Side) -> tuple[str, ...]:
    """Read a file of ids.

    Raises:
        InputError: it is not there, is of another form, or an id is empty or there twice.
    """
    if not path.is_file():
        raise InputError(f"no file of {side} ids at '{path}'")
    try:
        match path.suffix.lower():
            case ".csv":
                found: Iterable[Any] = _column_of_csv(path, side, ",")
            case ".tsv":
                found = _column_of_csv(path, side, "\t")
            case ".parquet":
                found = _column_of_parquet(path, side)
            case ".json":
                found = json.loads(path.read_text(encoding="utf-8-sig"))
                if not isinstance(found, list):
                    raise InputError(f'{path} is no JSON list of {side} ids: ["…", "…"]')
            case ".npy" | ".npz" | ".safetensors":
                raise InputError(f"{path}: {side} ids are read from .txt, .csv, .tsv, .parquet or .json")
            case _:
                text = path.read_text(encoding="utf-8-sig").rstrip()
                found = text.split("\n") if text else []
    except InputError:
        raise
    except (OSError, ValueError, RuntimeError, csv.Error) as error:  # json's, unicode's and pyarrow's among them
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"{path} is no readable file of {side} ids: {reason}") from error
    return checked_ids(found, side, str(path))


def checked_ids(found: Iterable[Any], side: Side, where: str) -> tuple[str, ...]:
    """Ids as text, each of them once.

    Args:
        found: text, bytes or whole numbers.
        side: whose ids they are.
        where: the file, for messages.

    Raises:
        InputError: one is of another kind, empty, or there twice; or there are none.
    """
    ids = [_as_text(value, side, where, row) for row, value in enumerate(found, 1)]
    if not ids:
        raise InputError(f"{where} holds no {side} ids")
    if len(set(ids)) < len(ids):
        often = Counter(ids)
        twice = [name for name, count in often.items() if count > 1]
        raise InputError(
            f"{where} has {len(twice)} {side} ids more than once, {twice[0]!r} {often[twice[0]]} times; "
            f"{_ADVICE[side]}"
        )
    return tuple(ids)


def column_of(names: Sequence[str], side: Side, where: str) -> str:
    """Which column holds the ids.

    Raises:
        InputError: none does.
    """
    for name in COLUMNS[side]:
        if name in names:
            return name
    shown = ", ".join(f"{name!r}" for name in names[:8]) + (", …" if len(names) > 8 else "")
    wanted = " or ".join(f"{name!r}" for name in COLUMNS[side])
    raise InputError(f"{where} has no column {wanted}; it has {shown or 'none'}")


def _as_text(value: Any, side: Side, where: str, row: int) -> str:
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    if isinstance(value, int | np.integer) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str):
        raise InputError(f"{where}: {side} id {row} is {value!r}, which is no text; write ids as text")
    text = str(value).strip()
    if not text:
        raise InputError(f"{where}: {side} id {row} is empty")
    return text


def _column_of_csv(path: Path, side: Side, delimiter: str) -> list[str]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        rows = csv.reader(file, delimiter=delimiter, strict=True)
        names = [name.strip() for name in next(rows, [])]
        place = names.index(column_of(names, side, str(path)))
        ids = []
        for row in rows:
            if not row:
                continue  # an empty line
            if len(row) != len(names):
                raise InputError(
                    f"{path}: line {rows.line_num} has {len(row)} fields and the header {len(names)}; quote what "
                    "holds the delimiter"
                )
            ids.append(row[place])
    return ids


def _column_of_parquet(path: Path, side: Side) -> list[Any]:
    from pyarrow import parquet

    file = parquet.ParquetFile(path)
    column = column_of(file.schema_arrow.names, side, str(path))
    values: list[Any] = file.read([column]).column(column).to_pylist()
    return values
