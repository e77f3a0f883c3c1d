"""What has happened to the files of a library since the store saw them.

same size and time of change    nothing: the file is not read
another time, same content      touched: the time is recorded
another content                 changed: extracted again
a content of another name       moved, or copied: the streams of that name are taken over
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field

from features.media import Library, Selection, Stamp, stamp_of
from features.store import FeatureStore, are_failures, gone_from

OnFile = Callable[[int, int], None]


@dataclass
class Changes:
    """By name of the file as it is now."""

    changed: set[str] = field(default_factory=set)
    touched: dict[str, float] = field(default_factory=dict)  # its new time of change
    taken: dict[str, tuple[str, float]] = field(default_factory=dict)  # the store's name of it, and time of change
    moved: list[tuple[str, str]] = field(
        default_factory=list
    )  # of these, from a file that is gone, to the new name

    def source(self, video: str) -> str | None:
        """The video of the store that has the streams of a file; None where no video has."""
        return None if video in self.changed else self.taken.get(video, (video,))[0]


def find_changes(library: Library, store: FeatureStore, on_file: OnFile) -> Changes:
    """Compare a library with a store by size and time of change; where that leaves a doubt, by content.

    ``on_file``: called after each file that was read for its content, with how many are done, and of how many.
    """
    found, good = Changes(), set(store.rows["video"][~are_failures(store.rows)])
    rows = store.files.astype(object).where(store.files.notna(), None)  # an import knows no time
    known = {video: (Stamp(size, mtime), digest) for video, size, digest, mtime in rows.itertuples()}
    contents: dict[str, list[str]] = {}  # digest -> videos
    for video, (stamp, digest) in known.items():
        if video in good and stamp.bytes and digest:
            contents.setdefault(digest, []).append(video)
    sizes = {known[video][0].bytes for videos in contents.values() for video in videos}
    doubts: dict[str, Stamp] = {}
    unknown = Stamp(-1, 0.0), None
    for video in library.videos:
        now, before = stamp_of(library.root / video), known.get(video, unknown)[0]
        if now is None or before.bytes == 0 or (before.bytes == now.bytes and before.mtime in (None, now.mtime)):
            continue
        if now.bytes in sizes:
            doubts[video] = now
        elif video in known:
            found.changed.add(video)
    here = set(library.videos)
    for number, (video, now) in enumerate(doubts.items(), 1):
        digest, (before, content) = _digest(library, video), known.get(video, unknown)
        if digest is None and before.bytes == now.bytes:
            pass  # it cannot be read now
        elif digest is not None and digest == content:
            if video in good:  # else it is extracted again in any case
                found.touched[video] = now.mtime
        elif digest in contents:
            names = contents[digest]
            gone = [] if here.issuperset(names) else gone_from([library.root], names, Selection())
            old = gone[0] if gone else names[0]
            found.taken[video] = (old, now.mtime)
            if gone:
                found.moved.append((old, video))
                names.remove(old)
                names.append(old)
        elif video in known:
            found.changed.add(video)
        on_file(number, len(doubts))
    return found


def _digest(library: Library, video: str) -> str | None:
    """The SHA-256 of a file; None where it cannot be read."""
    try:
        with (library.root / video).open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return None
