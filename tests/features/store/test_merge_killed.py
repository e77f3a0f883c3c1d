"""A merge that is killed at any moment leaves a whole store, and is finished by the same command."""

import itertools
import signal
import subprocess
import sys

import numpy as np
import pytest

from features.store.feature_store import FeatureStore
from features.store.merge import merge
from features.store.verify import check_store

ROWS = np.arange(6, dtype=np.float16).reshape(2, 3)
TIMES = np.array([0.25, 0.75], np.float32)


def quietly(target, *sources):
    return merge(target, sources, lambda done, of: None)


def sound(directory):
    return check_store(directory, lambda done, of: None).findings == []


KILLED = """
import os, signal, sys
from pathlib import Path
import features.store.merge, features.store.manifest, features.store.atomic_files
left = [int(sys.argv[1])]
real = os.replace
def replace_or_die(*paths):
    left[0] -= 1
    if left[0] == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    real(*paths)
os.replace = replace_or_die
features.store.merge.merge(Path(sys.argv[2]), [Path(name) for name in sys.argv[3:]], lambda done, of: None)
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
        assert check_store(target, lambda done, of: None).wrong == []
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
    assert at == 14  # store.json, and twelve files in four shards


def test_what_a_killed_merge_left_goes_with_the_next_job(store_job, tmp_path, pytestconfig):
    one = store_job.write(store_job.record("a", sight=ROWS, times={"sight": TIMES}), sight=3)
    command = [sys.executable, "-c", KILLED, "3", str(tmp_path / "all"), str(one)]
    subprocess.run(command, cwd=pytestconfig.rootpath, capture_output=True, check=False)
    left = list((tmp_path / "all" / "sight").iterdir())
    assert len(left) == 2  # one in place, one aside
    store_job.write(directory=tmp_path / "all", sight=3)
    assert list((tmp_path / "all" / "sight").iterdir()) == []
    assert sound(tmp_path / "all")
