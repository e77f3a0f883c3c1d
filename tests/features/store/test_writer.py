"""Shards are complete or do not exist, whoever else writes; store.json refuses what does not belong together."""

import json
import multiprocessing
import os

import numpy as np
import pytest

from features.errors import InputError
from features.extractors.base import Fingerprint
from features.store import writer as store_writer
from features.store.feature_store import FeatureStore
from features.store.manifest import Manifest, declare
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


def test_streams_are_added_and_declaring_them_again_changes_nothing(store_job):
    store_job.directory.mkdir()
    (store_job.directory / ".store.json.123").write_text("{")  # of a job killed at its start
    store_job.declare(clip_seconds=5.0, sight=3)
    assert list(files(store_job.directory)) == ["store.json"]
    added = store_job.declare(clip_seconds=5.0, sound=2)
    before = files(store_job.directory)
    assert list(store_job.declare(clip_seconds=5.0, sight=3).streams) == list(added.streams) == ["sight", "sound"]
    assert Manifest.read(store_job.directory) == added
    assert files(store_job.directory) == before
    content = json.loads((store_job.directory / "store.json").read_text())
    assert (content["format"], content["clip_seconds"]) == (3, 5.0)
    assert content["streams"]["sight"]["fingerprint"]["dim"] == 3


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"version": 2, "sight": 3}, r"'sight' .*--overwrite"),
        ({"sight": 4}, r"'sight' .*--overwrite"),
        ({"clip_seconds": 5.0, "sight": 3}, r"--clip-seconds default, .* 5\.0.*another store"),
        ({"clip_seconds": 2.5, "overwrite": True, "sight": 3}, r"2\.5"),
        *(({name: 3}, f"'{name}'") for name in ("parts", "checksums", "writers", "imports")),
        *(({name: 3}, f"'{name}'") for name in ("clip_id", "written_at")),
    ],
)
def test_what_does_not_fit_is_refused_and_changes_nothing(store_job, settings, named):
    store_job.declare(sight=3)
    before = files(store_job.directory)
    with pytest.raises(InputError, match=named):
        store_job.declare(**settings)
    assert files(store_job.directory) == before


@pytest.mark.parametrize("folder", [False, True])
def test_what_is_not_a_store_is_refused_and_kept(store_job, tmp_path, folder):
    mine = store_job.directory / "mine.txt" if folder else store_job.directory
    mine.parent.mkdir(exist_ok=True)
    mine.write_text("x")
    before = files(tmp_path)
    with pytest.raises(InputError, match="is not a feature store; name another place"):
        store_job.declare(sight=3)
    assert files(tmp_path) == before


@pytest.mark.parametrize("version", [1, 2])
def test_overwriting_a_stream_keeps_the_others(store_job, version):
    rows = np.ones((2, 3), np.float16)
    record = store_job.record
    store_job.write(*(record(name, sight=rows, sound=rows, times=TIMES) for name in "ab"), sight=3, sound=3)
    store_job.declare(overwrite=True, version=version, sight=3)
    store = FeatureStore(store_job.directory)
    assert (store.done("sight"), store.done("sound"), len(store.clips)) == (set(), {"a", "b"}, 0)
    sound = files(store_job.directory, "sound/*")
    clear_overwritten(store_job.directory, store.manifest)
    assert (files(store_job.directory, "sight/*"), files(store_job.directory, "sound/*")) == ({}, sound)
    store_job.write(record("a", sight=rows * 2), version=version, sight=3)
    store = FeatureStore(store_job.directory)
    assert list(store.clips.index) == ["a"]
    assert (store.read("sight", ["a"])[0] == 2).all()
    assert (store.read("sound", ["a"])[0] == 1).all()


def _declare_many(directory, job):
    for number in range(20):
        name = f"stream_{job}_{number}"
        declare(directory, {name: Fingerprint(extractor=name, version=1, dim=1)}, None, overwrite=False)


def test_jobs_that_declare_at_once_lose_nothing(tmp_path):
    context = multiprocessing.get_context("fork")
    jobs = [context.Process(target=_declare_many, args=(tmp_path / "store", job)) for job in range(3)]
    run_at_once(jobs)
    assert len(Manifest.read(tmp_path / "store").streams) == 60


NONSENSE = '{"format": 3, "streams": {"a": {"b": 1}}, "clip_seconds": 1}'


@pytest.mark.parametrize("content", ["{}", "[]", '{"format": 1}', '{"format": 99}', NONSENSE])
def test_a_manifest_that_makes_no_sense_is_refused(tmp_path, content):
    (tmp_path / "store.json").write_text(content)
    with pytest.raises(InputError, match=r"store\.json is (damaged|of format (1|99),.*mee precompute)"):
        FeatureStore(tmp_path)
