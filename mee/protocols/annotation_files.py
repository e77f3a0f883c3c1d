"""AnnotationFiles: where the files of a protocol lie.

A directory is searched under the usual names, in itself and in the sub-folders that data sets are shipped with;
or the path is one file that suffices by itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import final

from mee.errors import InputError
from mee.protocols.protocol import Protocol

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
