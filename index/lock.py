"""Who writes an index: one process at a time, which holds a lock on the file `lock`; its number stands in it.

The system lets go of the lock when the process ends, however it ends; the file stays.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from typing import final

from index.manifest import LOCK
from mee.errors import InputError


@final
class Lock:
    """Held from its making to its release."""

    def __init__(self, directory: Path) -> None:
        """Take it.

        Raises:
            InputError: another writer holds it.
        """
        path = directory / LOCK
        self._file = path.open("a+b")
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            self._file.seek(0)
            holder = self._file.read(32).decode(errors="replace").strip()
            self._file.close()
            who = f"process {holder}" if holder.isdecimal() else "another process"
            what = f"{who} is writing the index at '{directory}'; wait until it is done, or stop it"
            raise InputError(what) from error
        self._file.truncate(0)
        self._file.write(f"{os.getpid()}\n".encode())
        self._file.flush()

    def release(self) -> None:
        """Let others write."""
        self._file.close()
