"""A writer that is killed, closed, or meets a full disk: the index opens, and holds every acknowledged clip."""

import errno
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from index.storage import log, stored_index
from index.storage import manifest as durable
from index.storage import segment as segment_file
from index.storage import writer as writer_module
from index.storage.snapshot import read_snapshot, refreshed
from index.storage.verify import verify_index
from index.storage.writer import IndexWriter
from mee.errors import InputError
from tests.index.made_clips import LAYOUT, ORIGIN, contents, made_entries
from tests.index.storage.killed_writer import expected_after, holds, operations, work

ROOT = Path(__file__).parents[3]
KILLS = int(os.environ.get("MEE_KILLS", "50"))
PROGRAM = Path(__file__).with_name("killed_writer.py")
COUNT = 60


@pytest.fixture
def place(tmp_path):
    IndexWriter.create(tmp_path / "ix", LAYOUT, ORIGIN).close()
    return tmp_path / "ix"


def check(place, seed, done, begun):
    """It holds what was acknowledged; the operation that was under way is done, or is not."""
    held = holds(read_snapshot(place))
    assert held in [expected_after(number, seed, COUNT) for number in {done, begun}]
    contents(read_snapshot(place))
    assert verify_index(place) == []
    with IndexWriter.open(place) as writer:  # which goes on from there
        assert holds(writer.snapshot) == held
        writer.put(made_entries(["after"]))
        writer.compact()
    assert holds(read_snapshot(place)) == {**held, "after": 0}
    names = sorted(path.name for path in place.iterdir() if not path.name.startswith("log-"))
    assert names == ["index.json", "lock", "segments"]


@pytest.mark.parametrize("kills", [2, pytest.param(KILLS, marks=pytest.mark.slow)])
def test_killed_at_random_points(tmp_path, kills):
    """Other points with another MEE_KILL_SEED, more of them with MEE_KILLS."""
    rng = random.Random(int(os.environ.get("MEE_KILL_SEED", "0")))
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    for trial in range(kills):
        place = tmp_path / f"ix{trial}"
        IndexWriter.create(place, LAYOUT, ORIGIN).close()
        command = [sys.executable, str(PROGRAM), str(place), str(trial), str(COUNT)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment, text=True) as process:
            assert process.stdout.readline() == "ready\n"
            time.sleep(rng.uniform(0, 1.0))
            os.kill(process.pid, signal.SIGKILL)
            said = process.stdout.read().splitlines()
        begun = sum(line.startswith("begin") for line in said)
        done = sum(line.startswith("done") for line in said)
        check(place, trial, done, begun)


class Crash(BaseException):
    """What nobody catches on purpose."""


def crash_at(monkeypatch, step, error=Crash):
    """Make one of the calls that change the disk fail, counted over all; after a Crash later ones fail, too."""
    calls = 0

    def counted(original):
        def call(*args, **kwargs):
            nonlocal calls
            calls += 1
            if calls == step or (calls > step and error is Crash):
                raise error
            return original(*args, **kwargs)

        return call

    for name in ("replace", "rename", "fsync", "ftruncate", "pwrite"):
        monkeypatch.setattr(os, name, counted(getattr(os, name)))
    for module in (durable, stored_index):
        monkeypatch.setattr(module, "discard", counted(durable.discard))
    return lambda: calls


@pytest.mark.parametrize("seed", [*range(2), *(pytest.param(n, marks=pytest.mark.slow) for n in range(2, 8))])
def test_stopped_between_any_two_steps(tmp_path, monkeypatch, seed):
    """As a kill does, without a process: from some step on, nothing changes the disk any more."""
    rng = random.Random(seed)
    for trial in range(6):
        place = tmp_path / f"ix{trial}"
        IndexWriter.create(place, LAYOUT, ORIGIN).close()
        said = []
        with monkeypatch.context() as patch:
            patch.setattr(writer_module, "DIRECT", 400)
            patch.setattr(writer_module, "LOG_RECORDS", 6)
            crash_at(patch, rng.randint(1, 120))
            with pytest.raises(Crash):
                work(place, seed, COUNT, said.append)
        begun = sum(line.startswith("begin") for line in said)
        done = sum(line.startswith("done") for line in said)
        check(place, seed, done, begun)


def no_space():
    return OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("seed", range(2))
def test_a_full_disk_stops_one_operation_and_no_other(place, monkeypatch, seed):
    monkeypatch.setattr(writer_module, "DIRECT", 400)
    monkeypatch.setattr(writer_module, "LOG_RECORDS", 6)
    reader, held, failures, rng = read_snapshot(place), {}, 0, random.Random(seed)
    with IndexWriter.open(place) as writer:
        for name, clips, vectors in operations(seed, 50):
            with monkeypatch.context() as patch:
                crash_at(patch, rng.randint(1, 40), no_space())
                try:
                    if name == "put":
                        writer.put(made_entries(clips, seed=vectors))
                        held |= dict.fromkeys(clips, vectors)
                    elif name == "remove":
                        gone = [clip_id for clip_id in clips if clip_id in held]
                        writer.remove(gone)
                        held = {clip_id: kept for clip_id, kept in held.items() if clip_id not in gone}
                    elif name == "flush":
                        writer.flush()
                    else:
                        writer.compact()
                except OSError:
                    failures += 1
                except InputError:  # nobody can tell which manifest is on the disk: nothing more is written
                    break
            assert holds(writer.snapshot) == held
            reader = refreshed(reader)
            assert holds(reader) == held
    assert failures
    assert holds(read_snapshot(place)) == held
    assert verify_index(place) == []


def test_whatever_is_named_is_synced_first(place, monkeypatch):
    """What a power cut would lose: a file that is renamed before it is on the disk, and an unsynced folder."""
    synced, real_sync, real_replace, real_rename = set(), os.fsync, os.replace, os.rename

    def fsync(handle):
        synced.add(os.readlink(f"/proc/self/fd/{handle}"))
        real_sync(handle)

    def moved(real):
        def move(source, target):
            files = [path for path in Path(source).rglob("*") if path.is_file()] or [Path(source)]
            assert {str(path) for path in files} <= synced
            real(source, target)
            synced.discard(str(Path(target).parent))
            unsynced.add(str(Path(target).parent))

        return move

    unsynced = set()
    with IndexWriter.open(place) as writer:
        monkeypatch.setattr(os, "fsync", fsync)
        monkeypatch.setattr(os, "replace", moved(real_replace))
        monkeypatch.setattr(os, "rename", moved(real_rename))
        writer.put(made_entries(["a", "b"]))
        assert str(next(place.glob("log-*"))) in synced
        writer.compact()
        assert unsynced <= synced
        assert str(place / "segments") in synced


def test_modules_are_the_ones_that_are_patched():
    assert log.os is durable.os is os
    assert segment_file.digest_of is durable.digest_of


def test_a_writer_that_is_closed_writes_no_more(place, tmp_path):
    writer = IndexWriter.open(place)
    writer.put(made_entries(["a"]))
    writer.close()
    before = contents(read_snapshot(place))
    with IndexWriter.open(place), (tmp_path / "other").open("w+b"):  # these may have its files' numbers
        for change in (
            lambda: writer.put(made_entries(["b"])),
            lambda: writer.remove(["a"]),
            writer.flush,
            writer.compact,
            lambda: writer.set_origin(ORIGIN),
            lambda: writer.set_recall(None),
        ):
            with pytest.raises(ValueError, match="the writer is closed; open the index again"):
                change()
    assert contents(read_snapshot(place)) == before
    assert not (tmp_path / "other").read_bytes()
