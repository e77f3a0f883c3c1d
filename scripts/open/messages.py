"""What is said of a library that is read: to the page, of files that cannot be read, and of what can pass."""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Final, TextIO

from features.errors import InputError as FeaturesInputError
from mee.errors import InputError
from scripts.serve import FileState, Status

SENT_S, SENT_FILES = 0.5, 5000  # least time between messages; files of one
ROOM = 64 << 20  # bytes; less is a full disk
FULL, LOCKED = (errno.ENOSPC, errno.EDQUOT), (errno.EACCES, errno.EPERM, errno.EROFS)
ADVICE: Final = (  # part of a reason -> what to do
    ("no permission", "allow yourself to read it, and open the folder again"),
    ("encrypted|join it", ""),  # the reason says it
    ("cut short|damaged|0 bytes|it changed", "copy or download it again; it is read when it changes"),
    ("no result within|of memory", "cut it into shorter parts, or convert it to smaller pictures"),
    ("too large|too long", "cut it into shorter parts, or convert it to smaller pictures"),
    ("neither pictures nor sound|known media format|not a gif", "nothing can be found in it; move it elsewhere"),
    ("", "if it can be played, convert it, such as with: ffmpeg -i FILE NEW.mp4"),
)


def reason_and_advice(note: str) -> tuple[str, str]:
    """Why a file cannot be read, of the note of a job, and what to do about it."""
    why = re.sub(r" \(--[a-z-]+\)", "", note)
    return why, next(advice for part, advice in ADVICE if re.search(part, why))


class Away(Exception):
    """The folder cannot be read just now."""


@dataclass
class Messages:
    """Says what has changed since the last message."""

    out: TextIO
    files: dict[str, FileState] = field(default_factory=dict)
    status: Status = field(default_factory=Status)
    _changed: dict[str, FileState] = field(default_factory=dict)
    _dropped: list[str] = field(default_factory=list)
    _sent: Status | None = None
    _last: float = -SENT_S

    def show(self, file: FileState) -> None:
        """Say how a file is."""
        if self.files.get(file.video) != file:
            self.files[file.video] = self._changed[file.video] = file

    def drop(self, video: str) -> None:
        """Say that it is none of the library's."""
        if self.files.pop(video, None) is not None:
            self._changed.pop(video, None)
            self._dropped.append(video)

    def send(self, *, now: bool = False, **status: Any) -> None:
        """Send what is to be said, `now` or when the last message is long enough ago."""
        self.status = replace(self.status, **status)
        if not now and time.monotonic() < self._last + SENT_S:
            return
        while self._changed or self._dropped or self.status != self._sent:
            some = [self._changed.pop(video) for video in [*self._changed][:SENT_FILES]]
            said = {"dropped": self._dropped, "files": list(map(asdict, some))}
            said = {name: its for name, its in said.items() if its} | {"status": asdict(self.status)}
            print(json.dumps(said), file=self.out, flush=True)
            self._dropped, self._sent, self._last = [], self.status, time.monotonic()


def causes(error: BaseException | None) -> Iterator[BaseException]:
    """An error, and what it came from."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def passing(error: Exception, directory: Path) -> str:
    """One sentence on what may be better later, where nothing else is wrong; `directory`: that is written to."""
    codes = [each.errno for each in causes(error) if isinstance(each, OSError)]
    free = shutil.disk_usage(directory).free if directory.is_dir() else ROOM
    told = " ".join(map(str, causes(error)))  # some libraries raise errors of their own
    if free < ROOM or any(code in codes or os.strerror(code) in told for code in FULL):
        return f"The disk is full: make room on that of '{directory}', and it goes on by itself."
    if any(code in LOCKED for code in codes) or not directory.is_dir():
        return f"'{directory}' cannot be written to; allow it, and it goes on by itself."
    return str(error) if isinstance(error, Away | InputError | FeaturesInputError) else ""
