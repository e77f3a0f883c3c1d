"""What annotation files hold, whatever the data set, and where they are found.

JSON        no key twice in an object, since ids are keys in some files
tab rows    no header, fields between tabs, quotes are letters like others
ids, csv    as people write them too: mee.data.tables

A directory is searched under the usual names, in itself and in the sub-folders that data sets are shipped with; or
the path is one file that suffices by itself.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar, final

from mee.data import SPLITS, parse_json, read_names, read_text
from mee.errors import InputError, name_id, usable
from mee.files import limited
from mee.protocols.protocol import Protocol

Kind = TypeVar("Kind", str, list[Any], dict[str, Any])
_CALLED: dict[type, str] = {str: "text", list: "list", dict: "object"}
_FOLDERS = ("", "annotation", "annotations", "captions", "metadata", "raw_data", "data")


def read_json(path: Path) -> Any:
    """The content of a JSON file."""
    with usable(f"{path} is not readable JSON; fetch the file again"), limited(path):
        return parse_json(read_text(path), path)


def read_ids(path: Path) -> tuple[str, ...]:
    """The ids of a list, in its order, each of which it may name once."""
    ids = read_names(path)
    if twice := [name for name, times in Counter(ids).items() if times > 1]:
        raise InputError(
            f"{path} names {len(twice):,} ids more than once, {name_id(twice[0])} among them; keep each once"
        )
    return tuple(ids)


def read_tab_rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    """The number and the fields of each line that is not blank."""
    for number, line in enumerate(read_text(path).split("\n"), 1):
        if line.strip():
            yield number, line.rstrip("\r").split("\t")


def entry(record: Any, key: str, kind: type[Kind], place: str) -> Kind:
    """The value of a JSON object under a key, which must be of this kind; ``place``: where, for the message."""
    value = record.get(key) if isinstance(record, dict) else None
    if isinstance(value, kind):
        return value
    raise InputError(f"{place} has no {_CALLED[kind]} '{key}'; fetch the file again")


def identifier(record: Any, key: str, place: str) -> str:
    """An id of a JSON object, which may be text or a whole number."""
    value = record.get(key) if isinstance(record, dict) else None
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if isinstance(value, str) and value.strip():
        return value.strip()
    raise InputError(f"{place} has no id '{key}'; fetch the file again")


@final
@dataclass(frozen=True)
class AnnotationFiles:
    """The files of one protocol, and which of them were read."""

    path: Path
    protocol: Protocol
    folders: tuple[str, ...] = ()  # sub-folders of this family of data sets
    read: dict[str, Path] = field(default_factory=dict)  # role -> file

    def __post_init__(self) -> None:
        if not self.path.exists():
            raise InputError(f"there is no '{self.path}'; {self._wanted}")

    def find(self, *names: str, role: str = "", alone: bool = False) -> Path | None:
        """A file under one of its usual names, the likeliest first; a directory may not have several.

        `role`: under which it is recorded as read, if at all; `alone`: a path to one file means this one.
        """
        path = self._find(names, alone)
        if path is not None and role:
            self.read[role] = path
        return path

    def need(self, *names: str, role: str = "", alone: bool = False) -> Path:
        """The same, of a file that there must be."""
        if found := self.find(*names, role=role, alone=alone):
            return found
        if self.path.is_file():
            raise InputError(f"'{self.path}' alone is not enough: {self._wanted}")
        raise InputError(f"{self.path} has no {' or '.join(names)}; {self._wanted}")

    def read_lists(self, *names: str) -> dict[str, tuple[str, ...]]:
        """Split -> the ids that a list of it names, where there is one; in names, {} is the split."""
        found = {s: self.find(*(name.format(s) for name in names), role=f"{s} list") for s in SPLITS}
        return {split: read_ids(path) for split, path in found.items() if path is not None}

    def _find(self, names: tuple[str, ...], alone: bool) -> Path | None:
        if self.path.is_file():
            fits = alone and self.path.suffix.lower() in {Path(name).suffix for name in names}
            return self.path if fits else None
        for folder in _FOLDERS + self.folders:
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

    @property
    def _wanted(self) -> str:
        return f"{self.protocol.name} is read from a directory with {self.protocol.files}"
