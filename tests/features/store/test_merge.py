"""Merging is a union: of any number of stores, in any order, any number of times, killed at any moment."""

import hashlib
import itertools
import os
import signal
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features.errors import InputError
from features.store.feature_store import FeatureStore
from features.store.layout import MISSING, PRESENT
from features.store.merge import merge_stores
from features.store.verify import repair
from tests.features.small_stores import ROWS, TIMES, check, wrong


@pytest.fixture(scope="module", autouse=True)
def _no_syncing():
    """Nobody cuts the power here; it would be most of the time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda _: None)
        yield


def quietly(target, *sources):
    return merge_stores(target, sources, lambda done, of: None)


def files(directory):
    return {
        path: path.stat().st_mtime_ns for path in directory.rglob("*") if path.is_file() and path.suffix != ".lock"
    }


def sound(directory):
    return check(directory).findings == []


def test_two_stores(store_job, tmp_path):
    r = store_job.record
    one = store_job.write(
        r("a", sight=ROWS, times={"sight": TIMES}), r("b", sight=None), directory=tmp_path / "1", sight=3
    )
    two = store_job.write(r("c", sight=ROWS + 1, sound=ROWS), directory=tmp_path / "2", sight=3, sound=3)
    before = files(one), files(two)
    report = quietly(tmp_path / "all", one, two)
    assert (report.shards, report.added, report.copied, report.differing) == (2, 2, 0, [])
    store = FeatureStore(tmp_path / "all")
    assert store.rows["sight"].to_dict() == {"a": PRESENT, "b": MISSING, "c": PRESENT}
    assert list(store.clips.index) == ["c"]
    np.testing.assert_array_equal(store.read("sight", ["c"])[0], ROWS + 1)
    np.testing.assert_array_equal(store.times("sight", ["a"])[0], TIMES)
    assert (files(one), files(two)) == before
    assert sound(tmp_path / "all")
    linked = next((tmp_path / "all" / "sight").iterdir())
    assert linked.stat().st_nlink == 2


def test_merging_again_does_nothing(store_job, tmp_path, random_stores):
    one = store_job.write(store_job.record("a", sight=ROWS), sight=3)
    quietly(tmp_path / "all", one)
    before = files(tmp_path / "all")
    assert quietly(tmp_path / "all", one, one).added == 0
    assert files(tmp_path / "all") == before
    store_job.write(store_job.record("b", sight=ROWS), sight=3)
    assert quietly(tmp_path / "all", one).added == 1
    assert random_stores.same(tmp_path / "all", one)


@settings(max_examples=8)
@given(data=st.data())
def test_it_is_a_union_whatever_the_order(tmp_path_factory, random_stores, data):
    check_union(tmp_path_factory, random_stores, data)


@pytest.mark.slow
@settings(max_examples=40)
@given(data=st.data())
def test_it_is_a_union_whatever_the_order_many_times(tmp_path_factory, random_stores, data):
    check_union(tmp_path_factory, random_stores, data)


def check_union(tmp_path_factory, random_stores, data):
    same, parts = random_stores.same, data.draw(st.lists(random_stores.RECORDS, min_size=2, max_size=3))
    place = tmp_path_factory.mktemp("merge")
    stores = [place / f"{number}" for number in range(len(parts))]
    for store, records in zip(stores, parts):
        random_stores.fill(store, records)
    for order in (stores, stores[::-1]):
        quietly(place / f"all{order[0].name}", *order)
    together, reverse = place / "all0", place / f"all{len(stores) - 1}"
    assert same(together, reverse)
    one_by_one = place / "one by one"
    for store in (*stores, *stores):
        quietly(one_by_one, store)
    assert same(together, one_by_one)
    quietly(stores[0], *stores[1:])  # into one of them
    assert same(together, stores[0])
    for store in (together, reverse, one_by_one, stores[0]):
        assert wrong(store) == {}


def test_what_its_source_has_begun_anew_stays_away(store_job, tmp_path, random_stores):
    r = store_job.record
    store_job.write(r("a", sight=ROWS, sound=ROWS), r("b", sight=ROWS, sound=ROWS), sight=3, sound=3)
    store_job.write(r("a", sight=ROWS + 1), sight=3, overwrite=True)
    quietly(tmp_path / "all", store_job.directory)
    assert random_stores.same(tmp_path / "all", store_job.directory)
    store = FeatureStore(tmp_path / "all")
    assert store.done("sight") == {"a"}
    assert (store.read("sight", ["a"])[0] == ROWS + 1).all()
    assert sound(tmp_path / "all")


def test_what_one_store_has_overwritten_stays_away_from_the_union(store_job, tmp_path):
    r = store_job.record
    store_job.write(r("a", sight=ROWS, sound=ROWS), sight=3, sound=3)
    quietly(tmp_path / "all", store_job.directory)
    store_job.declare(tmp_path / "all", overwrite=True, sight=3)
    quietly(tmp_path / "new", store_job.directory, tmp_path / "all")
    quietly(tmp_path / "all", store_job.directory)
    for store in map(FeatureStore, (tmp_path / "new", tmp_path / "all")):
        assert (store.done("sight"), store.done("sound")) == (set(), {"a"})
    assert sound(tmp_path / "new")


def test_what_was_taken_out_comes_back(store_job, tmp_path, random_stores):
    store_job.write(store_job.record("a", sight=ROWS, sound=ROWS, times={"sight": TIMES}), sight=3, sound=3)
    quietly(tmp_path / "all", store_job.directory)
    next((tmp_path / "all" / "sight").iterdir()).unlink()
    repair(tmp_path / "all", check(tmp_path / "all").findings)
    assert quietly(tmp_path / "all", store_job.directory).added == 1
    assert random_stores.same(tmp_path / "all", store_job.directory)
    assert sound(tmp_path / "all")


def test_failures_come_along(store_job, tmp_path):
    store_job.write(store_job.record("v", verdict="failed", note="why", of=0), sight=3)
    quietly(tmp_path / "all", store_job.directory)
    assert FeatureStore(tmp_path / "all").failed == {"v": "why"}
    store_job.write(store_job.record("v", sight=ROWS), sight=3)
    quietly(tmp_path / "all", store_job.directory)
    assert FeatureStore(tmp_path / "all").failed == {}


@pytest.mark.parametrize("facts", [{"file_bytes": 7}, {"file_sha256": "b"}])
def test_videos_of_one_name_and_other_files_are_told(store_job, tmp_path, facts):
    r = store_job.record
    one = store_job.write(
        r("a", sight=ROWS, file_sha256="a"), r("b", sight=ROWS), directory=tmp_path / "1", sight=3
    )
    other = r("a", sight=ROWS + 1, **{"file_sha256": "a", **facts})
    two = store_job.write(other, r("b", sight=ROWS), directory=tmp_path / "2", sight=3)
    assert quietly(tmp_path / "all", one, two).differing == ["a"]
    assert (FeatureStore(tmp_path / "all").read("sight", ["a"])[0] == ROWS + 1).all()


def test_where_files_cannot_be_linked_they_are_copied(store_job, tmp_path, monkeypatch, random_stores):
    store_job.write(store_job.record("a", sight=ROWS, times={"sight": TIMES}), sight=3)

    def refuse(*_):
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", refuse)
    assert quietly(tmp_path / "all", store_job.directory).copied == 3
    assert random_stores.same(tmp_path / "all", store_job.directory)
    assert sound(tmp_path / "all")
    assert next((tmp_path / "all" / "sight").iterdir()).stat().st_nlink == 1


def test_notes_on_imports_come_along(store_job, tmp_path):
    store_job.write(store_job.record("a", sight=ROWS), sight=3)
    (store_job.directory / "imports").mkdir()
    (store_job.directory / "imports" / "x-import.json").write_text("{}")
    quietly(tmp_path / "all", store_job.directory)
    assert (tmp_path / "all" / "imports" / "x-import.json").read_text() == "{}"


def test_what_is_refused_leaves_nothing_behind(store_job, tmp_path):
    r, one = store_job.record, tmp_path / "1"
    store_job.write(r("a", sight=ROWS), directory=one, sight=3)
    other = store_job.write(r("a", sight=ROWS), directory=tmp_path / "2", version=2, sight=3)
    cut = store_job.write(r("a", sight=ROWS), directory=tmp_path / "3", clip_seconds=5.0, sight=3)
    with pytest.raises(InputError, match=r"/2: its 'sight' .*version 2.*/1 by sight \(version 1"):
        quietly(tmp_path / "all", one, other)
    with pytest.raises(InputError, match=r"/3: .*--clip-seconds 5\.0, those of .*/1 by default"):
        quietly(tmp_path / "all", one, cut)
    with pytest.raises(InputError, match="no feature store at"):
        quietly(tmp_path / "all", one, tmp_path / "nowhere")
    assert not (tmp_path / "all").exists()
    before = files(one)
    with pytest.raises(InputError, match="is both the target and a source"):
        quietly(one, tmp_path / "2" / ".." / "1")
    with pytest.raises(InputError, match="and a store never mixes two"):
        quietly(one, other)
    assert files(one) == before
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "x").touch()
    with pytest.raises(InputError, match="is not a feature store; name another place"):
        quietly(tmp_path / "mine", one)


def test_a_source_with_a_file_gone(store_job, tmp_path):
    store_job.write(store_job.record("a", sight=ROWS), sight=3)
    next((store_job.directory / "sight").iterdir()).unlink()
    with pytest.raises(InputError, match=r"safetensors' is gone; look at its store with: mee store verify"):
        quietly(tmp_path / "all", store_job.directory)


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


def check_killed(store_job, random_stores, tmp_path, pytestconfig, at):
    r, stores = store_job.record, [tmp_path / "1", tmp_path / "2"]
    for number, store in enumerate(stores):
        for clip in range(2):
            record = r(f"{number}{clip}", sight=ROWS + clip, sound=None, times={"sight": TIMES})
            store_job.write(record, directory=store, sight=3, sound=2)
    command = [sys.executable, "-c", KILLED, str(at), str(tmp_path / "all"), *map(str, stores)]
    killed = subprocess.run(command, cwd=pytestconfig.rootpath, capture_output=True, check=False)
    if killed.returncode == 0:
        return False
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()
    target = tmp_path / "all"
    if (target / "store.json").exists():
        store = FeatureStore(target)
        for clip_id in store.clips.index:
            assert (store.read("sight", [clip_id])[0] == ROWS + int(clip_id[1])).all()
        assert wrong(target) == {}
    quietly(target, *stores)
    quietly(tmp_path / "unbroken", *stores)
    assert random_stores.same(target, tmp_path / "unbroken")
    assert sound(target)
    return True


def test_killed_at_its_third_file(store_job, random_stores, tmp_path, pytestconfig):
    assert check_killed(store_job, random_stores, tmp_path, pytestconfig, 3)


@pytest.mark.slow
def test_killed_at_each_of_its_files(store_job, random_stores, tmp_path, pytestconfig):
    for at in itertools.count(1):
        if not check_killed(store_job, random_stores, tmp_path / f"{at}", pytestconfig, at):
            break
    assert at == 2 + 4 * (3 * 2 + 1)  # store.json; of four shards three files to link and rename, and checksums


def test_what_a_killed_merge_left_goes_with_the_next_job(store_job, tmp_path, pytestconfig):
    one = store_job.write(store_job.record("a", sight=ROWS, times={"sight": TIMES}), sight=3)
    command = [sys.executable, "-c", KILLED, "5", str(tmp_path / "all"), str(one)]
    subprocess.run(command, cwd=pytestconfig.rootpath, capture_output=True, check=False)
    left = list((tmp_path / "all" / "sight").iterdir())
    assert len(left) == 2  # one in place, one aside
    store_job.write(directory=tmp_path / "all", sight=3)
    assert list((tmp_path / "all" / "sight").iterdir()) == []
    assert sound(tmp_path / "all")


@pytest.mark.parametrize("place", ["../", "sight/../../", "./", ""])
def test_a_list_from_outside_names_no_file_outside(store_job, tmp_path, place):
    """Else a merge would link a file from beside the source to a place beside the target."""
    source = store_job.write(store_job.record("v", sight=ROWS), sight=3)
    (sums,) = (source / "checksums").iterdir()
    forged = f"{place}{sums.stem}.safetensors"
    (source / forged).write_bytes(b"x")
    sums.write_text(f"{hashlib.sha256(b'x').hexdigest()}  {forged}\n{sums.read_text()}")
    with pytest.raises(InputError, match="checksums"):
        quietly(tmp_path / "deep" / "target", source)
    assert not (tmp_path / "deep").exists()
