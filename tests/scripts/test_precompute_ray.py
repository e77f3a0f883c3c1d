"""`mee precompute --ray`: store and table of failures are those of a plain run, whatever dies on the way."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import pytest

from features.cluster import nodes
from features.store.feature_store import FeatureStore
from scripts.precompute import main

ray = pytest.importorskip("ray")


@pytest.fixture(scope="module")
def cluster(odd_site, pytestconfig):
    """Two nodes of one CPU on this machine, that have the extractor `odd`."""
    from ray.cluster_utils import Cluster

    place = tempfile.mkdtemp(prefix="r", dir="/tmp")  # the paths of Ray's sockets must be short
    marks = Path(place, "marks")
    marks.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", f"{pytestconfig.rootpath}:{odd_site}")
        patch.setenv("ODD_MARKS", str(marks))
        patch.setenv("RAY_TMPDIR", place)
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("RAY_agent_register_timeout_ms", "120000")  # a busy machine starts them slowly
        patch.syspath_prepend(odd_site)
        started = Cluster()
        for _ in range(2):
            started.add_node(num_cpus=1, include_dashboard=False, object_store_memory=80 << 20)
        yield started
        started.shutdown()
    shutil.rmtree(place, ignore_errors=True)


def contents(directory):
    """Rows and arrays of a store, without what differs from job to job."""
    store = FeatureStore(directory)
    arrays = store.read("odd", store.clips.index)
    return store.rows, [None if array is None else array.tobytes() for array in arrays]


def same(one, other):
    (rows, arrays), (rows_too, arrays_too) = contents(one), contents(other)
    return rows.drop(columns="written_at", errors="ignore").equals(
        rows_too.drop(columns="written_at", errors="ignore")
    ) and (arrays == arrays_too)


def refused(prints, clips, tmp_path, address):
    return prints(main, clips("a.mp4"), tmp_path / "store", "--ray", address, code=1).err


def test_an_address_where_nothing_answers_is_refused_at_once(prints, clips, tmp_path, says):
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
    says(refused(prints, clips, tmp_path, address).replace(address, "HOST:PORT"))
    assert "'nowhere:port'" in refused(prints, lambda _: tmp_path / "videos", tmp_path, "nowhere:port")
    assert not (tmp_path / "store").exists()


def test_without_the_package_the_command_that_installs_it_is_named(prints, clips, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    assert "pip install 'mee[ray]'" in refused(prints, clips, tmp_path, "auto")


@pytest.mark.parametrize("flags", [("--shard", "0/2"), ("--overwrite",)])
def test_shards_are_cut_by_it_alone(misused, tmp_path, flags):
    assert "ray excludes" in misused(main, tmp_path, tmp_path / "store", "--ray", *flags)


@pytest.mark.slow
def test_the_store_is_that_of_a_plain_run_though_jobs_and_a_node_are_killed(
    cluster, clips, tmp_path, prints, monkeypatch
):
    names = [f"{kind}{number}.mp4" for kind in ("a", "mark-", "none-") for number in range(4)]
    folder = clips(*names, "segfault-0.mp4", "raise-0.mp4", "orphan-0.mp4")
    (folder / "zero.mp4").touch()
    node = cluster.add_node(num_cpus=1, object_store_memory=80 << 20)
    marks = Path(os.environ["ODD_MARKS"])

    def kill():
        while not (marks / "orphan-0.mp4").exists():
            time.sleep(0.1)
        cluster.remove_node(node, allow_graceful=False)

    killer = threading.Thread(target=kill)
    killer.start()
    flags = ("--streams", "odd", "--retries", "0")
    ran = prints(main, folder, tmp_path / "store", *flags, "--ray", cluster.address, code=3)
    killer.join()
    plain = prints(main, folder, tmp_path / "plain", *flags, code=3)
    assert same(tmp_path / "store", tmp_path / "plain")
    lines, lines_too = (sorted(out.splitlines()) for out in (ran.out, plain.out.replace("/plain\n", "/store\n")))
    assert lines == lines_too
    assert "13 clips of 13 files in" in ran.err
    assert "ray" not in ran.err.replace("--ray", "").lower()
    assert not list((tmp_path / "store" / "writers").iterdir())
    looks = [ray.nodes]  # the lost one too: Ray notices late
    monkeypatch.setattr(nodes, "_nodes", lambda there=nodes._nodes: (looks.pop() if looks else there)())
    again = prints(main, folder, tmp_path / "store", *flags, "--ray", cluster.address, code=3).err
    assert "13 of 16 files are in the store already" in again


@pytest.mark.slow
def test_a_signal_ends_the_tasks_in_order(cluster, clips, tmp_path, pytestconfig):
    folder = clips(*(f"mark-s{number}.mp4" for number in range(8)), "hang-0.mp4")
    words = ["precompute", folder, tmp_path / "store", "--streams", "odd", "--ray", cluster.address]
    command = [sys.executable, "-m", "scripts.cli", *map(str, words), "--workers", "1"]
    started = subprocess.Popen(command, cwd=pytestconfig.rootpath, stderr=subprocess.PIPE, text=True)
    end = time.monotonic() + 300
    while len(list(Path(os.environ["ODD_MARKS"]).glob("mark-s*"))) < 3 and time.monotonic() < end:
        time.sleep(0.1)
    time.sleep(2)
    started.send_signal(signal.SIGTERM)
    said = started.communicate(timeout=120)[1]
    assert started.returncode == 143
    assert "the same command goes on from there" in said
    assert not list((tmp_path / "store").glob("writers/*"))
    assert len(FeatureStore(tmp_path / "store").clips) > 0


@pytest.mark.slow
def test_a_node_that_does_not_see_the_library_is_named(cluster, clips, tmp_path, prints, monkeypatch):
    folder = clips("a.mp4")
    monkeypatch.setattr("features.cluster.nodes.stamp_of", lambda path: "another file")
    ran = prints(main, folder, tmp_path / "store", "--streams", "odd", "--ray", cluster.address, code=1)
    assert f"does not see '{folder / 'a.mp4'}'" in ran.err
