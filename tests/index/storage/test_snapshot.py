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

from index.scanners import kinds
from index.storage import snapshot as snapshot_module
from index.storage import writer as writer_module
from index.storage.entries import Entries
from index.storage.snapshot import Snapshot, read_snapshot, refreshed
from index.storage.writer import IndexWriter
from mee.errors import InputError
from tests.index.made_clips import LAYOUT, ORIGIN, as_dict, contents, made_entries
from tests.index.storage.reading_process import GROUPS, group

ROOT = Path(__file__).parents[3]
READER = Path(__file__).with_name("reading_process.py")
IDS = [f"c{number:02d}" for number in range(30)]


@pytest.fixture
def place(tmp_path):
    return tmp_path / "ix"


def write_at_random(place, seconds, rng):
    """Keep an index changing; returns how many operations."""
    done, deadline, there = 0, time.monotonic() + seconds, {0}
    writer = IndexWriter.open(place)
    while time.monotonic() < deadline:
        done += 1
        name = rng.choice(["put"] * 10 + ["remove"] * 4 + ["flush", "flush", "compact", "reopen"])
        number = rng.randrange(GROUPS)
        if name == "put":
            writer.put(made_entries(group(number), seed=done))
            there.add(number)
        elif name == "remove" and number and number in there:
            writer.remove(group(number))
            there.discard(number)
        elif name == "flush":
            writer.flush()
        elif name == "compact":
            writer.compact(settings=kinds.Settings(kind=rng.choice(["flat", "certified"])))
        elif name == "reopen":
            writer.close()
            writer = IndexWriter.open(place)
    writer.close()
    return done


def readers_and_a_writer(place, tmp_path, monkeypatch, seconds):
    monkeypatch.setattr(writer_module, "DIRECT", 600)
    monkeypatch.setattr(writer_module, "LOG_RECORDS", 9)
    stop = tmp_path / "stop"
    with IndexWriter.create(place, LAYOUT, ORIGIN) as writer:
        patterns = 3 * 1100  # so that partitions are large enough to have codes
        writer.put(made_entries([f"s{number:05d}" for number in range(patterns)], missing=0))
        writer.put(made_entries(group(0)))
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    readers = [
        subprocess.Popen(
            [sys.executable, str(READER), str(place), str(stop), str(seed)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=environment,
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
    said = [reader.communicate(timeout=60)[0] for reader in readers]
    assert [reader.returncode for reader in readers] == [0, 0], said
    return f"{done} operations; {said}"


@pytest.mark.slow
def test_two_readers_while_one_writes(place, tmp_path, monkeypatch):
    seconds = float(os.environ.get("MEE_WRITE_SECONDS", "15"))
    sys.stdout.write(readers_and_a_writer(place, tmp_path, monkeypatch, seconds))  # seen with -rA


def test_a_reader_in_a_thread_while_one_writes(place, monkeypatch):
    monkeypatch.setattr(writer_module, "LOG_RECORDS", 9)
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


def test_one_snapshot_that_many_refresh(place):
    with IndexWriter.create(place, LAYOUT, ORIGIN) as writer:
        writer.put(made_entries(IDS))
        first = read_snapshot(place)
        writer.put(made_entries(["x"], seed=1))
        second, third = refreshed(first), refreshed(first)  # the tail has gone on, so that one reads all anew
        writer.put(made_entries(["x", "c00"], seed=2))
        for snapshot in (first, second, third):
            assert contents(refreshed(snapshot)) == contents(writer.snapshot)
    assert contents(first) == as_dict(made_entries(IDS))
    assert contents(second) == contents(third)


class TestInMemory:
    """`Snapshot.of` needs no disk."""

    def test_it_holds_what_was_given(self):
        entries = made_entries(IDS)
        snapshot = Snapshot.of(entries, LAYOUT, ORIGIN)
        assert contents(snapshot) == as_dict(entries)
        assert refreshed(snapshot) is snapshot
        assert snapshot.find("nobody") is None
        assert snapshot.without_stream() == sorted(np.array(IDS)[~entries.available.any(axis=1)])

    def test_nothing_at_all(self):
        snapshot = Snapshot.of(made_entries([]), LAYOUT, ORIGIN)
        assert (len(snapshot), snapshot.partitions, snapshot.segments) == (0, (), ())
        assert snapshot.without_stream() == []

    def test_offsets_are_the_last_component(self):
        entries = made_entries(IDS, offsets=True)
        snapshot = Snapshot.of(entries, LAYOUT, ORIGIN, offsets={"method": "nnn"})
        assert contents(snapshot) == as_dict(entries)
        assert all(partition.scanner.shape.offset for partition in snapshot.partitions)

    def test_it_refuses_what_an_index_cannot_keep(self):
        entries = made_entries(IDS)
        with pytest.raises(ValueError, match="30 clips come with"):
            Snapshot.of(Entries(entries.table, entries.packed[:, 1:], entries.available), LAYOUT, ORIGIN)


class TestReplacedMeanwhile:
    """A reader that meets files which the writer has just replaced looks again, and says nothing of damage."""

    def test_between_the_manifest_and_its_files(self, place, monkeypatch):
        with IndexWriter.create(place, LAYOUT, ORIGIN) as writer:
            writer.put(made_entries(IDS))
            real, left = snapshot_module.open_segments, [3]

            def late(*args, **kwargs):
                if left[0]:
                    left[0] -= 1
                    writer.compact()  # takes away what the manifest names
                return real(*args, **kwargs)

            monkeypatch.setattr(snapshot_module, "open_segments", late)
            assert contents(read_snapshot(place)) == as_dict(made_entries(IDS))
            assert left == [0]

    def test_always(self, place, monkeypatch):
        with IndexWriter.create(place, LAYOUT, ORIGIN) as writer:
            writer.put(made_entries(IDS))
            real = snapshot_module.open_segments
            monkeypatch.setattr(snapshot_module, "TRIES", 5)

            def late(*args, **kwargs):
                writer.compact()
                return real(*args, **kwargs)

            monkeypatch.setattr(snapshot_module, "open_segments", late)
            with pytest.raises(InputError, match="changes faster than it can be opened; try again later"):
                read_snapshot(place)

    def test_a_record_that_is_taken_back(self, place):
        """A disk that was full when the last record was synced: a reader may have seen it."""
        with IndexWriter.create(place, LAYOUT, ORIGIN) as writer:
            writer.put(made_entries(IDS))
            path = next(place.glob("log-*"))
            size = path.stat().st_size
            before = contents(writer.snapshot)
            writer.put(made_entries(["x"]))
        reader = read_snapshot(place)
        os.truncate(path, size)
        assert contents(refreshed(reader)) == before

    def test_another_index_in_the_same_place(self, place):
        with IndexWriter.create(place, LAYOUT, ORIGIN) as writer:
            writer.put(made_entries(IDS))
            writer.flush()
        reader = read_snapshot(place)
        with IndexWriter.create(place, LAYOUT, ORIGIN, overwrite=True) as writer:
            writer.put(made_entries(["x"]))
        assert set(contents(refreshed(reader))) == {"x"}
        assert len(contents(reader)) == len(IDS)
