"""The locks of a store: which jobs write into it, and what each is doing.

    .store.json.lock         held briefly: while store.json or a list of checksums changes, and while a writer
                             starts or ends
    writers/<writer>.lock    held while a job runs; the system releases it when its process ends
    writers/<writer>.json    what that job makes: {"streams": names, "videos": 16 digits each, "run": id}

Jobs that make different streams, or streams of different videos, fill one store together. Of two that would make
the same, the second is refused, unless both are parts of one run on a cluster: then the first was on a node that
the cluster has lost. If that node lives on, unseen, clips are written twice, which is the same as once.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Collection
from pathlib import Path
from typing import NamedTuple

from filelock import FileLock, Timeout

from features.errors import InputError
from features.files import read_json, regular_size, write_whole
from features.store.layout import STORE_FILE, WRITERS, is_name

DIGITS = 16  # of a video's hash
MOST_BYTES = 64 << 20  # of a file of what a job makes: four million videos


class Work(NamedTuple):
    """What a job is going to write: these streams of these videos."""

    streams: Collection[str]
    videos: Collection[str]
    run: str = ""  # of a part of a run on a cluster, its id: it takes over what a lost part of it did

    def note(self, path: Path) -> None:
        """Write it for other jobs to read."""
        content = {"streams": sorted(self.streams), "videos": "".join(map(_digits, self.videos)), "run": self.run}
        write_whole(path, json.dumps(content).encode())

    def shared(self, path: Path) -> tuple[str, str] | None:
        """A stream and a video that another job's file names too."""
        try:
            content = read_json(path, MOST_BYTES)
            streams, digits = set(content["streams"]) & set(self.streams), str(content["videos"])
            if self.run and content.get("run") == self.run:  # a lost node may seem to hold its locks for minutes
                return None
        except (OSError, ValueError, LookupError, TypeError):  # no file: that job has not said what it does
            return None
        theirs = {digits[place : place + DIGITS] for place in range(0, len(digits), DIGITS)}
        both = ((min(streams), video) for video in self.videos if _digits(video) in theirs)
        return next(both, None) if streams else None

    def refuse_same(self, directory: Path) -> None:
        """Refuse work on a video and stream that a running job does too. Call it with the store's lock held."""
        for name, runs in find_writers(directory).items():
            note = directory / WRITERS / f"{name}.json"
            if runs and (shared := self.shared(note)) is not None:
                place, _, process = name.rpartition("-")[0].rpartition("-")
                since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(note.stat().st_mtime))
                raise InputError(
                    f"{directory} is being filled by another job (process {process} on {place}, since {since}) "
                    f"that makes the same: '{shared[0]}' of '{shared[1]}', for one. Wait until it has ended, and "
                    "run this again; jobs of other streams or other videos (--shard) may fill the store meanwhile"
                )

    def refuse_running(self, directory: Path) -> None:
        """The same for jobs that take long before they `declare` what they write."""
        with store_lock(directory):
            self.refuse_same(directory)


def _digits(video: str) -> str:
    return hashlib.sha256(video.encode("utf-8", "surrogateescape")).hexdigest()[:DIGITS]


def open_lock(path: Path, timeout: float = -1) -> FileLock:
    """A lock, to be acquired within so many seconds (below 0: whenever); no link or pipe may be in its place."""
    if os.path.lexists(path):
        regular_size(path)
    return FileLock(path, timeout=timeout)


def store_lock(directory: Path) -> FileLock:
    """Held briefly: while store.json or a list of checksums changes, and while a writer starts or ends."""
    return open_lock(directory / f".{STORE_FILE}.lock")


def find_writers(directory: Path) -> dict[str, bool]:
    """Writers that have not released their locks -> whether they run. Call it with the store's lock held."""
    found = {}
    for path in sorted((directory / WRITERS).glob("*.lock")):
        if is_name(path.stem):
            try:
                with open_lock(path, 0):
                    found[path.stem] = False
            except Timeout:
                found[path.stem] = True
    return found
