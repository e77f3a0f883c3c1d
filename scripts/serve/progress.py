"""How far a library is read, as the page shows it while `mee open` reads it.

Messages of the process that reads are JSON objects with any of these keys, in the order of what happened:

    {"status": {...Status}, "files": [{...FileState}, ...], "dropped": ["a.mp4", ...]}
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, final

State = Literal["waiting", "copying", "reading", "done", "problem", "gone"]
# waiting: nothing of it is read; copying: it is still written; reading: searchable by what is read so far;
# done: all is read; problem: it cannot be read; gone: it is no longer in the folder, and hidden


@dataclass(frozen=True, kw_only=True)
class FileState:
    """One file of a library."""

    video: str  # path below the folder
    state: State
    streams: tuple[str, ...] = ()  # read so far; "first look": one frame of each clip
    why: str = ""  # of a problem
    advice: str = ""  # what to do about it


@dataclass(frozen=True, kw_only=True)
class Status:
    """The library as a whole."""

    step: str = "looking for videos"  # what is done now, in words
    share: float = 0.0  # of the work that is done, 0 to 1
    left_s: float | None = None  # estimate; None: not known
    clips: int = 0  # that can be searched for
    done: bool = False  # all is read, and the folder is followed
    problem: str = ""  # one sentence, such as of a drive that is not connected
    note: str = ""  # one sentence, such as of the preset that was chosen


@final
class Progress:
    """What is known now; `apply` messages in the event loop, read anywhere in it."""

    def __init__(self, folder: str) -> None:
        """folder: as the user named it."""
        self.folder, self.status = folder, Status()
        self.files: dict[str, FileState] = {}
        self.revision = 0  # grows with every message

    def apply(self, message: Mapping[str, Any]) -> None:
        """Take a message; raises TypeError where it is none."""
        for video in message.get("dropped", ()):
            self.files.pop(video, None)
        for each in message.get("files", ()):
            file = FileState(**each | {"streams": tuple(each.get("streams", ()))})
            self.files[file.video] = file
        if "status" in message:
            self.status = Status(**message["status"])
        self.revision += 1

    @property
    def counts(self) -> Counter[str]:
        """How many files are in each state."""
        return Counter(file.state for file in self.files.values())

    def found(self, name: str = "", state: str = "") -> list[FileState]:
        """Files whose name has these words, in any order and case; problems come first, then by name."""
        words = name.casefold().split()
        fit = (
            file
            for file in self.files.values()
            if state in ("", file.state) and all(word in file.video.casefold() for word in words)
        )
        return sorted(fit, key=lambda file: (file.state != "problem", file.video))
