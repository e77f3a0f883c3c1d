"""The rows of a table, whatever it is written in; the content decides, not the ending.

delimited   commas, semicolons, tabs or pipes between fields, by the header, before which lines may begin with #
JSON        [{…}, …]    {"sentences": [{…}, …], "videos": […]}    {"annotations": [{…}, …], "images": […]}
            {id: "caption"}    {id: ["caption", …]}    {id: {"captions": […], …}}    {id: [{…}, …]}
            a table of pandas: {column: {row: value}}, {column: […]}, {"columns": […], "data": [[…], …]}
JSON lines  {…}, one a line
Parquet     an index of its own is a column

Text is UTF-8, or UTF-16 and UTF-32 with a byte order mark; \\r and \\r\\n end lines as \\n does.

A quote that nobody closes takes in rows up to the next one. Strict reading finds most of them; what it accepts is
refused if the further lines of a field are rows by themselves: as many fields, and what looks like an id where ids
are. A caption of several lines is read.
"""

from __future__ import annotations

import codecs
import csv
import io
import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mee.errors import InputError, name_id, usable
from mee.files import limited, open_file, read_parquet

if TYPE_CHECKING:
    import pandas as pd

SEPARATORS = ",;\t|"
_MARKS = {codecs.BOM_UTF32_LE: "utf-32", codecs.BOM_UTF32_BE: "utf-32"}  # the first begins as UTF-16's does
_MARKS |= {codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}
_UNMARKED = re.compile(r"(?:[^\0]\0){4}|(?:\0[^\0]){4}")
_KINDS = {  # how files begin that are no text
    rb"PK\x03\x04": "a zip archive, as .xlsx and .ods are; save the sheet as CSV (UTF-8), or unpack it",
    rb"\xd0\xcf\x11\xe0": "an Excel workbook; save the sheet as CSV (UTF-8)",
    rb"\x1f\x8b|\xfd7zXZ|\x28\xb5\x2f\xfd|BZh\d1AY": "compressed; unpack it, with gunzip, unxz, unzstd or bunzip2",
    rb"\x80[\x02-\x05]": "a pickle, which could run code; if you trust it, save what it holds as JSON",
    rb"PAR1\x15|ARROW1\0\0": "a Parquet or Feather file; save it as Parquet, and name it .parquet",
    rb"SQLite format 3|\x89HDF|%PDF-": "a database, an HDF5 file or a PDF; save the table as CSV",
    rb"version https://git-lfs": "a pointer of Git LFS; fetch the file itself with git lfs pull",
    rb"\s*(?i:<!doctype html|<html)": "a web page; download the file itself",
}
_COLUMNS = 1000  # of delimited text: rows are filled up to the header's
_ID = re.compile(r"\S*[\d_]\S*|.*\.\w{2,4}")  # what a video may be called, unlike a part of a sentence
_WORD = re.compile(r"\S+")  # the same, where videos are called so
Resolve = Callable[[Iterable[str]], Mapping[str, str]]  # columns -> wanted column: its name among them
Record = Mapping[Any, Any]


def read_text(path: Path, what: str = "file") -> str:
    """The text of a file; its lines end in \\n.

    Raises:
        InputError: there is none, it cannot be read, or it is no text of a known encoding.
    """
    if path.is_dir() or not path.exists():
        raise InputError(f"no {what} at '{path}'")
    piped = path.is_fifo() and path.absolute().parts[1] in ("dev", "proc")
    try:
        with path.open("rb") if piped else open_file(path, follow=True) as file:
            content = file.read()
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from error
    for start, kind in _KINDS.items():
        if re.match(start, content):
            raise InputError(f"{path} is {kind}")
    encoding = next((name for mark, name in _MARKS.items() if content.startswith(mark)), "utf-8-sig")
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise InputError(f"{path}: line {line} is not UTF-8 text; save the file as UTF-8") from error
    if _UNMARKED.match(text):
        raise InputError(f"{path} is UTF-16 without a byte order mark; save the file as UTF-8")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def json_decoder(path: Path, **numbers: Any) -> json.JSONDecoder:
    """A decoder that refuses a key that is twice in one object, since ids are keys in some files."""

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        content = dict(pairs)
        if len(content) < len(pairs):
            key = Counter(key for key, _ in pairs).most_common(1)[0][0]
            raise InputError(f"{path} has the key {name_id(key)} more than once in one object; keep each once")
        return content

    return json.JSONDecoder(object_pairs_hook=unique, **numbers)


def read_rows(
    path: Path, wanted: Sequence[str], what: str = "table", *, resolve: Resolve | None = None
) -> pd.DataFrame:
    """All columns of a table, values as they are; its index says where a row is from, and is called line or row.

    Args:
        path: of the file.
        wanted: names of columns by which its form is known; the first is that of ids.
        what: it is called in messages.
        resolve: finds these columns where they may have other names.

    Raises:
        InputError: it cannot be read, or its rows are not those of its header.
    """
    import pandas as pd

    resolve = resolve or (lambda header: {name: name for name in header if name in wanted})
    if not path.is_file():
        raise InputError(f"no {what} at '{path}'")
    with usable(f"{path} is not a readable {path.suffix} table; save it again"), limited(path):
        if path.suffix.lower() == ".parquet":
            table: pd.DataFrame = read_parquet(path).to_pandas(use_threads=False)
            table = table if isinstance(table.index, pd.RangeIndex) else table.reset_index()
            table.columns = table.columns.map(str)
        else:
            text = read_text(path, what)
            if text.lstrip()[:1] not in ("{", "["):
                return _delimited(text, path, resolve, wanted)
            rows, numbers = _json(text, path, resolve, wanted)
            table = pd.DataFrame(rows, dtype=object)
            if numbers:
                return table.set_axis(pd.Index(numbers, name="line"))
        return table.set_axis(pd.RangeIndex(1, len(table) + 1, name="row"))


def _delimited(text: str, path: Path, resolve: Resolve, wanted: Sequence[str]) -> pd.DataFrame:
    import pandas as pd

    def fit(sign: str) -> tuple[int, int]:
        names = [name.strip() for name in next(csv.reader([line], delimiter=sign), [])]
        return len(resolve(names)), len(names)

    def is_comment() -> bool:
        return line.startswith("#") and max(map(fit, SEPARATORS))[0] < len(wanted)

    stream, before, place, line = io.StringIO(text, newline=""), -1, 0, "\n"
    while line and (not line.strip() or line.startswith("sep=") or is_comment()):
        place, line, before = stream.tell(), stream.readline(), before + 1
    stream.seek(place)
    sign = max(SEPARATORS, key=fit)
    lines = csv.reader(stream, strict=True, delimiter=sign)
    rows: list[list[str]] = []
    numbers: list[int] = []
    number = before + 1
    try:
        header = [name.strip() for name in next(lines, [])]
        if len(header) > _COLUMNS:
            raise InputError(f"{path} has {len(header):,} columns; no more than {_COLUMNS:,} are read")
        ids = header.index(resolve(header).get(wanted[0], header[0])) if header else 0
        number = before + lines.line_num + 1
        for fields in lines:
            end = before + lines.line_num
            if len(fields) > len(header) and any(map(str.strip, fields[len(header) :])):
                raise InputError(
                    f"{path}: line {number} has more fields than the header, {len(fields)} for {len(header)}; put "
                    f"quotes around text with {name_id(sign)}"
                )
            if end > number and _takes_in_rows(fields, len(header), ids, sign):
                raise InputError(
                    f"{path}: line {number} opens a quote that takes in rows up to line {end}; leave it out or "
                    "double it, and write a caption on one line"
                )
            if any(map(str.strip, fields)):
                rows.append(fields[: len(header)] + [""] * (len(header) - len(fields)))
                numbers.append(number)
            number = end + 1
    except csv.Error as error:
        end = before + lines.line_num
        until = f", which goes on to line {end}" if end > number else ""
        raise csv.Error(f"line {number}{until}: {error} (quotes inside of quotes are doubled)") from error
    return pd.DataFrame(rows, pd.Index(numbers, name="line"), pd.Index(header), dtype="string")


def _takes_in_rows(fields: Sequence[str], columns: int, ids: int, sign: str) -> bool:
    """Whether the further lines of a field are rows by themselves, up to the quote that ends it."""
    fields = [*fields, *[""] * (columns - len(fields))]
    like = _ID if _ID.fullmatch(fields[ids].strip()) else _WORD
    for place, field in enumerate(fields):
        first, *more = field.split("\n")
        parts = [line.split(sign) for line in more if line.strip()]
        if not parts or len(parts[-1]) <= place or not all(len(row) >= columns for row in parts[:-1]):
            continue
        rows = [[*fields[:place], *first.split(sign)], *parts[:-1], [*parts[-1], *fields[place + 1 :]]]
        if all(len(row) > ids and like.fullmatch(row[ids].strip()) for row in rows):
            return True
    return False


def _json(text: str, path: Path, resolve: Resolve, wanted: Sequence[str]) -> tuple[list[Record], list[int]]:
    """The rows, and of JSON lines the line of each; numbers stay as they are written."""
    decoder = json_decoder(path, parse_int=str, parse_float=str, parse_constant=lambda _: None)

    def parsed(text: str, number: int = 1) -> Any:
        try:
            return decoder.decode(text)
        except json.JSONDecodeError as error:
            raise ValueError(f"line {number + error.lineno - 1}: {error.msg}") from error

    lines = [(number, line) for number, line in enumerate(text.split("\n"), 1) if line.strip()]
    try:
        json.loads(lines[0][1])
    except ValueError:
        lines = lines[:1]  # it is one document
    if len(lines) == 1:
        return _records(parsed(text), path, resolve, wanted), []
    rows = [parsed(line, number) for number, line in lines]
    if wrong := [number for row, (number, _) in zip(rows, lines) if not isinstance(row, dict)]:
        raise InputError(f"{path}: line {wrong[0]} is no object; write {{…}}, one a line")
    return rows, [number for number, _ in lines]


def _records(content: Any, path: Path, resolve: Resolve, wanted: Sequence[str]) -> list[Record]:
    """The rows of a JSON document."""
    import pandas as pd

    if isinstance(content, dict):
        if {"columns", "data"} <= content.keys():
            return [dict(zip(content["columns"], row, strict=True)) for row in content["data"]]
        found = resolve(content)
        if wanted[0] in found:  # a table by its columns, or one row
            by_columns = isinstance(content[found[wanted[0]]], dict | list)
            return [*pd.DataFrame(content, dtype=object).to_dict("records")] if by_columns else [content]
        tables = {key: rows for key, rows in content.items() if _is_table(rows)}
        key = next((key for key in ("sentences", "annotations") if key in tables), None)
        if key is None and len(tables) == 1 and wanted[0] in resolve(next(iter(tables.values()))[0]):
            (key,) = tables
        if key is not None:
            return _joined(tables[key], tables.get("videos", tables.get("images", ())))
        cells = [
            (name, each) for name, value in content.items() for each in (value if _is_table(value) else [value])
        ]
        return [{wanted[0]: name, **(row if isinstance(row, dict) else {wanted[-1]: row})} for name, row in cells]
    rows: list[Any] = [{wanted[0]: row} if isinstance(row, str) else row for row in content]
    if rows and not _is_table(rows):
        raise InputError(f"{path} is a list of something else than objects; write [{{…}}, …]")
    return rows


def _is_table(rows: Any) -> bool:
    return isinstance(rows, list) and bool(rows) and all(isinstance(row, dict) for row in rows)


def _joined(rows: Iterable[Record], videos: Iterable[Record]) -> list[Record]:
    """Sentences with what is said elsewhere of their videos (MSR-VTT: split) or images (COCO: file_name)."""
    of_id = {video.get("video_id", video.get("id")): video for video in videos}
    joined: list[Record] = []
    for row in rows:
        its = of_id.get(row.get("video_id", row.get("image_id")), {})
        split = {"split": its["split"]} if "split" in its else {}
        joined.append({**split, **row, **({"video_id": its["file_name"]} if "file_name" in its else {})})
    return joined
