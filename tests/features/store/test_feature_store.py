"""Reading a feature store."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import pytest
from safetensors.numpy import load_file

from features.errors import InputError
from features.store.feature_store import FeatureStore
from features.store.layout import MISSING, PRESENT
from mee.data.source import FeatureSource, load_ragged

STREAM = np.arange(6, dtype=np.float16).reshape(2, 3)
TIMES = np.array([0.25, 0.75], np.float32)
NAMES = ["a b.mp4", "übung 漢字.mp4", "c#1.mp4", "d#t=0,10", "-e/%20[x].mp4", "f'\".mp4"]


def test_what_is_written_is_read(store_job):
    rng = np.random.default_rng(0)
    streams = {name: np.float16(rng.normal(size=(t + 1, 3)) * 100) for t, name in enumerate(NAMES)}
    store = FeatureStore(store_job.write(*(store_job.record(n, sight=s) for n, s in streams.items()), sight=3))
    for name, rows in zip(reversed(NAMES), store.read("sight", list(reversed(NAMES)))):
        assert rows.dtype == np.float16
        np.testing.assert_array_equal(rows, streams[name])
    assert sorted(store.clips.index) == sorted(NAMES)
    assert store.done("sight") == set(NAMES)


@pytest.mark.parametrize("lay", [np.asfortranarray, lambda a: a[::-1], lambda a: a[:, ::-1], lambda a: a[:, :2].T])
def test_how_rows_lie_in_memory_does_not_matter(store_job, lay):
    rows = lay(STREAM)
    times = {"sight": np.arange(8, dtype=np.float32)[:: 8 // len(rows)]}
    store = FeatureStore(store_job.write(store_job.record("a", sight=rows, times=times), sight=rows.shape[1]))
    np.testing.assert_array_equal(store.read("sight", ["a"])[0], rows)
    np.testing.assert_array_equal(store.times("sight", ["a"])[0], times["sight"])


def test_missing_failed_and_not_yet_extracted_are_three_things(store_job):
    r = store_job.record
    store_job.write(
        r("seen", sight=STREAM), r("blind", sight=None), r("bad", verdict="failed", note="why"), sight=3
    )
    store_job.write(r("seen", sound=None), sound=2)
    store = FeatureStore(store_job.directory)
    assert store.rows.loc["seen", ["sight", "sound"]].tolist() == [PRESENT, MISSING]
    assert store.rows.loc["blind", "sight"] == MISSING
    assert pd.isna(store.rows.loc["blind", "sound"])
    assert store.rows.loc["bad", ["sight", "sound"]].isna().all()
    assert list(store.clips.index) == ["seen"]
    assert set(store.failed) == {"blind", "bad"}
    assert store.failed["bad"] == "why"
    assert "mee precompute" in store.failed["blind"]
    assert store.done("sight") == {"seen", "blind"}
    assert store.done("sound") == {"seen"}
    assert store.read("sight", ["blind"]) == [None]
    with pytest.raises(KeyError, match="no 'sound' of clip 'blind'"):
        store.read("sound", ["blind"])
    with pytest.raises(KeyError, match="no stream 'smell'"):
        store.read("smell", ["seen"])


def test_shards_are_united(store_job):
    r = store_job.record
    store_job.write(r("a", sight=STREAM), sight=3)
    store_job.write(r("b", sight=STREAM + 1), sight=3)
    store_job.write(r("b", sound=STREAM[:, :2]), r("a", sound=None), sound=2)
    store = FeatureStore(store_job.directory)
    assert list(store.clips.index) == ["a", "b"]
    np.testing.assert_array_equal(store.read("sight", ["b"])[0], STREAM + 1)
    np.testing.assert_array_equal(store.read("sound", ["b"])[0], STREAM[:, :2])
    assert store.read("sound", ["a"]) == [None]
    assert store.coverage() == {"sight": 2, "sound": 1}
    assert store.dims == {"sight": 3, "sound": 2}


def test_of_two_jobs_that_did_the_same_clip_the_later_counts(store_job):
    for value in (1, 2):
        store_job.write(store_job.record("a", sight=STREAM * 0 + value), sight=3)
    store = FeatureStore(store_job.directory)
    assert len(store.rows) == 1
    assert (store.read("sight", ["a"])[0] == 2).all()


def test_what_was_present_and_is_missing_since_is_missing(store_job):
    store_job.write(store_job.record("a", sight=STREAM), sight=3)
    store_job.write(store_job.record("a", sight=None), sight=3)
    store = FeatureStore(store_job.directory)
    assert store.coverage() == {"sight": 0}
    assert store.read("sight", ["a"]) == store.times("sight", ["a"]) == [None]
    assert store.lengths("sight", ["a"]) == [0]


@pytest.mark.parametrize("clip_id", ["v", "v#t=0,10"])
def test_a_success_takes_the_place_of_an_earlier_failure(store_job, clip_id):
    bad = store_job.record("v", verdict="timed out", note="slow", of=0)
    store_job.write(bad, sight=3)
    assert FeatureStore(store_job.directory).failed == {"v": "slow"}
    store_job.write(store_job.record(clip_id, "v", sight=STREAM), sight=3)
    store = FeatureStore(store_job.directory)
    assert list(store.rows.index) == [clip_id]
    assert store.failed == {}


def test_a_failure_after_a_success_counts(store_job):
    store_job.write(store_job.record("v", sight=STREAM), sight=3)
    store_job.write(store_job.record("v", verdict="failed", note="broke", of=0), sound=2)
    store = FeatureStore(store_job.directory)
    assert store.failed == {"v": "broke"}
    assert len(store.clips) == 0
    assert store.done("sound") == set()


def test_a_video_is_done_when_all_its_clips_are(store_job):
    cut = [store_job.record(f"v#t={i},{i + 1}", "v", of=3, sight=STREAM) for i in range(3)]
    store_job.write(*cut[:2], sight=3)
    assert FeatureStore(store_job.directory).done("sight") == set()
    store_job.write(cut[2], sight=3)
    assert FeatureStore(store_job.directory).done("sight") == {"v"}


def test_streams_of_a_changed_file_are_never_mixed(store_job):
    store_job.write(store_job.record("v", sight=STREAM, file_bytes=100), sight=3)
    store_job.write(store_job.record("v", sound=None, file_bytes=101), sound=2)
    store = FeatureStore(store_job.directory)
    assert store.done("sound") == {"v"}
    assert store.done("sight") == set()  # of the old file
    assert len(store.clips) == 0


def test_a_store_without_rows_can_be_read(store_job):
    store_job.declare(sight=3)
    store = FeatureStore(store_job.directory)
    assert (len(store.clips), store.failed, store.done("sight"), store.coverage()) == (0, {}, set(), {"sight": 0})
    assert store.read("sight", []) == []


def test_it_is_a_feature_source(store_job):
    """The one place where features and mee meet."""
    source: FeatureSource = FeatureStore(store_job.write(store_job.record("a", sight=STREAM), sight=3))
    clip_ids: Sequence[str] = source.clips.index.tolist()
    clips = load_ragged(source, list(source.dims), clip_ids)
    assert clips["sight"].all().padded.shape == (1, 2, 3)
    assert source.clips.loc["a", ["video", "start_s", "end_s"]].tolist() == ["a", 0.0, 1.0]
    assert isinstance(source.name, str)
    assert set(source.fingerprints) == {"sight"}
    assert source.failed == {}


def test_pandas_and_safetensors_open_it_without_us(store_job):
    directory = store_job.write(*(store_job.record(n, sight=STREAM, sound=None) for n in NAMES), sight=3, sound=2)
    table = pd.read_parquet(directory / "parts")
    assert sorted(table["clip_id"]) == sorted(NAMES)
    assert set(table["sight"]) == {PRESENT}
    (shard,) = (directory / "sight").iterdir()
    assert sorted(load_file(shard)) == sorted(NAMES)
    assert not (directory / "sound").exists()


def read_all(directory):
    store = FeatureStore(directory)
    return store.times("sight", ["a"]), store.read("sight", ["a"])


FILES = {
    "rows": "sight/*[0-9].safetensors",
    "times": "sight/*.times.safetensors",
    "part": "parts/*",
    "checksums": "checksums/*",
    "manifest": "store.json",
}


@pytest.mark.parametrize("which", FILES)
@pytest.mark.parametrize("spoil", [lambda b: b[: len(b) // 2], lambda b: b"", lambda b: b"\xff" * len(b), None])
def test_a_damaged_file_is_an_input_error_that_names_it(store_job, which, spoil):
    directory = store_job.write(store_job.record("a", sight=STREAM, times={"sight": TIMES}), sight=3)
    (path,) = directory.glob(FILES[which])
    if spoil is None:
        path.unlink()
    else:
        path.write_bytes(spoil(path.read_bytes()))
    if spoil is None and which == "checksums":  # then the shard does not exist
        assert FeatureStore(directory).done("sight") == set()
        return
    with pytest.raises(InputError, match=path.name if path.exists() else "damaged|no feature store") as caught:
        read_all(directory)
    assert "\n" not in str(caught.value)
    assert str(directory) in str(caught.value)


@pytest.mark.parametrize(
    "content",
    [
        "{}",
        "[]",
        '{"format": 1}',
        '{"format": 99}',
        '{"format": 2, "streams": {"a": {"b": 1}}, "clip_seconds": 1}',
    ],
)
def test_a_manifest_that_makes_no_sense_is_refused(tmp_path, content):
    (tmp_path / "store.json").write_text(content)
    with pytest.raises(InputError, match=r"store\.json is (damaged|of format (1|99),.*mee precompute)"):
        FeatureStore(tmp_path)


def test_times_are_read(store_job):
    """Imports have none; alone in a shard, and beside others."""
    records = [
        store_job.record("a", sight=STREAM, times={"sight": TIMES}),
        store_job.record("b", sight=STREAM[:1], times={"sight": TIMES[:1] + 60}),
        store_job.record("c", sight=None, times={"sight": TIMES}),
        store_job.record("d", sight=STREAM),
    ]
    store_job.write(store_job.record("e", sight=STREAM), sight=3)
    store = FeatureStore(store_job.write(*records, sight=3))
    late, early, *none = store.times("sight", ["b", "a", "c", "d", "e"])
    assert late.dtype == early.dtype == np.float32
    np.testing.assert_array_equal(early, TIMES)
    np.testing.assert_array_equal(late, [60.25])
    assert none == [None] * 3
    assert store.lengths("sight", ["b", "a", "c"]) == [1, 2, 0]
    assert len(list(store.directory.glob("sight/*.times.safetensors"))) == 1
    with pytest.raises(KeyError, match="no 'sight' of clip 'z'"):
        store.times("sight", ["z"])
    with pytest.raises(KeyError, match="no stream 'smell'"):
        store.times("smell", ["a"])
