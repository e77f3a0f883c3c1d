"""A writer that is killed, or meets a full disk: the index opens, and holds every acknowledged clip."""

import errno
import os
import random
import signal
import subprocess
import sys
import time
from functools import partial, reduce
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from index.storage import checksums, manifest, merge
from index.storage import writer as writer_module
from index.storage.snapshot import read_snapshot, refreshed
from index.storage.verify import verify_index
from index.storage.writer import IndexWriter
from mee.errors import InputError
from tests.index.made_clips import LAYOUT, ORIGIN, contents, made_entries

KILLS = int(os.environ.get("MEE_KILLS", "50"))
PROGRAM = "import sys; from tests.index.storage.test_durability import main; main(*sys.argv[1:])"
COUNT = 60
IDS = [f"c{number:03d}" for number in range(60)]
CHOICES = ["put"] * 8 + ["remove"] * 3 + ["reopen"] * 2 + ["compact", "overwrite"]


def operations(seed, count):
    """(name, clips, seed of their vectors) of each operation."""
    rng, there = random.Random(seed), set()
    for number in range(count):
        name = rng.choice(CHOICES)
        clips = sorted(rng.sample(IDS, rng.randint(1, 12)))
        if name == "remove":
            clips = sorted(there & set(clips))
            there -= set(clips)
        elif name in ("put", "overwrite"):
            there = set(clips) | (there if name == "put" else set())
        yield name, clips, number


def after(held, name, clips, vectors):
    """Clip -> seed of its vectors, after one operation."""
    if name == "remove":
        return {clip_id: kept for clip_id, kept in held.items() if clip_id not in clips}
    put = dict.fromkeys(clips, vectors)
    return {"put": held | put, "overwrite": put}.get(name, held)


def expected_after(done, seed, count):
    """The same after so many operations on an empty index."""
    return reduce(lambda held, operation: after(held, *operation), islice(operations(seed, count), done), {})


def holds(snapshot):
    """Clip -> seed of its vectors, of an index; each clip once."""
    rows = [row for segment in snapshot.segments for row in segment.live_table().to_pylist()]
    held = {row["clip_id"]: row["seed"] for row in rows}
    assert len(held) == len(rows)
    return held


def merge_early(patch=setattr):
    """Let few and small segments be merged."""
    patch(writer_module, "MANY", 6)
    patch(merge, "FLOOR", 4)


def apply(open_writer, directory, name, clips, vectors):
    """Do one operation; returns the writer to go on with."""
    if name == "put":
        open_writer.put(made_entries(clips, seed=vectors))
    elif name == "remove":
        open_writer.remove(clips)
    elif name == "compact":
        open_writer.compact()
    else:
        open_writer.close()
        if name == "overwrite":
            with IndexWriter.create(directory, LAYOUT, ORIGIN, overwrite=True) as other:
                for number in range(4):  # one of several segments
                    other.put(made_entries(clips[number::4], seed=vectors))
        open_writer = IndexWriter.open(directory)
    return open_writer


def work(directory, seed, count, say):
    """Do all operations, one after the other."""
    open_writer = IndexWriter.open(directory)
    for number, operation in enumerate(operations(seed, count)):
        say(f"begin {number}")
        open_writer = apply(open_writer, directory, *operation)
        say(f"done {number}")
    open_writer.close()


def main(directory, seed, count):
    """Print each line at once, for the process that started this."""
    merge_early()
    say = partial(print, flush=True)
    say("ready")
    work(Path(directory), int(seed), int(count), say)


def empty_index(place):
    IndexWriter.create(place, LAYOUT, ORIGIN).close()
    return place


def check(place, seed, printed):
    """It holds what was acknowledged; the operation that was interrupted is done, or is not."""
    begun, done = (sum(line.startswith(word) for line in printed) for word in ("begin", "done"))
    held = holds(read_snapshot(place))
    assert held in [expected_after(number, seed, COUNT) for number in {done, begun}]
    contents(read_snapshot(place))
    assert verify_index(place) == []
    with IndexWriter.open(place) as writer:  # which goes on from there
        assert holds(writer.snapshot) == held
        writer.put(made_entries(["after"]))
        writer.compact()
    assert holds(read_snapshot(place)) == {**held, "after": 0}
    assert sorted(path.name for path in place.iterdir()) == ["index.json", "lock", "segments"]
    assert len(list((place / "segments").iterdir())) == 1


@pytest.mark.parametrize("kills", [3, pytest.param(KILLS, marks=pytest.mark.slow)])
def test_killed_at_random_points(tmp_path, kills):
    """Other points with another MEE_KILL_SEED, more of them with MEE_KILLS."""
    rng, operated = random.Random(int(os.environ.get("MEE_KILL_SEED", "0"))), 0
    for trial in range(kills):
        place = empty_index(tmp_path / f"ix{trial}")
        command = [sys.executable, "-c", PROGRAM, str(place), str(trial), str(COUNT)]
        environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
        with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment, text=True) as process:
            assert process.stdout.readline() == "ready\n"
            time.sleep(rng.uniform(0, 1.0))
            os.kill(process.pid, signal.SIGKILL)
            printed = process.stdout.read().splitlines()
        check(place, trial, printed)
        operated += len(printed) // 2
    sys.stdout.write(f"{kills} kills after {operated} operations")  # shown with -rA


class Crash(BaseException):
    """Caught by nothing."""


def fail_at(patch, step, error=Crash):
    """Let one of the calls that change the disk fail, counted over all; after a Crash all later ones, too."""
    calls = 0

    def counted(original):
        def call(*args, **kwargs):
            nonlocal calls
            calls += 1
            if calls == step or (calls > step and error is Crash):
                raise error
            return original(*args, **kwargs)

        return call

    for name in ("replace", "rename", "fsync"):
        patch.setattr(os, name, counted(getattr(os, name)))
    patch.setattr(np, "save", counted(np.save))
    if error is Crash:
        discard = counted(manifest.discard)
        for module in (checksums, manifest, writer_module):
            patch.setattr(module, "discard", discard)


@pytest.mark.parametrize("seed", [*range(2), *(pytest.param(n, marks=pytest.mark.slow) for n in range(2, 8))])
def test_stopped_between_any_two_steps(tmp_path, monkeypatch, seed):
    """As a kill does, without a process: from some step on, nothing changes the disk any more."""
    rng = random.Random(seed)
    for trial in range(6):
        place, printed = empty_index(tmp_path / f"ix{trial}"), []
        with monkeypatch.context() as patch:
            merge_early(patch.setattr)
            fail_at(patch, rng.randint(1, 400))
            with pytest.raises(Crash):
                work(place, seed, COUNT, printed.append)
        check(place, seed, printed)


@pytest.mark.parametrize("seed", range(3))
def test_a_full_disk_fails_one_operation_and_leaves_the_state_before(tmp_path, monkeypatch, seed):
    merge_early(monkeypatch.setattr)
    place, held, failures, rng = empty_index(tmp_path / "ix"), {}, 0, random.Random(seed)
    reader, writer = read_snapshot(place), IndexWriter.open(place)
    for name, clips, vectors in operations(seed, COUNT):
        clips = [clip_id for clip_id in clips if name != "remove" or clip_id in held]
        with monkeypatch.context() as patch:
            fail_at(patch, rng.randint(1, 60), OSError(errno.ENOSPC, "No space left on device"))
            try:
                writer = apply(writer, place, name, clips, vectors)
                held = after(held, name, clips, vectors)
            except (OSError, InputError):
                failures += 1
        if name in ("reopen", "overwrite"):  # an error in between leaves the writer closed
            writer.close()
            writer = IndexWriter.open(place)
        reader = refreshed(reader)
        assert holds(reader) == holds(writer.snapshot) == held
    writer.close()
    assert failures > 5
    assert holds(read_snapshot(place)) == held
    assert verify_index(place) == []


def test_a_writer_that_is_closed_or_cannot_know_what_is_on_the_disk_writes_nothing(tmp_path, monkeypatch):
    """A manifest was replaced, and can be neither synced nor put back."""
    place = empty_index(tmp_path / "ix")
    changes = {
        "put": lambda: writer.put(made_entries(["b"])),
        "compact": lambda: writer.compact(),
        "remove": lambda: writer.remove(["a"]),
        "origin": lambda: writer.set_origin(ORIGIN),
        "recall": lambda: writer.set_recall(None),
    }
    writer = IndexWriter.open(place)
    writer.put(made_entries(["a"]))
    writer.close()
    before = contents(read_snapshot(place))
    with IndexWriter.open(place):
        for change in changes.values():
            with pytest.raises(ValueError, match="the writer is closed; open the index again"):
                change()
        writer.close()  # again
    assert contents(read_snapshot(place)) == before
    writer, real = IndexWriter.open(place), os.fsync

    def fsync(handle):
        if os.readlink(f"/proc/self/fd/{handle}") == str(place):
            monkeypatch.setattr(os, "fsync", failing)
            failing()
        real(handle)

    def failing(*_):
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fsync)
        with pytest.raises(InputError, match="Input/output"):
            writer.put(made_entries(["a"], seed=1))
    monkeypatch.undo()
    for name in ("put", "compact"):
        with pytest.raises(InputError, match=r"ix' could not be written to; open the index again"):
            changes[name]()
    writer.close()
    assert holds(read_snapshot(place)) in ({"a": 0}, {"a": 1})
    assert verify_index(place) == []


def test_files_are_synced_before_they_are_renamed_and_folders_after(tmp_path, monkeypatch):
    """Else a power cut could lose what a manifest names."""
    place, synced, unsynced = empty_index(tmp_path / "ix"), set(), set()
    real = {name: getattr(os, name) for name in ("fsync", "replace", "rename")}

    def fsync(handle):
        path = os.readlink(f"/proc/self/fd/{handle}")
        synced.add(path)
        unsynced.discard(path)
        real["fsync"](handle)

    def moved(name):
        def move(source, target):
            files = [path for path in Path(source).rglob("*") if path.is_file()] or [Path(source)]
            assert {str(path) for path in files} <= synced
            if target == place / "index.json":
                assert not unsynced
            unsynced.add(str(Path(target).parent))
            real[name](source, target)

        return move

    with IndexWriter.open(place) as writer:
        monkeypatch.setattr(os, "fsync", fsync)
        for name in ("replace", "rename"):
            monkeypatch.setattr(os, name, moved(name))
        for change in (
            lambda: writer.put(made_entries(["a", "b"])),
            lambda: writer.put(made_entries(["b", "c"])),
            lambda: writer.remove(["a"]),
            writer.compact,
        ):
            change()
            assert unsynced == set()
    assert str(place / "segments") in synced
