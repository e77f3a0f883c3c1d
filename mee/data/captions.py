"""Captions of one's own collection: a table with one row a caption.

    video_id, caption[, split][, query_id]        CSV or Parquet, or JSON lines of the same

`video_id` (or `video`) is the video's path in the store, with or without its ending, or the id of one clip of it.
`split` is train, val or test.

A list of videos, each once.

one a line               .txt, or any other ending
a column video_id        .csv and .parquet (there `video` will do too), and a text whose first line names it
"""

from __future__ import annotations

import csv
from pathlib import Path
from typing import TYPE_CHECKING

from mee.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

SPLITS = ("train", "val", "test")
_SYNONYMS = {"validate": "val", "validation": "val", "dev": "val"}


def read_captions(path: Path) -> pd.DataFrame:
    """Read a caption file.

    Returns:
        Columns video_id, caption and, where the file has them, split and query_id; no outer white space.

    Raises:
        InputError: the file, a column or a value cannot be used.
    """
    table = _read_table(path)
    if "video_id" not in table and "video" in table:
        table = table.rename(columns={"video": "video_id"})
    for column in ("video_id", "caption"):
        if column not in table:
            found = ", ".join(f"'{name}'" for name in table.columns)
            raise InputError(f"{path} has no column '{column}'; it has {found}")
    columns = [name for name in ("video_id", "caption", "split", "query_id") if name in table]
    table = table[columns]
    for column in columns:
        text = table[column].astype("string").str.strip()
        empty = text.isna() | (text == "")
        if empty.any():
            row = int(empty.to_numpy().argmax()) + 1
            raise InputError(f"{path}: caption {row} of {len(table)} has nothing in column '{column}'")
        table = table.assign(**{column: text})
    if len(table) == 0:
        raise InputError(f"{path} holds no captions")
    if "split" in table:
        split = table["split"].str.lower().replace(_SYNONYMS)
        unknown = sorted(set(split) - set(SPLITS))
        if unknown:
            raise InputError(f"{path}: split must be one of {', '.join(SPLITS)}, got '{unknown[0]}'")
        table = table.assign(split=split)
    return table.reset_index(drop=True)


def _read_table(path: Path) -> pd.DataFrame:
    import pandas as pd

    if not path.is_file():
        raise InputError(f"no caption file at '{path}'")
    try:
        match path.suffix.lower():
            case ".csv":
                table = pd.read_csv(path, dtype="string", keep_default_na=False, encoding="utf-8-sig")
                if not isinstance(table.index, pd.RangeIndex):  # pandas takes surplus fields for row names
                    raise InputError(f"{path}: rows have more fields than the header; quote captions with commas")
                return table
            case ".parquet":
                return pd.read_parquet(path)
            case ".jsonl" | ".ndjson":
                return pd.read_json(path, lines=True, dtype=False, encoding="utf-8-sig")
            case suffix:
                raise InputError(f"{path}: captions are read from .csv, .parquet or .jsonl, not '{suffix}'")
    except InputError:
        raise
    except (ValueError, OSError) as error:  # what the parsers raise, pyarrow's included
        reason = str(error).splitlines()[0]
        raise InputError(f"{path} is not a readable {path.suffix} table: {reason}") from error


COLUMNS = ("video_id", "video")


def read_videos(path: Path) -> tuple[str, ...]:
    """The videos that a list names, in its order.

    Raises:
        InputError: there is no such file, it is no such list, a row has no name, or it is empty.
    """
    if not path.is_file():
        raise InputError(f"no list of videos at '{path}'")
    try:
        names = _of_parquet(path) if path.suffix.lower() == ".parquet" else _of_text(path)
    except InputError:
        raise
    except (ValueError, OSError, csv.Error) as error:  # pyarrow's and what is not UTF-8 among them
        reason = str(error).splitlines()[0]
        raise InputError(f"{path} is not a readable list of videos: {reason}") from error
    if names:
        return tuple(dict.fromkeys(names))
    raise InputError(f"{path} names no videos; write one a line, or a column video_id")


def _of_text(path: Path) -> list[str]:
    lines = path.read_text(encoding="utf-8-sig").splitlines()
    rows = [row for row in csv.reader(lines) if any(field.strip() for field in row)]
    header = [field.strip() for field in rows[0]] if rows else []
    is_table = path.suffix.lower() == ".csv"
    if is_table or COLUMNS[0] in header or len(header) > 1:  # a table under another name would match nothing
        place = header.index(_column(path, header))
        return _filled(path, [row[place] if len(row) > place else "" for row in rows[1:]])
    return [line.strip() for line in lines if line.strip()]


def _of_parquet(path: Path) -> list[str]:
    import pandas as pd

    table = pd.read_parquet(path)
    return _filled(path, table[_column(path, list(table.columns))].astype("string").fillna("").tolist())


def _column(path: Path, names: list[str]) -> str:
    for name in COLUMNS:
        if name in names:
            return name
    found = ", ".join(f"'{name}'" for name in names[:8]) or "nothing"
    raise InputError(
        f"{path} has no column 'video_id'; it has {found}. Name it there (a name with a comma goes quoted into "
        "such a table), or write one video a line into a .txt file"
    )


def _filled(path: Path, names: list[str]) -> list[str]:
    names = [name.strip() for name in names]
    if "" in names:
        raise InputError(f"{path}: row {names.index('') + 1} has nothing in column 'video_id'")
    return names
