"""A snapshot is the index at one moment, in memory and on disk, whatever a writer does meanwhile."""

import os
import random
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from index.scanners import Settings
from index.storage import snapshot as snapshot_module
from index.storage.entries import Entries
from index.storage.snapshot import Snapshot, read_snapshot, refreshed
from index.storage.writer import IndexWriter
from mee.errors import InputError
from tests.index.made_clips import LAYOUT, ORIGIN, as_dict, contents, made_entries
from tests.index.storage.killed_writer import merge_early
from tests.index.storage.reading_process import GROUPS, group

ROOT = Path(__file__).parents[3]
READER = Path(__file__).with_name("reading_process.py")
IDS = [f"c{number:02d}" for number in range(30)]


@pytest.fixture
def place(tmp_path):
    return tmp_path / "ix"


@pytest.fixture
def index(place):
    """A writer of an index of 30 clips."""
    with IndexWriter.create(place, LAYOUT, ORIGIN) as writer:
        writer.put(made_entries(IDS))
        yield writer


def write_at_random(place, seconds, rng):
    """Keep an index changing; returns how many operations."""
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
    return done


@pytest.mark.slow
def test_two_readers_while_one_writes(place, tmp_path, monkeypatch):
    merge_early(monkeypatch.setattr)
    seconds, stop = float(os.environ.get("MEE_WRITE_SECONDS", "15")), tmp_path / "stop"
    with IndexWriter.create(place, LAYOUT, ORIGIN) as writer:
        patterns = 3 * 1100  # so that partitions are large enough to have codes
        writer.put(made_entries([f"s{number:05d}" for number in range(patterns)], missing=0))
        writer.put(made_entries(group(0)))
    readers = [
        subprocess.Popen(
            [sys.executable, str(READER), str(place), str(stop), str(seed)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
            text=True,
        )
        for seed in range(2)
    ]
    try:
        for reader in readers:
            assert reader.stdout.readline() == "ready\n", reader.stdout.read()
        done = write_at_random(place, seconds, random.Random(0))
    finally:
        stop.touch()
    printed = [reader.communicate(timeout=60)[0] for reader in readers]
    assert [reader.returncode for reader in readers] == [0, 0], printed
    sys.stdout.write(f"{done} operations; {printed}")  # shown with -rA


def test_readers_in_threads_while_one_writes(place, monkeypatch):
    merge_early(monkeypatch.setattr)
    with IndexWriter.create(place, LAYOUT, ORIGIN) as writer:
        writer.put(made_entries(group(0)))
    wrong, stop = [], threading.Event()

    def read():
        snapshot = read_snapshot(place)
        while not stop.is_set():
            try:
                snapshot = refreshed(snapshot)
                contents(snapshot)
                contents(read_snapshot(place))
            except Exception as error:
                wrong.append(error)
                return

    threads = [threading.Thread(target=read) for _ in range(2)]
    for thread in threads:
        thread.start()
    write_at_random(place, 2, random.Random(1))
    stop.set()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_refreshing_opens_new_segments_only(place, index):
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


class TestInMemory:
    """`Snapshot.of` needs no disk."""

    @pytest.mark.parametrize("facts", [None, {"method": "nnn"}])
    def test_it_holds_what_was_given(self, facts):
        entries = made_entries(IDS[::-1], offsets=facts is not None)
        snapshot = Snapshot.of(entries, LAYOUT, ORIGIN, offsets=facts)
        assert contents(snapshot) == as_dict(entries)
        assert all(partition.scanner.shape.offset is (facts is not None) for partition in snapshot.partitions)
        assert refreshed(snapshot) is snapshot
        assert snapshot.find("nobody") is None
        assert snapshot.without_stream() == sorted(np.array(IDS[::-1])[~entries.available.any(axis=1)])

    def test_it_may_be_empty(self):
        snapshot = Snapshot.of(made_entries([]), LAYOUT, ORIGIN)
        assert (len(snapshot), snapshot.partitions, snapshot.segments) == (0, (), ())
        assert snapshot.without_stream() == []
        assert snapshot.columns.names[:3] == ["clip_id", "video", "start_s"]

    def test_it_refuses_what_an_index_cannot_keep(self):
        entries = made_entries(IDS)
        with pytest.raises(ValueError, match="30 clips come with"):
            Snapshot.of(Entries(entries.table, entries.packed[:, 1:], entries.available), LAYOUT, ORIGIN)


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


def test_another_index_in_the_same_place(place, index):
    reader = read_snapshot(place)
    index.close()
    with IndexWriter.create(place, LAYOUT, ORIGIN, overwrite=True) as writer:
        writer.put(made_entries(["x"]))
    assert set(contents(refreshed(reader))) == {"x"}
    assert len(contents(reader)) == len(IDS)
