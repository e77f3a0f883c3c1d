"""Every row of a stream has its time."""

import numpy as np
import pytest

from features.errors import InputError
from features.store import writer as store_writer
from features.store.feature_store import FeatureStore
from features.store.writer import clear_overwritten

ROWS = np.arange(6, dtype=np.float16).reshape(2, 3)
TIMES = np.array([0.25, 0.75], np.float32)


def test_what_is_written_is_read(store_job):
    records = [
        store_job.record("a", sight=ROWS, times={"sight": TIMES}),
        store_job.record("b", sight=ROWS[:1], times={"sight": TIMES[:1] + 60}),
        store_job.record("c", sight=None),
    ]
    store = FeatureStore(store_job.write(*records, sight=3))
    late, early, none = store.times("sight", ["b", "a", "c"])
    assert late.dtype == early.dtype == np.float32
    np.testing.assert_array_equal(early, TIMES)
    np.testing.assert_array_equal(late, [60.25])
    assert none is None
    assert store.lengths("sight", ["b", "a", "c"]) == [1, 2, 0]
    with pytest.raises(KeyError, match="no 'sight' of clip 'z'"):
        store.times("sight", ["z"])
    with pytest.raises(KeyError, match="no stream 'smell'"):
        store.times("smell", ["a"])


def test_streams_without_times_have_none(store_job):
    """Imports; alone in a shard, and beside others."""
    store_job.write(
        store_job.record("a", sight=ROWS), store_job.record("b", sight=ROWS, times={"sight": TIMES}), sight=3
    )
    store_job.write(store_job.record("c", sight=ROWS), sight=3)
    store = FeatureStore(store_job.directory)
    assert [times is None for times in store.times("sight", ["a", "b", "c"])] == [True, False, True]
    assert len(list(store.directory.glob("sight/*.times.safetensors"))) == 1


def test_times_of_a_missing_stream_are_not_written(store_job):
    record = store_job.record("a", sight=None, sound=ROWS, times={"sight": TIMES})
    store_job.write(record, sight=3, sound=3)
    assert not (store_job.directory / "sight").exists()


def test_how_they_lie_in_memory_does_not_matter(store_job):
    times = np.arange(8, dtype=np.float32)[::4]
    store = FeatureStore(store_job.write(store_job.record("a", sight=ROWS, times={"sight": times}), sight=3))
    np.testing.assert_array_equal(store.times("sight", ["a"])[0], [0, 4])


@pytest.mark.parametrize("spoil", [lambda path: path.unlink(), lambda path: path.write_bytes(b"x" * 30)])
def test_a_damaged_file_is_named(store_job, spoil):
    store_job.write(store_job.record("a", sight=ROWS, times={"sight": TIMES}), sight=3)
    (path,) = store_job.directory.glob("sight/*.times.safetensors")
    spoil(path)
    with pytest.raises(InputError, match=r"times\.safetensors is damaged.*mee store verify"):
        FeatureStore(store_job.directory).times("sight", ["a"])


def test_overwriting_takes_them_away(store_job):
    store_job.write(store_job.record("a", sight=ROWS, times={"sight": TIMES}), sight=3)
    clear_overwritten(store_job.directory, store_job.declare(overwrite=True, sight=3))
    assert list((store_job.directory / "sight").iterdir()) == []


def test_those_of_a_dead_writer_without_part_go_and_those_with_one_stay(store_job):
    records = [store_job.record(name, sight=ROWS, times={"sight": TIMES}) for name in "ab"]
    writer = store_writer.StoreWriter(store_job.directory, store_job.declare(sight=3))
    for record in records:
        writer.add([record])
        writer.flush()
    (store_job.directory / "parts" / f"{writer.name}-000001.parquet").unlink()
    writer._lock._file.close()  # as death does
    store_job.write(sight=3)
    assert sorted(path.name for path in (store_job.directory / "sight").iterdir()) == [
        f"{writer.name}-000000.safetensors",
        f"{writer.name}-000000.times.safetensors",
    ]
    np.testing.assert_array_equal(FeatureStore(store_job.directory).times("sight", ["a"])[0], TIMES)
