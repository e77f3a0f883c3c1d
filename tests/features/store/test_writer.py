"""Shards are complete or do not exist, whoever else writes; store.json refuses what does not belong together."""

import json
import multiprocessing
import os
import sys
from dataclasses import replace

import numpy as np
import pytest

from features.errors import InputError
from features.external.config import ImportConfig
from features.external.job import ImportJob
from features.extractors.base import Fingerprint
from features.store import writer as store_writer
from features.store.feature_store import FeatureStore
from features.store.manifest import Manifest, declare
from features.store.merge import merge_stores
from features.store.writer import StoreWriter, clear_overwritten
from features.store.writers import Work
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
    assert (content["format"], content["clip_seconds"]) == (6, 5.0)
    assert content["streams"]["sight"]["fingerprint"]["dim"] == 3


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"version": 2, "sight": 3}, r"'sight' .*--overwrite"),
        ({"sight": 4}, r"'sight' .*--overwrite"),
        ({"clip_seconds": 5.0, "sight": 3}, r"--clip-seconds default, .* 5\.0.*another store"),
        ({"clip_seconds": 2.5, "overwrite": True, "sight": 3}, r"2\.5"),
        *(({name: 3}, f"'{name}'") for name in ("checksums", "imports", "written_at")),
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


def at(monkeypatch, seconds):
    monkeypatch.setattr(store_writer.time, "time", lambda: seconds)


@pytest.mark.parametrize("merged", [False, True])
def test_a_mended_file_is_mended_whatever_the_clock_does(store_job, tmp_path, monkeypatch, merged):
    """Each job starts years before the one that it follows."""
    record, place = store_job.record, store_job.directory

    def now():
        target = tmp_path / f"all-{len(list((place / 'checksums').iterdir()))}"
        if merged:
            merge_stores(target, [place], lambda *_: None)
        return FeatureStore(target if merged else place)

    at(monkeypatch, 4e9)
    store_job.write(record("v", verdict="failed", note="cut", of=0), sight=3)
    assert now().failed == {"v": "cut"}
    at(monkeypatch, 3e9)
    store_job.write(record("v", sight=ROWS), sight=3)
    assert (now().failed, list(now().clips.index)) == ({}, ["v"])
    at(monkeypatch, 2e9)
    store_job.write(record("v", sight=ROWS * 2, file_bytes=200), sight=3)  # its file has changed
    assert (now().read("sight", ["v"])[0] == 2).all()
    at(monkeypatch, 1e9)
    store_job.write(record("v", verdict="failed", note="gone", of=0), sight=3)
    assert now().failed == {"v": "gone"}


def test_of_jobs_that_knew_nothing_of_each_other_a_success_counts(store_job, tmp_path, monkeypatch):
    """Extracted in one store, where its clock is, and failed in another."""
    for name, clock, facts in (("1", 4e9, {"verdict": "failed", "of": 0}), ("2", 1e9, {"sight": ROWS})):
        at(monkeypatch, clock)
        store_job.write(store_job.record("v", **facts), directory=tmp_path / name, sight=3)
    for name, order in (("a", "12"), ("b", "21")):
        merge_stores(tmp_path / name, [tmp_path / each for each in order], lambda *_: None)
        assert list(FeatureStore(tmp_path / name).clips.index) == ["v"]


def test_numbers_of_shards_end(store_job):
    store_job.write(store_job.record("a", sight=ROWS), sight=3)
    for path in store_job.directory.glob("*/*-000000.*"):
        text = path.read_bytes().replace(b"-000000", b"-999999999")
        path.with_name(path.name.replace("-000000", "-999999999")).write_bytes(text)
        path.unlink()
    assert list(FeatureStore(store_job.directory).clips.index) == ["a"]
    with pytest.raises(InputError, match="no numbers left"):
        store_job.write(store_job.record("b", sight=ROWS), sight=3)


BIG = [{"clip_id": "x" * 10_001}, {"clip_id": ""}, {"clip_id": "v", "start_s": 1e300, "end_s": 2e300}]


@pytest.mark.parametrize("facts", [*BIG, {"clip_id": "v", "verdict": "fine"}, {"clip_id": "v", "file_bytes": -1}])
def test_what_could_not_be_read_back_is_not_written(store_job, facts):
    with pytest.raises(InputError, match="what would be written cannot be read back"):
        store_job.write(store_job.record(**facts, video="v", sight=ROWS), sight=3)
    assert len(FeatureStore(store_job.directory).rows) == 0


def test_a_long_reason_is_cut_and_many_clips_of_one_video_fit(store_job):
    """Half a day in clips of half a second, all with one reason."""
    record = store_job.record("v", verdict="degraded", note="why " * 1000, of=80_000, sight=None)
    records = [replace(record, clip_id=f"v#t={n / 2:g},{(n + 1) / 2:g}", end_s=1.0 + n) for n in range(80_000)]
    with StoreWriter(store_job.directory, store_job.declare(sight=3)) as writer:
        writer.add(records)
    rows = FeatureStore(store_job.directory).rows
    assert (len(rows), set(rows["note"])) == (80_000, {"why " * 125})


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_every_file_and_every_new_folder_is_synced_before_the_next_step(store_job, tmp_path, monkeypatch):
    """What is renamed was synced, and so was then its folder; a folder that is made is synced in the one above."""
    events, real = [], {name: getattr(os, name) for name in ("replace", "mkdir")}

    def noted(name):
        def call(*arguments):
            real[name](*arguments)
            events.append((name, *map(str, arguments[:2])))

        return call

    for name in real:
        monkeypatch.setattr(os, name, noted(name))
    monkeypatch.setattr(
        os, "fsync", lambda handle: events.append(("sync", os.readlink(f"/proc/self/fd/{handle}")))
    )
    place = tmp_path / "new" / "place"
    store_job.write(store_job.record("a", sight=ROWS, times=TIMES), directory=place, sight=3)
    merge_stores(tmp_path / "all", [place], lambda *_: None)
    made = [(number, event[1]) for number, event in enumerate(events) if event[0] == "mkdir"]
    renamed = [(number, *event[1:]) for number, event in enumerate(events) if event[0] == "replace"]
    folders = {"new", "place", "sight", "parts", "checksums", "writers", "all"}
    assert folders <= {os.path.basename(path) for _, path in made}
    assert len(renamed) >= 10
    for number, path in made:
        assert events[number + 1] == ("sync", os.path.dirname(path))
    for number, source, target in renamed:
        assert ("sync", source) in events[:number] or "/all/" in target  # there they are links
        assert events[number + 1] == ("sync", os.path.dirname(target))


def _do_the_same(directory, overwrite, done, ended):
    work = Work(["sight"], ["a", "b"])
    try:
        made_by = {"sight": Fingerprint(extractor="sight", version=1, dim=3)}
        manifest = declare(directory, made_by, None, overwrite=overwrite, work=work)
        with StoreWriter(directory, manifest, work):
            done.put("writes")
            ended.wait(20)
    except InputError as error:
        done.put(str(error))


@pytest.mark.parametrize("overwrite", [False, True])
def test_of_jobs_that_start_at_once_to_do_the_same_one_goes_on(store_job, overwrite):
    store_job.declare(sight=3)
    context = multiprocessing.get_context("fork")
    done, ended = context.Queue(), context.Event()
    arguments = (store_job.directory, overwrite, done, ended)
    jobs = [context.Process(target=_do_the_same, args=arguments) for _ in range(4)]
    for job in jobs:
        job.start()
    said = [done.get(timeout=20) for _ in jobs]
    refused = [words for words in said if words != "writes"]
    assert len(refused) == 3
    assert all("makes the same: 'sight' of 'a'" in words or "has just overwritten" in words for words in refused)
    streams = Manifest.read(store_job.directory).streams
    with StoreWriter(store_job.directory, Manifest(None, streams), Work(["sight"], ["c"])):  # other videos
        pass
    ended.set()
    for job in jobs:
        job.join()


def test_two_imports_of_one_stream_and_what_a_running_job_says_of_itself(store_job, tmp_path):
    np.savez(tmp_path / "x.npz", a=ROWS, b=ROWS)
    names, files = ImportConfig(name=("sight=x",)), {"sight": tmp_path / "x.npz"}
    first = ImportJob(store_job.directory, files, names, lambda *_: None)
    first.run()
    manifest = Manifest.read(store_job.directory)
    writer = StoreWriter(store_job.directory, manifest, Work(["sight"], ["a"]))
    for job in (lambda: ImportJob(store_job.directory, files, names, lambda *_: None), first.run):
        with pytest.raises(InputError, match=f"process {os.getpid()} on .*'sight' of 'a'"):
            job()
    note = store_job.directory / "writers" / f"{writer.name}.json"
    unclear = ["{}", "[1]", '{"streams": 1, "videos": 2}', '{"streams": ["sight"], "videos": [[]]}', "[" * 99_999]
    for words in unclear:
        note.write_text(words)
        first.run()
    writer.close()
    assert list(note.parent.iterdir()) == []
