"""A reader of an index that another process writes: refreshes again and again, until a file says stop.

    python tests/index/storage/reading_process.py INDEX STOP SEED

Groups of clips are always put together, so that a reader must find each group whole and of one version. Group 0 is
replaced, but never removed. What a reader has seen does not come back older.
"""

import random
import sys
from collections import Counter
from pathlib import Path

import numpy as np

from index.storage.snapshot import read_snapshot, refreshed

GROUPS, TOGETHER = 6, 7


def group(number):
    """Names of its clips."""
    return [f"g{number}-{clip}" for clip in range(TOGETHER)]


def seen(snapshot):
    """Group -> its version, of the groups that are there."""
    names, versions = [], {}
    for number, segment in enumerate(snapshot.segments):
        for clip in segment.live_table().select(["clip_id", "seed"]).to_pylist():
            names.append(clip["clip_id"])
            if clip["clip_id"].startswith("g"):
                assert snapshot.find(clip["clip_id"])[0] == number
                versions.setdefault(int(clip["clip_id"][1]), []).append(clip["seed"])
    doubled = [name for name, count in Counter(names).items() if count > 1]
    assert not doubled, f"doubled: {doubled}"
    for number, kept in versions.items():
        assert len(kept) == TOGETHER, f"group {number} has {len(kept)} clips"
        assert len(set(kept)) == 1, f"group {number} is of versions {set(kept)}"
    assert 0 in versions, "group 0 is missing"
    return {number: kept[0] for number, kept in versions.items()}


def search(snapshot):
    """Ids that scanners find are those of clips that count."""
    for partition in snapshot.partitions:
        query = np.ones((1, partition.vectors.shape[1]), dtype=np.float32)
        _, rows = partition.scanner.scan(query, 5, partition.allowed)
        rows = rows[0][rows[0] >= 0]
        assert len(rows) == min(5, partition.count)
        assert all(snapshot.find(clip_id) is not None for clip_id in partition.ids(rows))


def say(line):
    """Print for the process that started this."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main():
    """See above."""
    directory, stop, rng = Path(sys.argv[1]), Path(sys.argv[2]), random.Random(int(sys.argv[3]))
    snapshot = read_snapshot(directory)
    old, versions, looks, changes = snapshot, seen(snapshot), 0, 0
    first = versions
    say("ready")
    while not stop.exists():
        now = read_snapshot(directory) if rng.random() < 0.1 else refreshed(snapshot)
        looks, changes = looks + 1, changes + (now is not snapshot)
        if now is not snapshot:
            there = seen(now)
            assert all(there[number] >= versions[number] for number in there.keys() & versions.keys())
            search(now)
            versions = {**versions, **there}
        snapshot = now
        if rng.random() < 0.02:  # what was opened long ago can still be read
            assert seen(old) == first
            search(old)
            old, first = snapshot, seen(snapshot)
    say(f"looked {looks} times, found {changes} changes")
    assert changes > 3


if __name__ == "__main__":
    main()
