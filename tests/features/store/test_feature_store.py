"""Reading a feature store."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import pytest
from safetensors.numpy import load_file

from features.errors import InputError
from features.media.clip import SourceFacts
from features.store.feature_store import FeatureStore
from features.store.layout import MISSING, PRESENT, ROW, ClipRecord
from mee.data.source import FeatureSource, load_ragged
from tests.features.small_stores import NAMES, ROWS, TIMES


def test_what_is_written_is_read(store_job):
    rng = np.random.default_rng(0)
    streams = {name: np.float16(rng.normal(size=(t + 1, 3)) * 100) for t, name in enumerate(NAMES)}
    store = FeatureStore(store_job.write(*(store_job.record(n, sight=s) for n, s in streams.items()), sight=3))
    for name, rows in zip(reversed(NAMES), store.read("sight", list(reversed(NAMES)))):
        np.testing.assert_array_equal(rows, streams[name], strict=True)
    assert sorted(store.clips.index) == sorted(store.done("sight")) == sorted(NAMES)


@pytest.mark.parametrize("rows", [np.asfortranarray(ROWS), ROWS[::-1], ROWS[:, ::-1], ROWS[:, :2].T])
def test_the_memory_layout_of_rows_does_not_matter(store_job, rows):
    times = {"sight": np.arange(8, dtype=np.float32)[:: 8 // len(rows)]}
    store = FeatureStore(store_job.write(store_job.record("a", sight=rows, times=times), sight=rows.shape[1]))
    np.testing.assert_array_equal(store.read("sight", ["a"])[0], rows)
    np.testing.assert_array_equal(store.times("sight", ["a"])[0], times["sight"])


def test_missing_failed_and_not_yet_extracted_are_three_things(store_job):
    r = store_job.record
    store_job.write(r("seen", sight=ROWS), r("blind", sight=None), r("bad", verdict="failed", note="why"), sight=3)
    store_job.write(r("seen", sound=None), sound=2)
    store = FeatureStore(store_job.directory)
    states = store.rows[["sight", "sound"]].fillna("").T.to_dict("list")
    assert states == {"seen": [PRESENT, MISSING], "blind": [MISSING, ""], "bad": ["", ""]}
    assert list(store.clips.index) == ["seen"]
    assert (set(store.failed), store.failed["bad"]) == ({"blind", "bad"}, "why")
    assert "mee precompute" in store.failed["blind"]
    assert (store.done("sight"), store.done("sound")) == ({"seen", "blind"}, {"seen"})
    assert store.read("sight", ["blind"]) == [None]
    wrong = {"no 'sound' of clip 'blind'": ("sound", ["blind"]), "no 'sight' of clip 'z'": ("sight", ["z"])}
    for message, arguments in (wrong | {"no stream 'smell'": ("smell", ["seen"])}).items():
        for look in (store.read, store.times):
            with pytest.raises(KeyError, match=message):
                look(*arguments)


def test_shards_are_united(store_job):
    r = store_job.record
    store_job.write(r("a", sight=ROWS), sight=3)
    store_job.write(r("b", sight=ROWS + 1), sight=3)
    store_job.write(r("b", sound=ROWS[:, :2]), r("a", sound=None), sound=2)
    store = FeatureStore(store_job.directory)
    assert list(store.clips.index) == ["a", "b"]
    np.testing.assert_array_equal(store.read("sight", ["b"])[0], ROWS + 1)
    np.testing.assert_array_equal(store.read("sound", ["b"])[0], ROWS[:, :2])
    assert store.read("sound", ["a"]) == [None]
    assert store.coverage() == {"sight": 2, "sound": 1}
    assert store.dims == {"sight": 3, "sound": 2}


def test_of_several_rows_of_a_clip_the_last_counts(store_job):
    for value in (1, 2):
        store_job.write(store_job.record("a", sight=ROWS * 0 + value), sight=3)
    store = FeatureStore(store_job.directory)
    assert (len(store.rows), (store.read("sight", ["a"])[0] == 2).all()) == (1, True)
    store_job.write(store_job.record("a", sight=None), sight=3)
    store = FeatureStore(store_job.directory)
    assert store.coverage() == {"sight": 0}
    assert store.read("sight", ["a"]) == store.times("sight", ["a"]) == [None]
    assert store.lengths("sight", ["a"]) == [0]


@pytest.mark.parametrize("clip_id", ["v", "v#t=0,10"])
def test_of_a_failure_and_a_success_the_last_counts(store_job, clip_id):
    store_job.write(store_job.record("v", verdict="timed out", note="slow", of=0), sight=3)
    assert FeatureStore(store_job.directory).failed == {"v": "slow"}
    store_job.write(store_job.record(clip_id, "v", sight=ROWS), sight=3)
    store = FeatureStore(store_job.directory)
    assert (list(store.rows.index), store.failed) == ([clip_id], {})
    store_job.write(store_job.record("v", verdict="failed", note="broke", of=0), sound=2)
    store = FeatureStore(store_job.directory)
    assert (store.failed, len(store.clips), store.done("sound")) == ({"v": "broke"}, 0, set())


def test_of_two_cuts_of_one_file_the_last_counts_and_nothing_before_a_tombstone(store_job):
    r, digest = store_job.record, {"file_sha256": "ab" * 32}
    store_job.write(*(r(f"v#t={n},{n + 1}", "v", of=3, sight=ROWS, **digest) for n in range(3)), sight=3)
    store_job.write(r("v", sight=ROWS, **digest), r("w", sight=ROWS, **digest), sight=3)
    assert list(FeatureStore(store_job.directory).rows.index) == ["v", "w"]
    store_job.write(
        ClipRecord.tombstone("v"), ClipRecord.tombstone("w"), r("w", sight=ROWS + 1, **digest), sight=3
    )
    store = FeatureStore(store_job.directory)
    assert (list(store.rows.index), store.done("sight"), store.failed) == (["w"], {"w"}, {})
    np.testing.assert_array_equal(store.read("sight", ["w"])[0], ROWS + 1)


def test_a_video_is_done_when_all_its_clips_of_one_file_are(store_job):
    store_job.declare(sight=3)
    store = FeatureStore(store_job.directory)  # without rows
    assert (len(store.clips), store.failed, store.done("sight"), store.coverage()) == (0, {}, set(), {"sight": 0})
    assert store.read("sight", []) == []
    cut = [store_job.record(f"v#t={i},{i + 1}", "v", of=3, sight=ROWS) for i in range(3)]
    store_job.write(*cut[:2], sight=3)
    assert FeatureStore(store_job.directory).done("sight") == set()
    store_job.write(cut[2], sight=3)
    assert FeatureStore(store_job.directory).done("sight") == {"v"}
    store_job.write(store_job.record("w", sight=ROWS, file_bytes=100), sight=3)
    store_job.write(store_job.record("w", sound=None, file_bytes=101), sound=2)
    store = FeatureStore(store_job.directory)
    assert (store.done("sound"), store.done("sight")) == ({"w"}, {"v"})  # of w, sight is of the old file
    assert len(store.clips) == 0


def test_it_is_a_feature_source(store_job):
    """The one place where features and mee meet."""
    source: FeatureSource = FeatureStore(store_job.write(store_job.record("a", sight=ROWS), sight=3))
    clip_ids: Sequence[str] = source.clips.index.tolist()
    assert load_ragged(source, list(source.dims), clip_ids)["sight"].all().padded.shape == (1, 2, 3)
    assert source.clips.loc["a", ["video", "start_s", "end_s"]].tolist() == ["a", 0.0, 1.0]
    assert (isinstance(source.name, str), set(source.fingerprints), source.failed) == (True, {"sight"}, {})


def test_pandas_and_safetensors_open_it_without_mee(store_job):
    directory = store_job.write(*(store_job.record(n, sight=ROWS, sound=None) for n in NAMES), sight=3, sound=2)
    table = pd.read_parquet(directory / "parts")
    assert sorted(table["clip_id"]) == sorted(NAMES)
    assert set(table["sight"]) == {PRESENT}
    (shard,) = (directory / "sight").iterdir()
    assert sorted(load_file(shard)) == sorted(NAMES)
    assert not (directory / "sound").exists()


@pytest.mark.parametrize(
    "which", ["sight/*[0-9].safetensors", "sight/*.times.safetensors", "parts/*", "checksums/*"]
)
@pytest.mark.parametrize("spoil", [lambda b: b[: len(b) // 2], lambda b: b"", lambda b: b"\xff" * len(b), None])
def test_a_damaged_file_is_an_input_error_that_names_it(store_job, which, spoil):
    directory = store_job.write(store_job.record("a", sight=ROWS, times={"sight": TIMES}), sight=3)
    (path,) = directory.glob(which)
    path.write_bytes(spoil(path.read_bytes())) if spoil else path.unlink()
    if not path.exists() and "checksums" in which:  # then the shard does not exist
        assert FeatureStore(directory).done("sight") == set()
        return
    with pytest.raises(InputError, match=str(path)) as caught:
        [getattr(FeatureStore(directory), look)("sight", ["a"]) for look in ("times", "read")]
    assert "\n" not in str(caught.value)


def test_times_are_read(store_job):
    """Imports have none; alone in a shard, and beside others."""
    records = [
        store_job.record("a", sight=ROWS, times={"sight": TIMES}),
        store_job.record("b", sight=ROWS[:1], times={"sight": TIMES[:1] + 60}),
        store_job.record("c", sight=None, times={"sight": TIMES}),
        store_job.record("d", sight=ROWS),
    ]
    store_job.write(store_job.record("e", sight=ROWS), sight=3)
    store = FeatureStore(store_job.write(*records, sight=3))
    late, early, *none = store.times("sight", ["b", "a", "c", "d", "e"])
    assert late.dtype == early.dtype == np.float32
    np.testing.assert_array_equal(early, TIMES)
    np.testing.assert_array_equal(late, [60.25])
    assert none == [None] * 3
    assert store.lengths("sight", ["b", "a", "c"]) == [1, 2, 0]
    assert len(list(store.directory.glob("sight/*.times.safetensors"))) == 1


FACTS = SourceFacts(
    file_seconds=61.5, width=640, height=360, fps=29.97, video_codec="h264", audio_codec="aac", audio_rate=44100
)
STILL = SourceFacts(file_seconds=0.0, width=3, height=4, video_codec="png")


@pytest.mark.parametrize("source", [None, FACTS, STILL], ids=["import", "video", "still"])
@pytest.mark.parametrize("digest", ["", "ab" * 32], ids=["no hash", "hash"])
def test_a_row_read_back_makes_the_same_record(store_job, source, digest):
    record = store_job.record("v#t=0,10", "v", of=2, source=source, file_sha256=digest, sight=ROWS, note="n")
    rows = FeatureStore(store_job.write(record, sight=3)).rows[list(ROW[1:])]
    (known,) = rows.astype(object).where(rows.notna(), None).to_dict("records")
    assert ClipRecord.of_row("v#t=0,10", known, record.streams) == record
    if source is None:
        assert rows.loc["v#t=0,10", ["file_seconds", "width", "fps", "video_codec", "audio_rate"]].isna().all()
    assert pd.isna(rows.loc["v#t=0,10", "file_sha256"]) == (digest == "")
