"""A reader of an index that a thread or a process writes: refreshes again and again until a file `stop` exists.

Groups of clips are always put together, so that a reader must find each group complete and of one version. Group 0
is replaced, but never removed. What a reader has seen does not come back older.
"""

import random
from collections import Counter

import numpy as np

from index.storage.snapshot import read_snapshot, refreshed
from tests.index.made_clips import contents

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
    assert [name for name, count in Counter(names).items() if count > 1] == []
    assert {number: (len(kept), len(set(kept))) for number, kept in versions.items()} == dict.fromkeys(
        versions, (TOGETHER, 1)
    )
    assert 0 in versions
    return {number: kept[0] for number, kept in versions.items()}


def search(snapshot):
    """Ids that scanners find are those of clips that count."""
    for partition in snapshot.partitions:
        query = np.ones((1, partition.vectors.shape[1]), dtype=np.float32)
        _, rows = partition.scanner.scan(query, 5, partition.allowed)
        rows = rows[0][rows[0] >= 0]
        assert len(rows) == min(5, partition.count)
        assert all(snapshot.find(clip_id) is not None for clip_id in partition.ids(rows))


def read(directory, stop, seed, every_clip):
    """Returns how many changes it saw."""
    rng, snapshot = random.Random(seed), read_snapshot(directory)
    old, versions, changes = snapshot, seen(snapshot), 0
    first = versions
    stop.with_name(f"ready{seed}").touch()
    while not stop.exists():
        now = read_snapshot(directory) if rng.random() < 0.1 else refreshed(snapshot)
        if now is not snapshot:
            there, changes = seen(now), changes + 1
            assert all(there[number] >= versions[number] for number in there.keys() & versions.keys())
            search(now)
            if every_clip:
                contents(now)
            versions = {**versions, **there}
        snapshot = now
        if rng.random() < 0.02:  # what was opened long ago can still be read
            assert seen(old) == first
            search(old)
            old, first = snapshot, seen(snapshot)
    return changes
