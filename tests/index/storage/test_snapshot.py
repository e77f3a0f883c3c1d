"""A snapshot is the index at one moment, in memory and on disk, whatever a writer does meanwhile."""

import os
import random
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context

import numpy as np
import pytest

from index.scanners import Settings
from index.storage import merge
from index.storage import snapshot as snapshot_module
from index.storage import writer as writer_module
from index.storage.snapshot import read_snapshot, refreshed
from index.storage.writer import IndexWriter
from mee.errors import InputError
from tests.index.galleries import in_memory
from tests.index.made_clips import LAYOUT, ORIGIN, as_dict, contents, made_entries

IDS = [f"c{number:02d}" for number in range(30)]
GROUPS, TOGETHER = 6, 7


@pytest.fixture
def index(place):
    """A writer of an index of 30 clips."""
    with IndexWriter.create(place, LAYOUT, ORIGIN) as writer:
        writer.put(made_entries(IDS))
        yield writer


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
    """Refresh again and again until a file `stop` exists; returns how many changes were seen.

    Groups of clips are always put together, so that each must be found complete and of one version. Group 0 is
    replaced, but never removed. What was seen does not come back older.
    """
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


def write_at_random(place, seconds, rng):
    """Keep an index changing."""
    done, deadline, there = 0, time.monotonic() + seconds, {0}
    writer = IndexWriter.open(place)
    while time.monotonic() < deadline:
        done += 1
        name = rng.choice(["put"] * 10 + ["remove"] * 4 + ["compact", "reopen", "reopen"])
        number = rng.randrange(GROUPS)
        if name == "put":
            writer.put(made_entries(group(number), seed=done))
            there.add(number)
        elif name == "remove" and number and number in there:
            writer.remove(group(number))
            there.discard(number)
        elif name == "compact":
            writer.compact(settings=Settings(kind=rng.choice(["flat", "certified"])))
        elif name == "reopen":
            writer.close()
            writer = IndexWriter.open(place)
    writer.close()


def processes(workers):
    return ProcessPoolExecutor(workers, mp_context=get_context("spawn"))


@pytest.mark.parametrize(
    ("pool", "clips", "seconds"),
    [
        (ThreadPoolExecutor, 0, 2.0),
        pytest.param(
            processes,
            3 * 1100,  # so that partitions are large enough to have codes
            float(os.environ.get("MEE_WRITE_SECONDS", "15")),
            marks=pytest.mark.slow,
        ),
    ],
)
def test_two_readers_while_one_writes(place, tmp_path, monkeypatch, pool, clips, seconds):
    monkeypatch.setattr(writer_module, "MANY", 6)
    monkeypatch.setattr(merge, "FLOOR", 4)
    with IndexWriter.create(place, LAYOUT, ORIGIN) as writer:
        if clips:
            writer.put(made_entries([f"s{number:05d}" for number in range(clips)], missing=0))
        writer.put(made_entries(group(0)))
    stop = tmp_path / "stop"
    with pool(2) as readers:
        reading = [readers.submit(read, place, stop, seed, not clips) for seed in range(2)]
        try:
            while len(list(tmp_path.glob("ready*"))) < 2 and not any(reader.done() for reader in reading):
                time.sleep(0.01)
            write_at_random(place, seconds, random.Random(1))
        finally:
            stop.touch()
        assert min(reader.result() for reader in reading) > 3


def test_refreshing_opens_new_segments_only_or_another_index_in_the_same_place(place, index):
    first = read_snapshot(place)
    assert refreshed(first) is first
    index.put(made_entries(["x", "c00"], seed=1))
    second = refreshed(first)
    assert second.segments[0].table is first.segments[0].table
    index.put(made_entries(["y"], seed=2))
    third = refreshed(first)  # from a snapshot that others refreshed, too
    assert third.segments[1].table is not second.segments[1].table
    assert refreshed(second).segments[1] is second.segments[1]
    assert contents(third) == contents(refreshed(second)) == contents(index.snapshot)
    assert contents(first) == as_dict(made_entries(IDS))
    assert third.generation > second.generation > first.generation
    index.close()
    with IndexWriter.create(place, LAYOUT, ORIGIN, overwrite=True) as writer:
        writer.put(made_entries(["x"]))
    assert set(contents(refreshed(third))) == {"x"}
    assert contents(first) == as_dict(made_entries(IDS))


@pytest.mark.parametrize("facts", [None, {"method": "nnn"}])
def test_a_snapshot_in_memory_holds_what_was_given(facts):
    entries = made_entries(IDS[::-1], offsets=facts is not None)
    snapshot = in_memory(entries, LAYOUT, facts).snapshot
    assert contents(snapshot) == as_dict(entries)
    assert all(partition.scanner.shape.offset is (facts is not None) for partition in snapshot.partitions)
    assert refreshed(snapshot) is snapshot
    assert snapshot.find("nobody") is None
    assert snapshot.without_stream() == sorted(np.array(IDS[::-1])[~entries.available.any(axis=1)])
    empty = in_memory(made_entries([], offsets=facts is not None), LAYOUT, facts).snapshot
    assert (len(empty), empty.partitions, empty.segments, empty.without_stream()) == (0, (), (), [])
    assert empty.columns.names[:3] == ["clip_id", "video", "start_s"]


@pytest.mark.parametrize("times", [3, 99])
def test_a_reader_tries_again_when_a_writer_deletes_what_it_opens(place, index, monkeypatch, times):
    real, left = snapshot_module.open_segments, [times]
    monkeypatch.setattr(snapshot_module, "TRIES", 5)

    def late(*args, **kwargs):
        if left[0]:
            left[0] -= 1
            index.compact()  # deletes what the manifest named
        return real(*args, **kwargs)

    monkeypatch.setattr(snapshot_module, "open_segments", late)
    if times < 5:
        assert contents(read_snapshot(place)) == as_dict(made_entries(IDS))
        assert left == [0]
    else:
        with pytest.raises(InputError, match="changes faster than it can be opened; try again later"):
            read_snapshot(place)
