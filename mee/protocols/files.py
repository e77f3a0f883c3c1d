"""What annotation files hold, whatever the data set: JSON, lists of ids, tables. All of it is UTF-8.

list of ids   one a line, or a csv with a column video_id
csv           a header, commas, quotes as spreadsheets write them
tab rows      no header, fields between tabs, quotes are letters like others

AnnotationFiles: where the files of a protocol lie.

A directory is searched under the usual names, in itself and in the sub-folders that data sets are shipped with;
or the path is one file that suffices by itself.

How a message names ids that come from files, on one line and no more than three; and how it counts.
"""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, final

from mee.errors import InputError
from mee.protocols.protocol import Protocol

_SHOWN, _LENGTH = 3, 80


def name_id(name: str) -> str:
    """'a': cut where it is long, without line breaks or what else no terminal should see."""
    text = "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in name[:_LENGTH])
    return f"'{text}{'…' if len(name) > _LENGTH else ''}'"


def count(number: int, noun: str) -> str:
    """1 video, 2 videos."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def name_ids(ids: Sequence[str]) -> str:
    """'a', 'b', 'c' and 1,987 more."""
    shown = ", ".join(map(name_id, ids[:_SHOWN]))
    return f"{shown} and {len(ids) - _SHOWN:,} more" if len(ids) > _SHOWN else shown


Kind = TypeVar("Kind", str, list[Any], dict[str, Any])
_CALLED: dict[type, str] = {str: "text", list: "list", dict: "object"}


def read_json(path: Path) -> Any:
    """The content of a JSON file.

    Raises:
        InputError: it cannot be read, is no JSON, or an object has a key twice (ids are keys in some files).
    """
    try:
        return json.loads(_read_text(path), object_pairs_hook=lambda pairs: _unique(path, pairs))
    except InputError:
        raise
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is not readable JSON ({_one_line(error)}); fetch the file again") from error


def read_ids(path: Path) -> tuple[str, ...]:
    """The ids of a list, in its order.

    Raises:
        InputError: it cannot be read, is empty, has no column video_id (csv), or names an id twice.
    """
    if path.suffix.lower() == ".csv":
        ids = [row["video_id"] for row in read_csv(path, ("video_id",))]
    else:
        ids = [line.strip() for line in _read_text(path).split("\n")]
        ids = [line for line in ids if line]
    if not ids:
        raise InputError(f"{path} names no video; it should list one id a line")
    twice = [name for name, times in Counter(ids).items() if times > 1]
    if twice:
        raise InputError(
            f"{path} names {len(twice):,} ids more than once, {name_id(twice[0])} among them; keep each once"
        )
    return tuple(ids)


def read_csv(path: Path, columns: Sequence[str]) -> list[dict[str, str]]:
    """The rows of a csv, values without outer white space.

    Raises:
        InputError: it cannot be read, lacks one of the columns, has no rows, or a row of another length.
    """
    lines = csv.reader(io.StringIO(_read_text(path), newline=""), strict=True)
    rows = []
    try:
        header = [name.strip() for name in next(lines, [])]
        for column in columns:
            if column not in header:
                found = ", ".join(map(name_id, header)) or "nothing"
                raise InputError(f"{path} has no column '{column}'; it has {found}")
        for values in lines:
            if not values:
                continue
            if len(values) != len(header):
                raise InputError(
                    f"{path}: line {lines.line_num} has {len(values)} fields and the header {len(header)}; quote "
                    "text with commas"
                )
            rows.append({name: value.strip() for name, value in zip(header, values)})
    except csv.Error as error:
        raise InputError(f"{path}: line {lines.line_num} is no csv ({error}); fetch the file again") from error
    if not rows:
        raise InputError(f"{path} has a header and no rows; fetch the file again")
    for number, row in enumerate(rows, 1):
        for column in columns:
            if not row[column]:
                raise InputError(f"{path}: row {number} has nothing in column '{column}'; fetch the file again")
    return rows


def read_tab_rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    """The number and the fields of each line that is not blank.

    Raises:
        InputError: it cannot be read.
    """
    for number, line in enumerate(_read_text(path).split("\n"), 1):
        if line.strip():
            yield number, line.rstrip("\r").split("\t")


def entry(record: Any, key: str, kind: type[Kind], place: str) -> Kind:
    """A value of a JSON object.

    Args:
        record: what should be the object.
        key: of the value.
        kind: what the value must be.
        place: where it stands, for the message.

    Raises:
        InputError: there is no such value, or one of another kind.
    """
    value = record.get(key) if isinstance(record, dict) else None
    if isinstance(value, kind):
        return value
    raise InputError(f"{place} has no {_CALLED[kind]} '{key}'; fetch the file again")


def identifier(record: Any, key: str, place: str) -> str:
    """An id of a JSON object, which may be text or a whole number.

    Raises:
        InputError: there is none.
    """
    value = record.get(key) if isinstance(record, dict) else None
    if isinstance(value, str) and value.strip():
        return value.strip()
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    raise InputError(f"{place} has no id '{key}'; fetch the file again")


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not UTF-8 text ({_one_line(error)}); save it as UTF-8") from error
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from error


def _unique(path: Path, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) < len(pairs):
        key = Counter(key for key, _ in pairs).most_common(1)[0][0]
        raise InputError(f"{path} has the key {name_id(key)} more than once in one object; keep each once")
    return content


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())


_FOLDERS = ("", "annotation", "annotations", "captions", "metadata", "raw_data", "data")


@final
@dataclass(frozen=True)
class AnnotationFiles:
    """The files of one protocol."""

    path: Path
    protocol: Protocol
    folders: tuple[str, ...] = ()  # sub-folders of this family of data sets

    def __post_init__(self) -> None:
        if not self.path.exists():
            raise InputError(
                f"there is no '{self.path}'; {self.protocol.name} is read from a directory with "
                f"{self.protocol.files}"
            )

    def find(self, *names: str, alone: bool = False) -> Path | None:
        """A file under one of its usual names.

        Args:
            names: what it may be called, the likeliest first; `*` stands for anything.
            alone: it suffices by itself, so a path to one file means this one.

        Raises:
            InputError: a directory has several of them.
        """
        if self.path.is_file():
            fits = alone and self.path.suffix.lower() in {Path(name).suffix for name in names}
            return self.path if fits else None
        for folder in (_FOLDERS + self.folders) if self.path.is_dir() else ():
            for name in names:
                found = sorted(file for file in (self.path / folder).glob(name) if file.is_file())
                if len(found) > 1:
                    raise InputError(
                        f"{found[0].parent} has both {found[0].name} and {found[1].name}, and "
                        f"{self.protocol.name} wants one of them; keep one there"
                    )
                if found:
                    return found[0]
        return None

    def need(self, *names: str, alone: bool = False) -> Path:
        """The same, of a file that there must be.

        Raises:
            InputError: there is none, or there are several.
        """
        found = self.find(*names, alone=alone)
        if found is not None:
            return found
        if self.path.is_file():
            raise InputError(
                f"'{self.path}' alone is not enough for {self.protocol.name}; name a directory with "
                f"{self.protocol.files}"
            )
        raise InputError(
            f"{self.path} has no {' or '.join(names)}; {self.protocol.name} is read from a directory with "
            f"{self.protocol.files}"
        )
