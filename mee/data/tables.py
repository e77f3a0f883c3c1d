"""Read tables and lists that people write: captions, videos, sentences.

captions    video_id, caption[, split][, query_id]   .csv, .parquet or .jsonl, a row a caption
videos      one a line; or a column video_id of such a table, or of a text whose first line names it
sentences   one a line; or the captions of such a table

`video_id` (or `video`) is a video's path in the store, with or without its ending, or the id of one clip of it.
A text may also come through a pipe that the shell opened (/dev/stdin, <(…)), not through a named one: it may never
have a writer.

`split` is train, val or test. All values are text, so "007" stays "007", and all text is UTF-8. Csv is read by the
standard library in strict mode: it names the line of a stray quote, after which pandas would join several rows.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mee.errors import InputError, name_id, usable
from mee.files import limited, open_file, read_parquet

if TYPE_CHECKING:
    import pandas as pd

SPLITS = ("train", "val", "test")
SUFFIXES = (".csv", ".parquet", ".jsonl", ".ndjson")
_SYNONYMS = {"validate": "val", "validation": "val", "dev": "val"}
_FOUND = 8  # columns that a message names
_COLUMNS = 1000  # of csv: rows are filled up to the header's


def read_captions(path: Path) -> pd.DataFrame:
    """Read captions: video_id, caption and, where the file has them, split and query_id; no outer white space.

    Raises:
        InputError: the file, a column or a value cannot be used.
    """
    if path.suffix.lower() not in SUFFIXES and path.is_file():
        raise InputError(f"{path}: captions are read from .csv, .parquet or .jsonl, not '{path.suffix}'")
    table = read_table(path, ("video_id", "caption"), ("split", "query_id"), what="caption file")
    if "split" in table:
        table["split"] = table["split"].str.lower().replace(_SYNONYMS)
        if unknown := sorted(set(table["split"]) - set(SPLITS)):
            raise InputError(f"{path}: split must be one of {', '.join(SPLITS)}, got {name_id(unknown[0])}")
    return table


def read_videos(path: Path) -> tuple[str, ...]:
    """The videos that a list names, each once, in its order.

    Raises:
        InputError: there is no such file, it is no list of videos, a row has no name, or it is empty.
    """
    return tuple(dict.fromkeys(read_names(path)))


def read_names(path: Path) -> list[str]:
    """The same, repeated names included."""
    what = "list of videos"
    if path.suffix.lower() not in SUFFIXES:
        lines = read_lines(path, what)
        header = [field.strip(' "') for field in lines[0].split(",")]
        if "video_id" not in header and len(header) == 1:  # a table under another name would match nothing
            return lines
    return list(read_table(path, ("video_id",), what=what)["video_id"])


def read_sentences(path: Path, splits: Collection[str] = ("val", "test")) -> list[str]:
    """Sentences to search with, or to learn from, each once.

    Args:
        path: a text with one a line, or a table of captions.
        splits: the splits to read, of a table with a column split.

    Raises:
        InputError: the file cannot be used, or there are none.
    """
    if path.suffix.lower() not in SUFFIXES:
        return list(dict.fromkeys(read_lines(path, "file of sentences")))
    table = read_captions(path)
    if "split" in table:
        table = table[table["split"].isin(list(splits))]
        if not len(table):
            raise InputError(f"{path} has no captions of split {' or '.join(map(repr, splits))}; add some")
    return list(dict.fromkeys(table["caption"]))


def read_lines(path: Path, what: str) -> list[str]:
    """The lines of a text that are not blank, without outer white space.

    Raises:
        InputError: there is no such text, or nothing in it.
    """
    lines = [line.strip() for line in read_text(path, what).split("\n")]
    if lines := [line for line in lines if line]:
        return lines
    raise InputError(f"{path} is an empty {what}; write one a line")


def read_text(path: Path, what: str = "file") -> str:
    """The text of a file.

    Raises:
        InputError: there is none, it cannot be read, or it is not UTF-8.
    """
    if path.is_dir() or not path.exists():
        raise InputError(f"no {what} at '{path}'")
    piped = path.is_fifo() and path.absolute().parts[1] in ("dev", "proc")
    try:
        with path.open("rb") if piped else open_file(path, follow=True) as file:
            return io.TextIOWrapper(file, encoding="utf-8-sig").read()
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise InputError(f"{path}: line {line} is not UTF-8 text; save the file as UTF-8") from error
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from error


def read_table(path: Path, names: Sequence[str], more: Sequence[str] = (), *, what: str = "table") -> pd.DataFrame:
    """The columns of these names, and more if the table has them; text without outer white space.

    Raises:
        InputError: it cannot be read, a column is missing, a value is empty, or there are no rows.
    """
    import pandas as pd

    if not path.is_file():
        raise InputError(f"no {what} at '{path}'")
    with usable(f"{path} is not a readable {path.suffix} table; save it again"), limited(path):
        match path.suffix.lower():
            case ".parquet":
                table: pd.DataFrame = read_parquet(path).to_pandas(use_threads=False)
            case ".jsonl" | ".ndjson":
                table = pd.read_json(path, lines=True, dtype=False, encoding="utf-8-sig")
            case _:
                table = _read_csv(path, what)
        for name in table.columns.intersection([*names, *more, "video"]):
            table[name] = table[name].astype("string").str.strip()
    if "video_id" not in table and "video" in table:
        table = table.rename(columns={"video": "video_id"})
    for column in names:
        if column not in table:
            found = ", ".join(name_id(str(name)) for name in table.columns[:_FOUND]) or "nothing"
            raise InputError(
                f"{path} has no column '{column}'; it has {found}. Name it in the first line, and put text with a "
                "comma in quotes"
            )
    if not len(table):
        raise InputError(f"{path} has a header and no rows")
    columns = [*names, *(name for name in more if name in table)]
    table = table[columns].reset_index(drop=True)
    for column in columns:
        empty = table[column].isna() | (table[column] == "")
        if empty.any():
            row = int(empty.to_numpy().argmax()) + 1
            raise InputError(f"{path}: row {row} of {len(table)} has nothing in column '{column}'")
    return table


def _read_csv(path: Path, what: str) -> pd.DataFrame:
    import pandas as pd

    lines = csv.reader(io.StringIO(read_text(path, what), newline=""), strict=True)
    header: list[str] = []
    rows: list[list[str]] = []
    try:
        for fields in lines:
            if not header:
                header = [name.strip() for name in fields]
                if len(header) > _COLUMNS:
                    raise InputError(f"{path} has {len(header):,} columns; no more than {_COLUMNS:,} are read")
            elif len(fields) > len(header):
                raise InputError(
                    f"{path}: line {lines.line_num} has more fields than the header, {len(fields)} for "
                    f"{len(header)}; quote text with commas"
                )
            elif any(map(str.strip, fields)):
                rows.append(fields + [""] * (len(header) - len(fields)))
    except csv.Error as error:
        raise csv.Error(f"line {lines.line_num}: {error}") from error
    table = pd.DataFrame(rows, columns=header, dtype="string")
    return table.loc[:, ~table.columns.duplicated()]
