"""Compacting changes what lies on disk, and nothing that anybody sees, now or later."""

import itertools
import os
import shutil
import signal
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features.errors import InputError
from features.store import writer as store_writer
from features.store.compact import compact
from features.store.feature_store import FeatureStore
from features.store.verify import check_store

ROWS = np.arange(6, dtype=np.float16).reshape(2, 3)
TIMES = np.array([0.25, 0.75], np.float32)


@pytest.fixture(scope="module", autouse=True)
def _no_syncing():
    """Nobody cuts the power here; it would be most of the time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda _: None)
        yield


def quietly(directory):
    return compact(directory, lambda done, of: None)


def found(directory):
    return check_store(directory, lambda done, of: None).findings


def test_many_shards_become_one(store_job):
    for number in range(5):
        store_job.write(store_job.record(f"{number}", sight=ROWS + number, times={"sight": TIMES}), sight=3)
    report = quietly(store_job.directory)
    assert (report.before, report.after) == (5, 1)
    assert report.bytes_after < report.bytes_before
    store = FeatureStore(store_job.directory)
    for number in range(5):
        np.testing.assert_array_equal(store.read("sight", [f"{number}"])[0], ROWS + number)
        np.testing.assert_array_equal(store.times("sight", [f"{number}"])[0], TIMES)
    assert len(list(store_job.directory.glob("*/*.safetensors"))) == 2
    assert found(store_job.directory) == []
    before = sorted(store_job.directory.glob("*/*"))
    assert (quietly(store_job.directory).after, sorted(store_job.directory.glob("*/*"))) == (1, before)


@settings(max_examples=15)
@given(data=st.data())
def test_nothing_changes_now_or_later(tmp_path_factory, random_stores, data):
    check(tmp_path_factory, random_stores, data)


@pytest.mark.slow
@settings(max_examples=60)
@given(data=st.data())
def test_nothing_changes_now_or_later_many_times(tmp_path_factory, random_stores, data):
    check(tmp_path_factory, random_stores, data)


def check(tmp_path_factory, random_stores, data):
    """Also where only some shards are small enough, and when the store grows afterwards."""
    place = tmp_path_factory.mktemp("compact")
    first = data.draw(random_stores.RECORDS)
    random_stores.fill(place / "store", first)
    shutil.copytree(place / "store", place / "copy")
    sizes = sorted(path.stat().st_size for path in (place / "store").glob("*/*.*")) or [0]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(store_writer, "SHARD_BYTES", data.draw(st.sampled_from([64 << 20, 2 * sizes[-1] + 1, 1])))
        quietly(place / "store")
    assert random_stores.same(place / "store", place / "copy", but="file_sha256")
    assert [finding for finding in found(place / "store") if finding.wrong] == []
    # what was dropped for good cannot come back: by --overwrite, or as the file that it was before it changed
    sizes = {record[2] for record in first}
    later = [
        (video, verdict, 12 if len(sizes) > 1 else min(sizes, default=size), digest and "z", *states, new, False)
        for video, verdict, size, digest, *states, new, _ in data.draw(random_stores.RECORDS)
    ]
    for name in ("store", "copy"):
        random_stores.NUMBERS = itertools.count()
        random_stores.fill(place / name, later)
    assert random_stores.same(place / "store", place / "copy", but="file_sha256")


def test_what_was_imported_does_not_die_with_a_file(store_job):
    """An import knows no file; rows of a file that changed do not count."""
    store_job.write(store_job.record("a", smell=ROWS, file_bytes=0), smell=3)
    store_job.write(store_job.record("a", sight=ROWS, file_bytes=10, file_sha256="x"), sight=3)
    quietly(store_job.directory)
    assert FeatureStore(store_job.directory).coverage() == {"smell": 1, "sight": 1}
    store_job.write(store_job.record("a", sight=ROWS + 1, file_bytes=11, file_sha256="y"), sight=3)
    assert FeatureStore(store_job.directory).coverage() == {"smell": 1, "sight": 1}


def test_what_no_longer_counts_goes(store_job):
    r = store_job.record
    for value in range(3):
        store_job.write(r("a", sight=ROWS + value, sound=ROWS), sight=3, sound=3)
    store_job.declare(overwrite=True, sound=3)
    assert quietly(store_job.directory).after == 1
    (_rows,) = (store_job.directory / "sight").iterdir()
    assert list((store_job.directory / "sound").iterdir()) == []
    assert (FeatureStore(store_job.directory).read("sight", ["a"])[0] == ROWS + 2).all()
    assert found(store_job.directory) == []


def test_shards_that_are_large_stay(store_job, monkeypatch):
    store_job.write(store_job.record("a", sight=ROWS), sight=3)
    store_job.write(store_job.record("b", sight=ROWS), sight=3)
    before = sorted(store_job.directory.glob("*/*"))
    monkeypatch.setattr(store_writer, "SHARD_BYTES", 10)
    quietly(store_job.directory)
    assert sorted(store_job.directory.glob("*/*")) == before


def test_a_damaged_store_stays_as_it_is(store_job):
    for name in "ab":
        store_job.write(store_job.record(name, sight=ROWS), sight=3)
    path = next((store_job.directory / "sight").iterdir())
    path.write_bytes(path.read_bytes()[:-3])
    before = sorted(store_job.directory.glob("*/*"))
    with pytest.raises(InputError, match="is damaged"):
        quietly(store_job.directory)
    assert sorted(store_job.directory.glob("*/*")) == before


def test_no_store(tmp_path):
    with pytest.raises(InputError, match="no feature store"):
        quietly(tmp_path)
    assert list(tmp_path.iterdir()) == []


KILLED = """
import os, signal, sys
from pathlib import Path
from features.store.compact import compact
left = [int(sys.argv[1])]
def or_die(real):
    def change(*arguments, **options):
        left[0] -= 1
        if left[0] == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return real(*arguments, **options)
    return change
os.replace, Path.unlink = or_die(os.replace), or_die(Path.unlink)
compact(Path(sys.argv[2]), lambda done, of: None)
"""


def check_killed(store_job, random_stores, pytestconfig, tmp_path, at):
    store = tmp_path / "store"
    for number in range(3):
        record = store_job.record(f"{number}", sight=ROWS + number, sound=None, times={"sight": TIMES})
        store_job.write(record, directory=store, sight=3, sound=2)
    store_job.write(store_job.record("bad", verdict="failed", note="why", of=0), directory=store, sight=3)
    shutil.copytree(store, tmp_path / "copy")
    command = [sys.executable, "-c", KILLED, str(at), str(store)]
    killed = subprocess.run(command, cwd=pytestconfig.rootpath, capture_output=True, check=False)
    if killed.returncode == 0:
        return False
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()
    assert random_stores.same(store, tmp_path / "copy")
    assert [finding for finding in found(store) if finding.wrong] == []
    quietly(store)
    assert random_stores.same(store, tmp_path / "copy")
    assert found(store) == []
    assert len(list((store / "parts").iterdir())) == 1
    return True


@pytest.mark.parametrize("at", [2, 5])
def test_killed_while_it_writes_and_while_it_takes_away(store_job, random_stores, pytestconfig, tmp_path, at):
    assert check_killed(store_job, random_stores, pytestconfig, tmp_path, at)


@pytest.mark.slow
def test_killed_at_any_moment(store_job, random_stores, pytestconfig, tmp_path):
    for at in itertools.count(1):
        if not check_killed(store_job, random_stores, pytestconfig, tmp_path / f"{at}", at):
            break
    assert at > 12
