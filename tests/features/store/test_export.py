"""A store exported to other programs, and read back: the same numbers, bit by bit."""

import json
import os
import signal
import subprocess
import sys
from unittest.mock import Mock

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from features.errors import InputError
from features.external.config import ImportConfig
from features.external.job import ImportJob
from features.store import export
from features.store.export import export_stream
from features.store.feature_store import FeatureStore
from tests.features.small_stores import NAMES

KINDS = pytest.mark.parametrize("kind", ["npz", "parquet"])


def quietly(store, path, *streams, on_clips=lambda done, of: None, **options):
    return export_stream(FeatureStore(store), path, streams, on_clips, **options)


@pytest.fixture
def store(store_job):
    """Clips of 1 to 6 rows, every third without sound; all numbers that float16 has trouble with."""
    rng = np.random.default_rng(0)
    odd = np.array([65504, -65504, 6e-8, 1e-5, -0.0, 1 / 3], np.float16)
    records = []
    for length, name in enumerate(NAMES, 1):
        sight = rng.choice(odd, (length, 3))
        sound = None if length % 3 == 0 else np.float16(rng.normal(size=(2, 5)))
        times = {"sight": np.arange(length, dtype=np.float32) / 3}
        records.append(store_job.record(name, sight=sight, sound=sound, times=times))
    failure = store_job.record("bad", verdict="failed", note="why")
    return store_job.write(*records[:3], failure, *records[3:], sight=3, sound=5)


def test_import_reads_an_npz_back(store, tmp_path):
    files = {stream: tmp_path / f"my {stream}.npz" for stream in ("sight", "sound")}
    written = quietly(store, tmp_path / "my {stream}.npz")
    assert [one.path for one in written] == list(files.values())
    config = ImportConfig(name=tuple(f"{stream}=x" for stream in files))
    ImportJob(tmp_path / "back", files, config, lambda *_: None).run()
    there, back = FeatureStore(store), FeatureStore(tmp_path / "back")
    assert list(back.clips.index) == sorted(NAMES)
    for stream in files:
        assert back.rows[stream].equals(there.clips[stream])
        for one, other in zip(there.read(stream, NAMES), back.read(stream, NAMES)):
            assert (one is None) == (other is None)
            assert one is None or one.tobytes() == other.tobytes()


@given(lengths=st.lists(st.integers(0, 5), min_size=1, max_size=9).filter(any), seed=st.integers(0, 999))
def test_both_formats_hold_every_row(tmp_path_factory, fill_store, lengths, seed):
    place = tmp_path_factory.mktemp("export")
    rng = np.random.default_rng(seed)
    streams = {f"{n}": np.float16(rng.normal(size=(length, 2))) for n, length in enumerate(lengths)}
    kept = {name: rows if len(rows) else None for name, rows in streams.items()}
    timed = {name: rows for name, rows in streams.items() if seed % 2 and len(rows)}
    fill_store(place / "store", kept, {name: np.float32(range(len(rows))) for name, rows in timed.items()})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(export, "READ_CLIPS", 1 + seed % 3)
        (npz,), (parquet,) = (quietly(place / "store", place / f"x.{kind}") for kind in ("npz", "parquet"))
    streams = dict(sorted(streams.items(), key=lambda item: len(item[1]) == 0))  # those that miss it last
    lengths = [len(rows) for rows in streams.values()]
    wanted = np.concatenate(list(streams.values()))
    assert (npz.clips, npz.rows) == (parquet.clips, parquet.rows) == (len(lengths), sum(lengths))
    with np.load(place / "x.npz") as arrays:
        np.testing.assert_array_equal(arrays["rows"], wanted)
        assert arrays["offsets"].tolist() == np.cumsum([0, *lengths]).tolist()
        assert arrays["ids"].tolist() == list(streams)
    table = pd.read_parquet(place / "x.parquet")
    np.testing.assert_array_equal(np.stack(table["vector"]).astype(np.float16), wanted)
    assert table["clip_id"].tolist() == [name for name, rows in streams.items() for _ in rows]
    times = [float(t) if seed % 2 else -1 for rows in streams.values() for t in range(len(rows))]
    assert table["time"].fillna(-1).tolist() == times


@KINDS
def test_the_same_store_gives_the_same_file_which_names_its_stream(store, tmp_path, kind):
    one, other = (quietly(store, tmp_path / f"{name}.{kind}", "sight")[0] for name in "12")
    assert one.path.read_bytes() == other.path.read_bytes()
    assert (one.clips, one.rows) == (6, 21)
    if kind == "parquet":
        schema = pq.read_schema(one.path)
        assert str(schema.field("vector").type) == "fixed_size_list<element: float>[3]"
        assert json.loads(schema.metadata[b"streams"])["sight"]["dim"] == 3
        assert set(pd.read_parquet(one.path)["stream"]) == {"sight"}


def test_clips_whose_stream_is_not_known_stay_out(store_job, tmp_path):
    rows = np.ones((1, 3), np.float16)
    store_job.write(store_job.record("a", sight=rows), sight=3)
    store_job.write(store_job.record("b", sight=rows, sound=rows), sound=3, sight=3)
    for stream, ids in (("sight", ["a", "b"]), ("sound", ["b"])):
        quietly(store_job.directory, tmp_path / "x.npz", stream, overwrite=True)
        assert sorted(np.load(tmp_path / "x.npz")["ids"].tolist()) == ids


@pytest.mark.parametrize(
    ("name", "streams"),
    [
        ("x.csv", []),
        ("x.npz", ["smell"]),
        ("x.npz", []),
        ("x.parquet", []),
        ("exists.npz", ["sight"]),
        ("x.npz", ["taste"]),
    ],
)
def test_what_cannot_be_exported_leaves_nothing(store, store_job, tmp_path, says, name, streams):
    store_job.declare(taste=2)  # of which no clip is known
    (tmp_path / "exists.npz").touch()
    with pytest.raises(InputError) as error:
        quietly(store, tmp_path / name, *streams)
    says(error.value)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["exists.npz", "store"]


@KINDS
def test_an_error_leaves_what_was_there(store, tmp_path, kind):
    (tmp_path / f"x.{kind}").write_text("before")
    with pytest.raises(KeyboardInterrupt):
        quietly(
            store, tmp_path / f"x.{kind}", "sight", on_clips=Mock(side_effect=KeyboardInterrupt), overwrite=True
        )
    assert (tmp_path / f"x.{kind}").read_text() == "before"
    shard = next(path for path in (store / "sight").iterdir() if "times" not in path.name)
    shard.write_bytes(shard.read_bytes()[:-9])
    with pytest.raises(InputError, match=f"{shard.name} is damaged"):
        quietly(store, tmp_path / f"y.{kind}", "sight")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["store", f"x.{kind}"]


KILLED = """
import os, signal, sys
from pathlib import Path
from features.store.feature_store import FeatureStore
from features.store.export import export_stream
def die(_):
    os.kill(os.getpid(), signal.SIGKILL)
os.fsync = die
export_stream(FeatureStore(Path(sys.argv[1])), Path(sys.argv[2]), ["sight"], lambda done, of: None)
"""


@KINDS
def test_killed_it_leaves_a_temporary_file_that_the_next_export_removes(store, tmp_path, pytestconfig, kind):
    command = [sys.executable, "-c", KILLED, str(store), str(tmp_path / f"x.{kind}")]
    killed = subprocess.run(command, cwd=pytestconfig.rootpath, capture_output=True, check=False)
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()
    (left,) = [path.name for path in tmp_path.iterdir() if path.name != "store"]
    assert left.startswith(f".x.{kind}.")
    mine = tmp_path / f".x.{kind}.notes"
    mine.touch()
    quietly(store, tmp_path / f"x.{kind}", "sight")
    assert sorted(os.listdir(tmp_path)) == [mine.name, "store", f"x.{kind}"]
