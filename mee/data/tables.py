"""Read tables and lists that people write: captions, videos, sentences.

captions    video_id, caption[, split][, query_id]   a row a caption, or a row a video with a list of captions
videos      one a line; or a column video_id of such a table, or of a text whose first line names it
sentences   one a line; or the captions of such a table

Tables are .csv, .tsv, .parquet, .json and .jsonl, in the forms of mee.data.formats.

`video_id` is a video's path in the store, with or without its ending, or the id of one clip of it. Columns may be
spelled in another case, with blanks or hyphens. Where there is no `video_id`, the column `video` is taken, or the
one of id, clip, filename, … that is there, or an index without a name; where there is no `caption`, the one of
sentence, text, query, …: several are refused, and a command's --columns says which is meant.

A text may also come through a pipe that the shell opened (/dev/stdin, <(…)), not through a named one: it may never
have a writer.

`split` is train, val or test. All values are text, so "007" stays "007"; only a whole number that Parquet holds as
a float is written without its point. A text that is a list of captions, as Python or JSON write it, is one.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mee.data.formats import SEPARATORS, read_rows, read_text
from mee.errors import InputError, name_id, name_ids, usable
from mee.files import limited

if TYPE_CHECKING:
    import pandas as pd

SPLITS = ("train", "val", "test")
SUFFIXES = (".csv", ".tsv", ".parquet", ".json", ".jsonl", ".ndjson")
_SYNONYMS = {"validate": "val", "validation": "val", "valid": "val", "dev": "val"}
_SYNONYMS |= {"training": "train", "testing": "test"}
_FOUND = 8  # columns that a message names
_IDS = "id vid videoid video_name clip clip_id name filename file_name image image_id image_name"
_UNNAMED = ("", "index", "unnamed_0")
_INSTEAD = {  # names of a missing column, the likeliest first; one of a group must be there alone
    "video_id": (("video",), tuple(_IDS.split()), _UNNAMED),
    "caption": (("captions", "sentence", "sentences", "text", "query", "description"),),
}
_LIST = re.compile(r"""\[\s*(?:['"].*['"]\s*)?\]""", re.DOTALL)


def read_captions(path: Path, columns: Mapping[str, str] | None = None, *, judged: bool = False) -> pd.DataFrame:
    """Read captions: video_id, caption and, where the file has them, split and query_id; no outer white space.

    `columns`: the file's own names of these, where it has others; `judged`: the right videos are in another file,
    so that query_id is needed, and video_id is not.

    Raises:
        InputError: the file, a column or a value cannot be used.
    """
    ids = ("query_id", "video_id") if judged else ("video_id", "query_id")
    wanted, more = (ids[0], "caption"), ("split", ids[1])
    table = read_table(path, wanted, more, what="caption file", columns=columns or {})
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
        header = [field.strip(' "') for field in re.split(f"[{SEPARATORS}]", lines[0])]
        if "video_id" not in header and "," not in lines[0]:  # a table under another name would match nothing
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


def read_table(
    path: Path,
    names: Sequence[str],
    more: Sequence[str] = (),
    *,
    what: str = "table",
    columns: Mapping[str, str] | None = None,
) -> pd.DataFrame:
    """The columns of these names, and more if the table has them; text without outer white space.

    A column caption may hold lists, each of whose captions gets a row. `columns`: the file's own names of columns.

    Raises:
        InputError: it cannot be read, a column is missing, a value is empty or no text, or there are no rows.
    """
    own = columns or {}
    if unknown := sorted(own.keys() - {*names, *more}):
        raise InputError(f"--columns {unknown[0]}=…: there are {', '.join((*names, *more))}")

    def resolve(header: Iterable[str]) -> dict[str, str]:
        header = list(header)
        found = {name: _named(name, header, own, _INSTEAD) for name in names}
        return {name: named[0] for name, named in found.items() if len(named) == 1}

    table = read_rows(path, names, what, resolve=resolve)
    with usable(f"{path} has a value that is no text"), limited(path):
        return _wanted(table, path, names, more, columns)


def _wanted(
    table: pd.DataFrame, path: Path, names: Sequence[str], more: Sequence[str], columns: Mapping[str, str] | None
) -> pd.DataFrame:
    """The wanted columns of a table, as text."""
    own = columns or {}
    header = list(table.columns)
    found: dict[str, int] = {}
    for name in (*names, *more):
        named = _named(name, header, own, _INSTEAD if name in names else {})
        if len(named) == 1:
            found[name] = header.index(named[0])
        elif named or name in names or name in own:
            raise InputError(f"{path} {_unclear(name, named, header, columns)}")
    if not len(table):
        raise InputError(f"{path} has a header and no rows")
    table = table.iloc[:, list(found.values())].set_axis(list(found), axis=1)
    if "caption" in table:
        table = _unfolded(table)
    for name in found:
        texts = table[name] if table[name].dtype == "string" else table[name].map(_as_text).astype("string")
        texts = texts.str.strip()
        if (empty := texts.isna() | (texts == "")).any():
            row = int(empty.to_numpy().argmax())
            cell, place = str(table[name].iloc[row]).strip(), f"{table.index.name} {table.index[row]}"
            held = "nothing" if cell in ("", "nan", "None", "<NA>") else name_id(cell)
            raise InputError(f"{path}: {place} has {held} in column '{name}'; write one text there")
        unnamed = name not in own and _plain(header[found[name]]) in _UNNAMED
        if unnamed and list(texts) == list(map(str, range(len(texts)))):
            raise InputError(f"{path} {_unclear(name, [], header, columns)}")
        table[name] = texts
    return table.reset_index(drop=True)


def _named(
    name: str, header: Sequence[str], own: Mapping[str, str], instead: Mapping[str, Sequence[tuple[str, ...]]]
) -> list[str]:
    """The columns that may be the one of this name; `instead`: other names that it may have."""
    if name in own:
        return [column for column in header if column == own[name]]
    for group in ((name,), *instead.get(name, ())):
        if named := [column for column in header if _plain(column) in group]:
            return [column for column in named if column == name] or named
    return []


def _plain(name: str) -> str:
    """Video_ID, "video id " and #video-id are video_id."""
    return re.sub(r"\W+", "_", name.strip().casefold()).strip("_")


def _unclear(name: str, named: Sequence[str], header: Sequence[str], columns: Mapping[str, str] | None) -> str:
    """Why a column of a name is not clear, for a message."""
    flag = "" if columns is None else f", or say which it is: --columns {name}=…"
    if named:
        return f"has several columns that may be '{name}': {name_ids(named)}; call one of them '{name}'{flag}"
    there = ", ".join(map(name_id, header[:_FOUND])) or "nothing"
    called = name_id((columns or {}).get(name, name))
    advice = f"Name it in the first line, and put text with a comma in quotes{flag}"
    return f"has no column {called}; it has {there}. {advice}"


def _unfolded(table: pd.DataFrame) -> pd.DataFrame:
    """A row a caption, of a table with lists of captions."""
    import pandas as pd

    values = [_as_list(value) for value in table["caption"]]
    if not any(isinstance(value, list) for value in values):
        return table
    return table.assign(caption=pd.Series(values, table.index, dtype=object)).explode("caption")


def _as_list(value: Any) -> Any:
    """A list where the value is one, or is written as one by Python or JSON."""
    if isinstance(value, str):
        if not ((text := value.strip()).startswith("[") and _LIST.fullmatch(text)):
            return value
        for read in (json.loads, ast.literal_eval):
            with suppress(ValueError, SyntaxError, RecursionError, MemoryError):
                found = read(text)
                if read is json.loads or repr(found) == text:  # NumPy writes no commas: Python would join captions
                    return found
        return [[text]]  # which is no text
    value = value.tolist() if hasattr(value, "tolist") else value  # of NumPy, in a table of Parquet
    return list(value) if isinstance(value, tuple) else value


def _as_text(value: Any) -> str | None:
    """A value of a cell; None where it has no text."""
    if isinstance(value, str):
        return value
    value = value.tolist() if hasattr(value, "tolist") else value
    if isinstance(value, bytes):
        with suppress(UnicodeDecodeError):
            return value.decode()
    if isinstance(value, float):
        return None if value != value else str(int(value) if value.is_integer() else value)
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else None
