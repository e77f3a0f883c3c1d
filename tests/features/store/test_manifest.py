"""store.json refuses to mix what does not belong together."""

import json
import multiprocessing

import numpy as np
import pytest

from features.errors import InputError
from features.extractors.base import Fingerprint
from features.store.feature_store import FeatureStore
from features.store.manifest import Manifest, declare
from tests.features.small_stores import files, run_at_once


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
    assert (content["format"], content["clip_seconds"]) == (2, 5.0)
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
    store_job.write(record("a", sight=rows, sound=rows), record("b", sight=rows, sound=rows), sight=3, sound=3)
    store_job.declare(overwrite=True, version=version, sight=3)
    store = FeatureStore(store_job.directory)
    assert (store.done("sight"), store.done("sound"), len(store.clips)) == (set(), {"a", "b"}, 0)
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


NONSENSE = '{"format": 2, "streams": {"a": {"b": 1}}, "clip_seconds": 1}'


@pytest.mark.parametrize("content", ["{}", "[]", '{"format": 1}', '{"format": 99}', NONSENSE])
def test_a_manifest_that_makes_no_sense_is_refused(tmp_path, content):
    (tmp_path / "store.json").write_text(content)
    with pytest.raises(InputError, match=r"store\.json is (damaged|of format (1|99),.*mee precompute)"):
        FeatureStore(tmp_path)
