"""Merging is a union of stores in any order; an export holds the same numbers; both may be killed."""

import itertools
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
from hypothesis import given, settings
from hypothesis import strategies as st

from features.errors import InputError
from features.external.config import ImportConfig
from features.external.job import ImportJob
from features.store import export
from features.store.export import export_stream
from features.store.feature_store import FeatureStore
from features.store.layout import MISSING, PRESENT
from features.store.merge import merge_stores
from features.store.verify import repair
from tests.features.small_stores import NAMES, RECORDS, ROWS, TIMES, check, files, fill, same, wrong


def merge(target, *sources):
    return merge_stores(target, sources, lambda done, of: None)


def test_two_stores_are_linked_or_copied(store_job, tmp_path, monkeypatch):
    r, target = store_job.record, tmp_path / "all"
    records = r("a", sight=ROWS, times={"sight": TIMES}), r("b", sight=None)
    one = store_job.write(*records, directory=tmp_path / "1", sight=3)
    two = store_job.write(r("c", sight=ROWS + 1, sound=ROWS), directory=tmp_path / "2", sight=3, sound=3)
    before = files(one), files(two)
    report = merge(target, one, two)
    assert (report.shards, report.added, report.copied, report.differing) == (2, 2, 0, [])
    store = FeatureStore(target)
    assert store.rows["sight"].to_dict() == {"a": PRESENT, "b": MISSING, "c": PRESENT}
    assert list(store.clips.index) == ["c"]
    np.testing.assert_array_equal(store.read("sight", ["c"])[0], ROWS + 1)
    np.testing.assert_array_equal(store.times("sight", ["a"])[0], TIMES)
    assert (files(one), files(two)) == before
    assert check(target).findings == []
    assert next((target / "sight").iterdir()).stat().st_nlink == 2
    monkeypatch.setattr(os, "link", Mock(side_effect=OSError(18, "Invalid cross-device link")))
    assert merge(tmp_path / "copied", one).copied == 3
    assert same(tmp_path / "copied", one)
    assert check(tmp_path / "copied").findings == []
    assert next((tmp_path / "copied" / "sight").iterdir()).stat().st_nlink == 1


def test_merging_again_does_nothing_and_later_only_what_is_new(store_job, tmp_path):
    one, target = store_job.write(store_job.record("a", sight=ROWS), sight=3), tmp_path / "all"
    merge(target, one)
    before = files(target)
    assert merge(target, one, one).added == 0
    assert files(target) == before
    store_job.write(store_job.record("v", verdict="failed", note="why", of=0), sight=3)
    assert merge(target, one).added == 1
    assert FeatureStore(target).failed == {"v": "why"}
    store_job.write(store_job.record("v", sight=ROWS), sight=3)
    (one / "imports").mkdir()
    (one / "imports" / "x-import.json").write_text("{}")
    assert merge(target, one).added == 1
    assert same(target, one)
    assert (target / "imports" / "x-import.json").read_text() == "{}"


@pytest.mark.parametrize("examples", [8, pytest.param(40, marks=pytest.mark.slow)])
def test_it_is_a_union_whatever_the_order(tmp_path_factory, examples):
    @settings(max_examples=examples)
    @given(parts=st.lists(RECORDS, min_size=2, max_size=3))
    def law(parts):
        place = tmp_path_factory.mktemp("merge")
        stores = [place / f"{number}" for number in range(len(parts))]
        for store, records in zip(stores, parts):
            fill(store, records)
        together, reverse, one_by_one = (place / name for name in ("together", "reverse", "one by one"))
        merge(together, *stores)
        merge(reverse, *reversed(stores))
        assert same(together, reverse)
        for store in (*stores, *stores):
            merge(one_by_one, store)
        assert same(together, one_by_one)
        merge(stores[0], *stores[1:])  # into one of them
        assert same(together, stores[0])
        for store in (together, reverse, one_by_one, stores[0]):
            assert wrong(store) == {}

    law()


def test_overwritten_streams_are_not_merged(store_job, tmp_path):
    r, target = store_job.record, tmp_path / "all"
    store_job.write(r("a", sight=ROWS, sound=ROWS), r("b", sight=ROWS, sound=ROWS), sight=3, sound=3)
    store_job.write(r("a", sight=ROWS + 1), sight=3, overwrite=True)
    merge(target, store_job.directory)
    assert same(target, store_job.directory)
    store = FeatureStore(target)
    assert store.done("sight") == {"a"}
    assert (store.read("sight", ["a"])[0] == ROWS + 1).all()
    assert check(target).findings == []
    store_job.declare(target, overwrite=True, sight=3)
    merge(tmp_path / "new", store_job.directory, target)
    merge(target, store_job.directory)
    for store in map(FeatureStore, (tmp_path / "new", target)):
        assert (store.done("sight"), store.done("sound")) == (set(), {"a", "b"})
    assert check(tmp_path / "new").findings == []


def test_files_removed_by_repair_come_back(store_job, tmp_path):
    store_job.write(store_job.record("a", sight=ROWS, sound=ROWS, times={"sight": TIMES}), sight=3, sound=3)
    merge(tmp_path / "all", store_job.directory)
    next((tmp_path / "all" / "sight").iterdir()).unlink()
    repair(tmp_path / "all", check(tmp_path / "all").findings)
    assert merge(tmp_path / "all", store_job.directory).added == 1
    assert same(tmp_path / "all", store_job.directory)
    assert check(tmp_path / "all").findings == []


@pytest.mark.parametrize("facts", [{"file_bytes": 7}, {"file_sha256": "b"}], ids=["size", "content"])
def test_videos_of_one_name_and_different_files_are_reported(store_job, tmp_path, facts):
    r = store_job.record
    records = r("a", sight=ROWS, file_sha256="a"), r("a", sight=ROWS + 1, **{"file_sha256": "a", **facts})
    both = [
        store_job.write(record, r("b", sight=ROWS), directory=tmp_path / f"{number}", sight=3)
        for number, record in enumerate(records)
    ]
    assert merge(tmp_path / "all", *both).differing == ["a"]
    assert (FeatureStore(tmp_path / "all").read("sight", ["a"])[0] == ROWS + 1).all()


UNMERGED = [("all", ["1", "2"], r"/2: its 'sight' .*version 2.*/1 by sight \(version 1")]
UNMERGED += [("all", ["1", "3"], r"/3: .*--clip-seconds 5\.0, those of .*/1 by default")]
UNMERGED += [("all", ["1", "nowhere"], "no feature store at"), ("1", ["2/../1"], "both the target and a source")]
UNMERGED += [("1", ["2"], "never mixes two"), ("mine", ["1"], "is not a feature store")]
UNMERGED += [("all", ["incomplete"], r"safetensors' is gone")]


@pytest.mark.parametrize(("target", "sources", "named"), UNMERGED)
def test_what_cannot_be_merged_changes_nothing(store_job, tmp_path, target, sources, named):
    for name, how in {"1": {}, "2": {"version": 2}, "3": {"clip_seconds": 5.0}, "incomplete": {}}.items():
        store_job.write(store_job.record("a", sight=ROWS), directory=tmp_path / name, sight=3, **how)
    next((tmp_path / "incomplete" / "sight").iterdir()).unlink()
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "x").touch()
    before = files(tmp_path)
    with pytest.raises(InputError, match=named):
        merge(tmp_path / target, *(tmp_path / source for source in sources))
    new = files(tmp_path).keys() - before.keys()
    assert new == ({"all/store.json"} if sources == ["incomplete"] else set())


KILLED = """
import os, signal, sys
from pathlib import Path
import features.store.merge, features.store.manifest, features.files
left = [int(sys.argv[1])]
def or_die(real):
    def change(*paths):
        left[0] -= 1
        if left[0] == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        real(*paths)
    return change
os.replace, os.link = or_die(os.replace), or_die(os.link)
features.store.merge.merge_stores(Path(sys.argv[2]), [Path(name) for name in sys.argv[3:]], lambda done, of: None)
"""


@pytest.fixture
def killed_at(pytestconfig):
    """killed_at(n, target, *sources): a merge killed at its n-th change of a name; whether it came that far."""

    def run(at, *paths):
        command = [sys.executable, "-c", KILLED, str(at), *map(str, paths)]
        done = subprocess.run(command, cwd=pytestconfig.rootpath, capture_output=True, check=False)
        assert done.returncode in (0, -signal.SIGKILL), done.stderr.decode()
        return done.returncode != 0

    return run


@pytest.mark.parametrize("every", [False, pytest.param(True, marks=pytest.mark.slow)], ids=["third", "every"])
def test_killed_it_leaves_a_valid_store_and_continues(store_job, tmp_path, killed_at, every):
    stores = [tmp_path / "1", tmp_path / "2"]
    for number, clip in itertools.product(range(2), range(2)):
        record = store_job.record(f"{number}{clip}", sight=ROWS + clip, sound=None, times={"sight": TIMES})
        store_job.write(record, directory=stores[number], sight=3, sound=2)
    merge(tmp_path / "not killed", *stores)
    for at in itertools.count(1) if every else [3]:
        target = tmp_path / f"all{at}"
        if not killed_at(at, target, *stores):
            assert at == 2 + 4 * (3 * 2 + 1)  # store.json; of four shards three files to link and rename, and sums
            break
        if (target / "store.json").exists():
            store = FeatureStore(target)
            for clip_id in store.clips.index:
                assert (store.read("sight", [clip_id])[0] == ROWS + int(clip_id[1])).all()
            assert wrong(target) == {}
        merge(target, *stores)
        assert same(target, tmp_path / "not killed")
        assert check(target).findings == []
    one = store_job.write(store_job.record("a", sight=ROWS, times={"sight": TIMES}), sight=3)
    assert killed_at(5, tmp_path / "one", one)
    assert len(files(tmp_path / "one" / "sight")) == 2  # one in place, one temporary
    store_job.write(directory=tmp_path / "one", sight=3)  # the next job removes them
    assert files(tmp_path / "one" / "sight") == {}
    assert check(tmp_path / "one").findings == []


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


UNEXPORTED = [("x.csv", []), ("x.npz", ["smell"]), ("x.npz", []), ("x.parquet", []), ("exists.npz", ["sight"])]
UNEXPORTED += [("x.npz", ["taste"])]


@pytest.mark.parametrize(("name", "streams"), UNEXPORTED)
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


KILLED_EXPORT = """
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
    command = [sys.executable, "-c", KILLED_EXPORT, str(store), str(tmp_path / f"x.{kind}")]
    killed = subprocess.run(command, cwd=pytestconfig.rootpath, capture_output=True, check=False)
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()
    (left,) = [path.name for path in tmp_path.iterdir() if path.name != "store"]
    assert left.startswith(f".x.{kind}.")
    mine = tmp_path / f".x.{kind}.notes"
    mine.touch()
    quietly(store, tmp_path / f"x.{kind}", "sight")
    assert sorted(os.listdir(tmp_path)) == [mine.name, "store", f"x.{kind}"]
