"""Captions of one's own collection: a table with one row a caption.

    video_id, caption[, split][, query_id]        CSV or Parquet, or JSON lines of the same

`video_id` (or `video`) is the video's path in the store, with or without its ending, or the id of one clip of it.
`split` is train, val or test.
"""

from __future__ import annotations

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
