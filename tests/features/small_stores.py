"""What the tests of stores share: two rows a clip, and a look at what is on disk."""

import numpy as np

from features.store.verify import check_store

ROWS = np.arange(6, dtype=np.float16).reshape(2, 3)
TIMES = np.array([0.25, 0.75], np.float32)
NAMES = ["a b.mp4", "übung 漢字.mp4", "c#1.mp4", "d#t=0,10", "-e/%20[x].mp4", "f'\".mp4"]


def check(directory):
    return check_store(directory, lambda done, of: None)


def wrong(directory):
    return {finding.name: finding.what for finding in check(directory).wrong}


def files(directory, pattern="**/*"):
    """Name -> when it was written; without locks."""
    paths = (path for path in directory.glob(pattern) if path.is_file() and path.suffix != ".lock")
    return {path.relative_to(directory).as_posix(): path.stat().st_mtime_ns for path in paths}


def die(writer):
    """What a kill does to a job's lock."""
    writer.lock.release()
