"""Follow a folder: which of its files are whole, which are still written, and when that changes.

A file counts when its size and time of change have rested. Events come from watchfiles, where it is installed and
can watch the folder; network drives send none, so that the folder is listed now and then in any case.
"""

from __future__ import annotations

import logging
import math
import os
import sys
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from threading import Event, Thread
from time import monotonic, sleep, time
from typing import final

from features.media import Library, Selection, Stamp, list_media, stamp_of

log = logging.getLogger(__name__)
TICK_S = 0.2  # how often one who waits looks
REST = 10  # after events the folder is listed again this many times as long later as it takes
NOT_READ: dict[type[OSError], str] = {
    FileNotFoundError: "is not there; connect its drive, or put it back",
    PermissionError: "may not be read; give yourself the permission to read and enter it",
}
GOES_ON = "and it goes on by itself."
Rest = tuple[Stamp | None, float]  # of a file, and since when it has it


@dataclass(frozen=True)
class Seen:
    """What there is in a folder."""

    library: Library  # files that can be read
    copying: tuple[str, ...] = ()  # files that are still written
    problem: str = ""  # one sentence; the library is empty then, and nothing is known of its files

    def is_gone(self, video: str) -> bool:
        """Whether a file that was there has been removed; where that cannot be known, it has not."""
        hidden = any(video.startswith(f"{folder}/") for folder in self.library.unreadable)
        return not (self.problem or hidden or video in self._there)

    @cached_property
    def _there(self) -> frozenset[str]:
        return frozenset((*self.library.videos, *self.copying))


@final
class Follower:
    """A context manager, which ends its thread; to be called from one thread.

    settle_s: seconds that a file must have rested. scan_s: seconds until it is listed without an event.
    """

    def __init__(self, root: Path, selection: Selection, *, settle_s: float = 5.0, scan_s: float = 60.0) -> None:
        self.root, self.selection, self.settle_s, self.scan_s = root, selection, settle_s, scan_s
        self._shown = self._seen = Seen(Library(root, (), Counter()))  # what look returned; what was found since
        self._rests: dict[str, Rest] = {}
        self._first, self._place = True, _place(root)
        self._watched: object = None
        self._scanned, self._took, self._settles, self._retry = -math.inf, 0.0, math.inf, -math.inf
        self._due, self._stop, self._thread = Event(), Event(), Thread()

    def __enter__(self) -> Follower:
        return self

    def __exit__(self, *_: object) -> None:
        self._follow(())

    def look(self) -> Seen:
        """List the folder now.

        Files that are new or have changed are `copying` until they have been seen to rest. At the first look their
        time of change tells; later it does not, since a copy has that of the original.
        """
        self._seen = self._shown = self._scan()
        return self._shown

    def changed(self) -> bool:
        """Whether `look` would show something else than the last time; cheap, to be called every second."""
        if self._seen is self._shown:
            past = (now := monotonic()) - self._scanned
            called = past >= REST * self._took and (self._due.is_set() or now >= self._settles)
            if called or past >= self.scan_s or _place(self.root) != self._place:
                seen = self._scan()
                self._seen = self._shown if seen == self._shown else seen
        return self._seen is not self._shown

    def wait(self, seconds: float) -> None:
        """Wait for so long, or until something has changed."""
        end = monotonic() + seconds
        while not self.changed() and (left := end - monotonic()) > 0:
            sleep(min(left, TICK_S))

    def _scan(self) -> Seen:
        self._due.clear()
        self._scanned, self._place = monotonic(), _place(self.root)
        library, problem = self._list()
        self._follow(library.folders)
        self._settles = math.inf
        if problem:
            return Seen(replace(library, videos=()), problem=problem)
        before, now = self._rests, monotonic()
        rests = {video: self._rest(video) for video in library.videos}
        copying = tuple(video for video, (_, since) in rests.items() if now - since < self.settle_s)
        seen = Seen(replace(library, videos=tuple(sorted(set(library.videos).difference(copying)))), copying)
        self._rests = {video: rest for video, rest in before.items() if not seen.is_gone(video)} | rests
        self._settles = min((rests[video][1] + self.settle_s for video in copying), default=math.inf)
        self._took, self._first = monotonic() - self._scanned, False
        return seen

    def _list(self) -> tuple[Library, str]:
        """The media files, and the problem where there are none."""
        library, where = Library(self.root, (), Counter()), f"'{self.root}'"
        try:
            os.scandir(os.path.join(self.root, ".")).close()  # it is a folder, and may be listed and entered
            library = list_media(self.root, self.selection)
            if "." in library.unreadable:
                raise OSError(0, "it went away")
        except NotADirectoryError:
            return library, f"{where} is a file; name the folder that it is in."
        except OSError as error:
            reason = f"cannot be read ({error.strerror}); check its drive"
            return library, f"The folder {where} {NOT_READ.get(type(error), reason)}, {GOES_ON}"
        if library.videos:
            return library, ""
        known = sum(self._scanned - since >= self.settle_s for _, since in self._rests.values())
        if known and not library.unreadable:
            return library, f"All videos in {where} have vanished ({known}); is its drive connected?"
        self._first = False
        found = f"only {library.others}" if library.others else "it is empty"
        return library, f"There are no videos in {where} ({found}); put some there, {GOES_ON}"

    def _rest(self, video: str) -> Rest:
        stamp, now = stamp_of(self.root / video), monotonic()
        if (before := self._rests.get(video)) and stamp in (before[0], None):  # None: a link's target is away
            return before
        age = time() - (stamp.mtime or 0) if self._first and stamp else 0.0
        return stamp, -math.inf if age >= self.settle_s else now

    def _follow(self, folders: tuple[str, ...]) -> None:
        """Watch these folders, and no links in them, which may lead anywhere."""
        real = os.path.realpath(self.root)
        paths = {os.path.normpath(os.path.join(real, folder)) for folder in folders}
        paths = {path for path in paths if path == path.encode(errors="ignore").decode()}  # else none is watched
        watched = (paths, self._place)
        if (watched == self._watched and self._thread.is_alive()) or (paths and monotonic() < self._retry):
            return
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(2)  # a thread in foreign code must not outlive the interpreter
        self._watched, self._stop = watched, Event()
        if paths:
            self._thread = Thread(target=self._watch, args=(real, paths, self._stop), daemon=True)
            self._thread.start()

    def _watch(self, root: str, folders: set[str], stop: Event) -> None:
        """Notice events until there are other folders."""

        def matters(path: str) -> bool:
            return path in folders or os.path.isdir(path)

        try:
            from watchfiles import watch

            linux = sys.platform == "linux"  # other systems watch whole trees, and enter no links
            events = watch(
                *(folders if linux else [root]),
                recursive=not linux,
                watch_filter=lambda _, path: matters(path) or not self.selection.other_kind(Path(path)),
                stop_event=stop,
                force_polling=False,  # it would list the folder three times a second
                step=100,
                rust_timeout=500,
                yield_on_timeout=True,
            )
            for number, changes in enumerate(events):
                if changes or number == 0:  # at first: for what came before the watch
                    self._due.set()
                if any(matters(path) for _, path in changes):
                    return
        except BaseException as error:  # panics of foreign code are no Exception
            if self._retry == -math.inf:
                log.warning("'%s' is listed every %g s; it cannot be watched: %s", self.root, self.scan_s, error)
            self._retry = self._scanned + self.scan_s


def _place(root: Path) -> tuple[int, ...] | None:
    """What tells that another folder is there, such as the empty one below a drive, or other permissions."""
    with suppress(OSError):
        status = root.stat()
        return status.st_dev, status.st_ino, status.st_mode
    return None
