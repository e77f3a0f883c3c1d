"""A list of videos, each once.

one a line               .txt, or any other ending
a column video_id        .csv and .parquet (there `video` will do too), and a text whose first line names it
"""

from __future__ import annotations

import csv
from pathlib import Path

from mee.errors import InputError

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
