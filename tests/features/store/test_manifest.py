"""store.json refuses to mix what does not belong together; a row of the store tells all of a clip."""

import json
import multiprocessing

import numpy as np
import pytest

from features.errors import InputError
from features.extractors.base import Fingerprint
from features.media.clip import SourceFacts
from features.store.feature_store import FeatureStore
from features.store.layout import ROW, ClipRecord
from features.store.manifest import Manifest, declare


def test_streams_are_added_and_saying_the_same_again_changes_nothing(store_job):
    store_job.declare(sight=3)
    added = store_job.declare(sound=2)
    before = (store_job.directory / "store.json").stat().st_mtime_ns
    assert list(store_job.declare(sight=3).streams) == list(added.streams) == ["sight", "sound"]
    assert Manifest.read(store_job.directory) == added
    assert (store_job.directory / "store.json").stat().st_mtime_ns == before


@pytest.mark.parametrize("change", [{"version": 2}, {"sight": 4}])
def test_another_fingerprint_is_refused_with_the_remedy(store_job, change):
    store_job.declare(sight=3)
    before = (store_job.directory / "store.json").read_text()
    with pytest.raises(InputError, match=r"'sight' was made by another extractor.*--overwrite"):
        store_job.declare(**{"sight": 3, **change})
    assert (store_job.directory / "store.json").read_text() == before


def test_another_way_of_cutting_is_refused(store_job):
    store_job.declare(clip_seconds=5.0, sight=3)
    with pytest.raises(InputError, match=r"--clip-seconds 5\.0, this job asks for default.*another store"):
        store_job.declare(sight=3)
    with pytest.raises(InputError, match=r"this job asks for 2\.5"):
        store_job.declare(clip_seconds=2.5, overwrite=True, sight=3)


@pytest.mark.parametrize("make", [lambda p: p.write_text("x"), lambda p: (p.mkdir(), (p / "mine.txt").touch())])
def test_what_is_not_a_store_is_refused_and_left_alone(store_job, make):
    make(store_job.directory)
    before = sorted(store_job.directory.rglob("*"))
    with pytest.raises(InputError, match="is not a feature store; name another place"):
        store_job.declare(sight=3)
    assert sorted(store_job.directory.rglob("*")) == before


def test_a_job_killed_at_its_very_start_does_not_spoil_the_folder(store_job):
    store_job.directory.mkdir()
    (store_job.directory / ".store.json.123").write_text("{")
    store_job.declare(sight=3)
    assert not (store_job.directory / ".store.json.123").exists()


@pytest.mark.parametrize("version", [1, 2])
def test_overwrite_begins_a_stream_anew(store_job, version):
    rows = np.ones((2, 3), np.float16)
    record = store_job.record
    store_job.write(record("a", sight=rows, sound=rows), record("b", sight=rows, sound=rows), sight=3, sound=3)
    store_job.declare(overwrite=True, version=version, sight=3)
    store = FeatureStore(store_job.directory)
    assert store.done("sight") == set()
    assert store.done("sound") == {"a", "b"}
    assert len(store.clips) == 0
    store_job.write(record("a", sight=rows * 2), version=version, sight=3)
    store = FeatureStore(store_job.directory)
    assert list(store.clips.index) == ["a"]
    assert (store.read("sight", ["a"])[0] == 2).all()
    assert (store.read("sound", ["a"])[0] == 1).all()


def test_the_manifest_is_plain_json(store_job):
    store_job.declare(clip_seconds=5.0, sight=3)
    content = json.loads((store_job.directory / "store.json").read_text())
    assert content["format"] == 2
    assert content["clip_seconds"] == 5.0
    assert content["streams"]["sight"]["fingerprint"]["dim"] == 3


def _declare_many(directory, job):
    for number in range(20):
        name = f"stream_{job}_{number}"
        declare(directory, {name: Fingerprint(extractor=name, version=1, dim=1)}, None, overwrite=False)


def test_jobs_that_declare_at_once_lose_nothing(tmp_path):
    context = multiprocessing.get_context("fork")
    jobs = [context.Process(target=_declare_many, args=(tmp_path / "store", job)) for job in range(3)]
    for job in jobs:
        job.start()
    for job in jobs:
        job.join()
    assert [job.exitcode for job in jobs] == [0, 0, 0]
    assert len(Manifest.read(tmp_path / "store").streams) == 60


FACTS = SourceFacts(
    file_seconds=61.5, width=640, height=360, fps=29.97, video_codec="h264", audio_codec="aac", audio_rate=44100
)
ROWS = np.ones((2, 3), np.float16)


@pytest.mark.parametrize(
    "source", [None, FACTS, SourceFacts(file_seconds=0.0, width=3, height=4, video_codec="png")]
)
@pytest.mark.parametrize("digest", ["", "ab" * 32])
def test_a_row_read_back_makes_the_same_record(store_job, source, digest):
    record = store_job.record("v#t=0,10", "v", of=2, source=source, file_sha256=digest, sight=ROWS, note="n")
    rows = FeatureStore(store_job.write(record, sight=3)).rows
    (known,) = rows[list(ROW[1:])].astype(object).where(rows[list(ROW[1:])].notna(), None).to_dict("records")
    again = ClipRecord.of_row("v#t=0,10", known, record.streams)
    assert again == record


def test_what_is_not_known_is_nothing(store_job):
    rows = FeatureStore(store_job.write(store_job.record("v", sight=ROWS), sight=3)).rows
    assert rows.loc["v", ["file_seconds", "width", "fps", "video_codec", "audio_rate", "file_sha256"]].isna().all()


@pytest.mark.parametrize("name", ["parts", "checksums", "writers", "imports", "clip_id", "written_at", "verdict"])
def test_a_stream_cannot_have_the_name_of_a_column_or_folder(tmp_path, name):
    with pytest.raises(InputError, match=f"'{name}'"):
        declare(tmp_path / "store", {name: Fingerprint(extractor="x", version=1, dim=3)}, None, overwrite=False)
    assert not (tmp_path / "store").exists()
