"""Shards exist completely or not at all, whoever else writes."""

import multiprocessing
import os

import numpy as np
import pytest

from features.store import writer as store_writer
from features.store.feature_store import FeatureStore
from features.store.manifest import Manifest
from features.store.writer import StoreWriter, clear_overwritten
from tests.features.small_stores import die, files, run_at_once

ROWS = np.ones((2, 3), np.float16)
TIMES = {"sight": np.ones(2, np.float32)}


@pytest.mark.parametrize("limit", [None, "SHARD_CLIPS", "SHARD_BYTES", "SHARD_SECONDS"])
def test_a_shard_is_written_at_each_limit_and_at_the_end(store_job, monkeypatch, limit):
    if limit:
        monkeypatch.setattr(store_writer, limit, 0)
    store_job.write(sight=3)
    assert list(files(store_job.directory)) == ["store.json"]  # nothing to write writes nothing
    store_job.write(*(store_job.record(f"v{n}", sight=ROWS) for n in range(5)), sight=3)
    shards = [len(files(store_job.directory, f"{folder}/*")) for folder in ("parts", "sight")]
    assert shards == ([5, 5] if limit else [1, 1])
    with StoreWriter(store_job.directory, store_job.declare(sight=3)) as writer:  # clips of a video stay together
        writer.add([store_job.record(f"w#t={n},{n + 1}", "w", of=5, sight=ROWS) for n in range(5)])
    assert len(files(store_job.directory, "parts/*")) == shards[0] + 1
    assert len(FeatureStore(store_job.directory).clips) == 10


def test_an_error_keeps_what_was_added(store_job):
    def job():
        with StoreWriter(store_job.directory, store_job.declare(sight=3)) as writer:
            writer.add([store_job.record("a", sight=ROWS)])
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        job()
    assert list(FeatureStore(store_job.directory).clips.index) == ["a"]
    assert list((store_job.directory / "writers").iterdir()) == []


def _killed_before_its_commit(directory, manifest, record, ready, go_on):
    """A job that has written a stream's file and the part, and not the checksums yet."""
    writer = StoreWriter(directory, manifest)
    writer.add([record])
    writer.flush()
    next((directory / "checksums").glob(f"{writer.name}-*")).unlink()
    (directory / "sight" / f".{writer.name}-000001.safetensors.1").write_text("half")
    ready.set()
    go_on.wait()
    os._exit(9)


@pytest.fixture
def unfinished(store_job):
    """A function that kills a process in the middle of a shard."""
    context = multiprocessing.get_context("fork")
    ready, go_on = context.Event(), context.Event()
    record = store_job.record("unfinished", sight=ROWS)
    arguments = (store_job.directory, store_job.declare(sight=3), record, ready, go_on)
    process = context.Process(target=_killed_before_its_commit, args=arguments)
    process.start()
    assert ready.wait(20)

    def kill():
        process.kill()
        process.join()

    yield kill
    kill()


def test_an_unfinished_shard_of_a_killed_writer_does_not_exist_and_is_removed(store_job, unfinished):
    unfinished()
    assert len(files(store_job.directory, "sight/*")) == 2
    assert len(FeatureStore(store_job.directory).rows) == 0
    store_job.write(store_job.record("a", sight=ROWS), sight=3)
    assert list(FeatureStore(store_job.directory).rows.index) == ["a"]
    assert len(files(store_job.directory, "sight/*")) == 1
    assert list((store_job.directory / "writers").iterdir()) == []


@pytest.mark.parametrize("overwrite", [False, True])
def test_unfinished_files_of_a_running_writer_are_kept(store_job, unfinished, overwrite):
    before = files(store_job.directory, "*/*")
    manifest = store_job.declare(overwrite=overwrite, sight=3)
    if overwrite:
        clear_overwritten(store_job.directory, manifest)
    with StoreWriter(store_job.directory, manifest):
        pass
    assert files(store_job.directory, "*/*") == before


def test_complete_shards_of_a_killed_writer_stay_and_others_go(store_job):
    writer = StoreWriter(store_job.directory, store_job.declare(sight=3))
    for name in "az":
        writer.add([store_job.record(name, sight=ROWS, times=TIMES)])
        writer.flush()
    (store_job.directory / "checksums" / f"{writer.name}-000001.sha256").unlink()
    die(writer)
    store_job.write(store_job.record("b", sight=ROWS), sight=3)
    assert list(FeatureStore(store_job.directory).clips.index) == ["a", "b"]
    assert len(files(store_job.directory, "sight/*")) == 3
    assert list((store_job.directory / "writers").iterdir()) == []


def test_overwriting_removes_the_old_files(store_job):
    store_job.write(store_job.record("a", sight=ROWS, sound=ROWS, times=TIMES), sight=3, sound=3)
    sound = files(store_job.directory, "sound/*")
    clear_overwritten(store_job.directory, store_job.declare(overwrite=True, sight=3))
    assert files(store_job.directory, "sight/*") == {}
    assert files(store_job.directory, "sound/*") == sound


def _write_many(directory, records):
    store_writer.SHARD_CLIPS = 1
    for record in records:  # a writer each, so that jobs meet each other's starts and ends
        with StoreWriter(directory, Manifest.read(directory)) as writer:
            writer.add([record])


def test_several_writers_at_once(store_job):
    store_job.declare(sight=3)
    context = multiprocessing.get_context("fork")
    records = [[store_job.record(f"v{job}{n}", sight=ROWS * (10 * job + n)) for n in range(4)] for job in range(4)]
    run_at_once([context.Process(target=_write_many, args=(store_job.directory, each)) for each in records])
    store = FeatureStore(store_job.directory)
    assert len(store.clips) == 16
    for clip_id, rows in zip(store.clips.index, store.read("sight", store.clips.index)):
        assert (rows == int(clip_id[1:])).all()
    assert list((store_job.directory / "writers").iterdir()) == []
