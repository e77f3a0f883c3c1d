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
from itertools import chain

from features.job.result import Changes
from features.media import Library, Stamp, stamp_of
from features.store import FeatureStore, StoreWriter, are_failures, taken_over

OnFile = Callable[[int, int], None]


def write_changes(
    changes: Changes, writer: StoreWriter, store: FeatureStore, overwritten: Collection[str]
) -> None:
    """Write what need not be extracted; of the store as it was before the job overwrites streams."""
    kept = [stream for stream in store.dims if stream not in overwritten]
    for records in chain(taken_over(store, changes.touched, ()), taken_over(store, changes.taken, kept)):
        writer.add(records)
    writer.flush()


def find_changes(library: Library, store: FeatureStore, on_file: OnFile) -> Changes:
    """Compare a library with a store by size and time of change; where that leaves a doubt, by content.

    ``on_file``: called after each file that was read for its content, with how many are done, and of how many.
    """
    found, usable = Changes(), set(store.rows["video"][~are_failures(store.rows)])
    rows = store.files.astype(object).where(store.files.notna(), None)  # an import knows no time
    known = {video: (Stamp(size, mtime), digest) for video, size, digest, mtime in rows.itertuples()}
    here = set(library.videos)
    last_gone = sorted(usable, key=lambda video: (video not in here, video))  # of several of one content
    contents = {known[video][1]: video for video in last_gone if known[video][0].bytes and known[video][1]}
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
