"""What is kept of a folder that `mee open` reads: in the user's cache directory, and nothing in the folder.

    ~/.cache/mee/libraries/NAME-HASH/  of the folder: its name, and 12 digits of the SHA-256 of its real path
      library.json                     {"format", "folder", "preset", "opened", "read_with"}; opened: unix time;
                                       preset: as it was asked for, read_with: as it was chosen
      lock                             held while `mee open`, or the process that reads for it, runs
      address.json                     {"pid", "address"} of the page, while there is one
      conductor.log                    what the process that reads wrote to stderr
      first/ store/ model/ index/      first looks, and what mee precompute, mee model and mee index make
    .forgotten-NAME-HASH/              is being deleted

The lock is one of the system (flock) and not of filelock, because a child has to hold it, too: after a kill of
`mee open` the next one waits until its child has ended.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Self, final

from features.playback import default_folder
from mee.errors import InputError
from mee.files import check_folder, read_json, regular_size, whole_file

FORMAT = 1
DIGITS, LETTERS = 12, 40  # of the hash, of the name
FORGOTTEN = ".forgotten-"
LOCK = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK


def libraries_folder() -> Path:
    """Where all libraries are kept."""
    return default_folder().with_name("libraries")


@final
class LibraryState:
    """What is kept of one folder."""

    def __init__(self, directory: Path) -> None:
        """directory: of the library."""
        self.directory, self.log = directory, directory / "conductor.log"
        self.first, self.store, self.model, self.index = (
            directory / name for name in ("first", "store", "model", "index")
        )

    @classmethod
    def of(cls, folder: Path) -> Self:
        """That of a folder, by its real path, whether or not it exists."""
        real = Path(os.path.realpath(folder))
        name = re.sub(r"[^\w.]+", "-", real.name).strip("-.")[:LETTERS] or "videos"
        return cls(libraries_folder() / f"{name}-{hashlib.sha256(os.fsencode(real)).hexdigest()[:DIGITS]}")

    def record(self) -> dict[str, Any]:
        """What library.json says; {} where there is none.

        Raises:
            InputError: it cannot be used.
        """
        try:
            record = read_json(self.directory / "library.json")
        except FileNotFoundError:
            return {}
        if not isinstance(record, dict) or record.get("format") != FORMAT:
            again = f"mee library forget {self.directory.name}"
            raise InputError(f"'{self.directory}' is of another version of MEE; make it again: {again}")
        return record

    def write(self, **facts: Any) -> None:
        """Change some of what library.json says."""
        self._write("library.json", {**self.record(), "format": FORMAT, **facts})

    def _write(self, name: str, content: Mapping[str, Any]) -> None:
        with whole_file(self.directory / name, "facts of a library") as aside:
            aside.touch(0o600)
            aside.write_text(json.dumps(content) + "\n", encoding="utf-8")

    @contextmanager
    def locked(self) -> Iterator[int | None]:
        """Hold the lock, and make the directory: a handle that a child may keep; None where another holds it."""
        libraries_folder().mkdir(mode=0o700, parents=True, exist_ok=True)
        check_folder(self.directory)
        self.directory.mkdir(mode=0o700, exist_ok=True)
        with suppress(FileNotFoundError):
            regular_size(self.directory / "lock")
        handle = os.open(self.directory / "lock", LOCK, 0o600)
        try:
            held = False
            with suppress(BlockingIOError):
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                held = os.fstat(handle).st_nlink == 1  # else it was forgotten just now
            yield handle if held else None
        finally:
            os.close(handle)

    def publish(self, address: str | None) -> None:
        """Let others find the page; None: there is none any more."""
        if address is None:
            (self.directory / "address.json").unlink(missing_ok=True)
        else:
            self._write("address.json", {"pid": os.getpid(), "address": address})

    def address(self) -> str | None:
        """Of the page; None where there is none, or its process is gone."""
        with suppress(OSError, ValueError, LookupError, TypeError):
            content = read_json(self.directory / "address.json")
            with suppress(PermissionError):
                os.kill(int(content["pid"]), 0)
            return str(content["address"])
        return None

    def forget(self) -> bool:
        """Delete it all; False where it is open."""
        with self.locked() as handle:
            if handle is None:
                return False
            aside = self.directory.with_name(f"{FORGOTTEN}{self.directory.name}")
            shutil.rmtree(aside, ignore_errors=True)
            self.directory.rename(aside)  # who opens the folder meanwhile begins anew
        shutil.rmtree(aside)
        return True


def all_libraries() -> list[LibraryState]:
    """All that are kept, by name; what a killed process has not deleted wholly is deleted."""
    found = []
    with suppress(FileNotFoundError):
        found = sorted(each for each in libraries_folder().iterdir() if each.is_dir() and not each.is_symlink())
    for path in found:
        if path.name.startswith(FORGOTTEN):
            shutil.rmtree(path, ignore_errors=True)
    return [LibraryState(path) for path in found if not path.name.startswith(FORGOTTEN)]


def size_of(folder: Path) -> int:
    """Bytes of the files below a folder; links are not followed."""
    total = 0
    for place, _, names in os.walk(folder):
        for name in names:
            with suppress(OSError):
                total += os.lstat(os.path.join(place, name)).st_size
    return total
