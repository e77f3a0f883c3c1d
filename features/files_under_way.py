"""Files of which some clips are done: the clips of each gather until all of them are there."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import final

from features.record import ClipRecord
from features.worker import FileEnd, FileTask


@final
@dataclass
class _File:
    """What is known of one file."""

    records: dict[str, ClipRecord | None] = field(default_factory=dict)  # in order of time; None: expected
    done: int = 0  # of these, complete
    end: FileEnd | None = None


@final
class FilesUnderWay:
    """A file leaves when it is whole, or when it is given up."""

    def __init__(self) -> None:
        self._files: dict[FileTask, _File] = {}

    def __contains__(self, task: FileTask) -> bool:
        """Whether some clips of the file are there, and it is not whole."""
        return task in self._files

    def ended(self, task: FileTask) -> bool:
        """Whether all clips of a file are known."""
        return task in self._files and self._files[task].end is not None

    def expect(self, task: FileTask, clip_id: str) -> None:
        """A clip of the file exists; its record will follow."""
        self._files.setdefault(task, _File()).records[clip_id] = None

    def add(self, task: FileTask, record: ClipRecord) -> Iterator[list[ClipRecord]]:
        """A clip that was expected is complete; gives the file's records where that makes it whole."""
        file = self._files[task]
        file.records[record.clip_id] = record
        file.done += 1
        yield from self._whole(task, file)

    def end(self, task: FileTask, end: FileEnd) -> Iterator[list[ClipRecord]]:
        """No more clips are to be expected; gives the file's records where it is whole."""
        file = self._files[task]
        file.end = end
        yield from self._whole(task, file)

    def give_up(self, task: FileTask) -> None:
        """Forget a file."""
        self._files.pop(task, None)

    def _whole(self, task: FileTask, file: _File) -> Iterator[list[ClipRecord]]:
        """All records of a file in order of time, once they are complete; it leaves."""
        if file.end is not None and file.done == file.end.clips:
            del self._files[task]
            sha256 = file.end.sha256
            yield [
                replace(record, clips_of_video=file.done, file_sha256=sha256)
                for record in file.records.values()
                if record is not None
            ]
