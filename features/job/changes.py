"""What has happened to the files of a library since the store saw them.

    same size and time of change    nothing: the file is not read
    another time, same content      touched: the time is recorded
    another content                 changed: extracted again
    a content of another name       renamed or copied: the streams of that name are taken over

Only files in doubt are read.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import chain

from features.media import Library, Stamp, stamp_of
from features.store import FeatureStore, StoreWriter, are_failures, taken_over

OnFile = Callable[[int, int], None]


@dataclass
class Changes:
    """By name of the file as it is now: the video that the store has of its content, and its time of change."""

    changed: set[str] = field(default_factory=set)
    touched: dict[str, tuple[str, float | None]] = field(default_factory=dict)  # under the same name
    taken: dict[str, tuple[str, float | None]] = field(default_factory=dict)  # under another name

    def source(self, video: str) -> str | None:
        """The video of the store that has the streams of a file; None where no video has."""
        return None if video in self.changed else self.taken.get(video, (video,))[0]

    def write(self, writer: StoreWriter, store: FeatureStore, overwritten: Collection[str]) -> None:
        """Write what need not be extracted; of the store as it was before the job overwrites streams."""
        kept = [stream for stream in store.dims if stream not in overwritten]
        for records in chain(taken_over(store, self.touched, ()), taken_over(store, self.taken, kept)):
            writer.add(records)
        writer.flush()


def find_changes(library: Library, store: FeatureStore, on_file: OnFile) -> Changes:
    """Compare a library with a store by size and time of change; where that leaves a doubt, by content.

    ``on_file``: called after each file that was read for its content, with how many are done, and of how many.
    """
    found, usable = Changes(), set(store.rows["video"][~are_failures(store.rows)])
    rows = store.files.astype(object).where(store.files.notna(), None)  # an import knows no time
    known = {video: (Stamp(size, mtime), digest) for video, size, digest, mtime in rows.itertuples()}
    contents = {digest: name for name, (file, digest) in known.items() if name in usable and file.bytes and digest}
    sizes, unknown = {known[video][0].bytes for video in contents.values()}, (Stamp(-1, 0.0), None)
    doubts: dict[str, Stamp] = {}
    for video in library.videos:
        now, before = stamp_of(library.root / video), known.get(video, unknown)[0]
        if now is None or before.bytes == 0 or (before.bytes == now.bytes and before.mtime in (None, now.mtime)):
            continue
        if now.bytes in sizes:
            doubts[video] = now
        elif video in known:
            found.changed.add(video)
    for number, (video, now) in enumerate(doubts.items(), 1):
        digest, (before, content) = None, known.get(video, unknown)
        with suppress(OSError), (library.root / video).open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        if digest == content is not None:
            if video in usable:  # else it is extracted again in any case
                found.touched[video] = (video, now.mtime)
        elif digest in contents:
            found.taken[video] = (contents[digest], now.mtime)
        elif video in known and (digest is not None or before.bytes != now.bytes):  # it may be unreadable now
            found.changed.add(video)
        on_file(number, len(doubts))
    return found
