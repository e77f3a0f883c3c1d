"""What the tests that spoil a store of two rows a clip have in common."""

import numpy as np

from features.store.verify import check_store

ROWS = np.arange(6, dtype=np.float16).reshape(2, 3)
TIMES = np.array([0.25, 0.75], np.float32)


def check(directory):
    return check_store(directory, lambda done, of: None)


def wrong(directory):
    return {finding.name: finding.what for finding in check(directory).wrong}


def die(writer):
    """What a kill does to a job's lock."""
    writer.lock.release()
