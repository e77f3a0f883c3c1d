"""Merging is a union: of any number of stores, in any order, any number of times, killed at any moment."""

import hashlib
import itertools
import os
import signal
import subprocess
import sys
from unittest.mock import Mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features.errors import InputError
from features.store.feature_store import FeatureStore
from features.store.layout import MISSING, PRESENT
from features.store.merge import merge_stores
from features.store.verify import repair
from tests.features.small_stores import RECORDS, ROWS, TIMES, check, files, fill, same, wrong


def merge(target, *sources):
    return merge_stores(target, sources, lambda done, of: None)


def test_two_stores(store_job, tmp_path):
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


def test_where_files_cannot_be_linked_they_are_copied(store_job, tmp_path, monkeypatch):
    store_job.write(store_job.record("a", sight=ROWS, times={"sight": TIMES}), sight=3)

    monkeypatch.setattr(os, "link", Mock(side_effect=OSError(18, "Invalid cross-device link")))
    assert merge(tmp_path / "all", store_job.directory).copied == 3
    assert same(tmp_path / "all", store_job.directory)
    assert check(tmp_path / "all").findings == []
    assert next((tmp_path / "all" / "sight").iterdir()).stat().st_nlink == 1


@pytest.mark.parametrize(
    ("target", "sources", "named"),
    [
        ("all", ["1", "2"], r"/2: its 'sight' .*version 2.*/1 by sight \(version 1"),
        ("all", ["1", "3"], r"/3: .*--clip-seconds 5\.0, those of .*/1 by default"),
        ("all", ["1", "nowhere"], "no feature store at"),
        ("1", ["2/../1"], "both the target and a source"),
        ("1", ["2"], "never mixes two"),
        ("mine", ["1"], "is not a feature store"),
        ("all", ["lacks a file"], r"safetensors' is gone"),
    ],
)
def test_what_cannot_be_merged_changes_nothing(store_job, tmp_path, target, sources, named):
    for name, how in {"1": {}, "2": {"version": 2}, "3": {"clip_seconds": 5.0}, "lacks a file": {}}.items():
        store_job.write(store_job.record("a", sight=ROWS), directory=tmp_path / name, sight=3, **how)
    next((tmp_path / "lacks a file" / "sight").iterdir()).unlink()
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "x").touch()
    before = files(tmp_path)
    with pytest.raises(InputError, match=named):
        merge(tmp_path / target, *(tmp_path / source for source in sources))
    new = files(tmp_path).keys() - before.keys()
    assert new == ({"all/store.json"} if sources == ["lacks a file"] else set())


KILLED = """
import os, signal, sys
from pathlib import Path
import features.store.merge, features.store.manifest, features.store.atomic_files
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


@pytest.mark.parametrize("place", ["../", "sight/../../", "./", "", "/"])
def test_a_forged_list_names_no_file_outside(store_job, tmp_path, place):
    """Otherwise a merge would link a file from beside the source to a place beside the target."""
    source = store_job.write(store_job.record("v", sight=ROWS), sight=3)
    (sums,) = (source / "checksums").iterdir()
    forged = f"{place}{sums.stem}.safetensors"
    if place != "/":
        (source / forged).write_bytes(b"x")
    sums.write_text(f"{hashlib.sha256(b'x').hexdigest()}  {forged}\n{sums.read_text()}")
    with pytest.raises(InputError, match="checksums"):
        merge(tmp_path / "deep" / "target", source)
    assert not (tmp_path / "deep").exists()
