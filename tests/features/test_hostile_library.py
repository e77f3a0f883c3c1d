"""A library as large ones are, hostile files in it: the job ends, and the store is right about every file."""

import os
import random
import re
import signal
import subprocess
import sys
import time
from itertools import product
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from threadpoolctl import threadpool_limits

from features.extractors.builtin.audio import BANDS, AudioExtractor, band_corners
from features.media.reader import read_clips
from features.store.feature_store import FeatureStore
from features.store.layout import PRESENT
from features.store.verify import check_store
from tests.features.hostile_library import write_library
from tests.features.odd_extractor import Halves

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="processes are watched through /proc"),
]

FILES, SAMPLE = 1000, 75
CHEAP = ("halves", "audio")
MEMORY = 2e9  # bytes, of the job and its two workers together
KILLS = 10
NEAR = 8  # levels of 255; those of colours are 40 apart


SHARD = "import features.store.writer as w; w.SHARD_CLIPS = {}; "  # small: a job of some seconds writes many
RUN = "import sys; from scripts.precompute import main; sys.exit(main(sys.argv[1:]))"


@pytest.fixture(scope="module")
def site(third_party):
    """A third party's package: the stream `halves`."""
    return third_party(halves="Halves")


@pytest.fixture(scope="module")
def start(site, tmp_path_factory, pytestconfig):
    """`start(videos, store, ...)`: a job with two workers, as a process; its output is in the file `start.log`."""

    def begin(*words, shard_clips=None):
        environment = {**os.environ, "PYTHONPATH": str(site), "OMP_NUM_THREADS": "1"}
        code = (SHARD.format(shard_clips) if shard_clips else "") + RUN
        command = [sys.executable, "-c", code, *map(str, words), "--workers", "2"]
        with begin.log.open("ab") as log:
            return subprocess.Popen(
                command, cwd=pytestconfig.rootpath, env=environment, stdout=log, stderr=subprocess.STDOUT
            )

    begin.log = tmp_path_factory.mktemp("log") / "log.txt"
    return begin


def read(process: int, name: str) -> str:
    """A file of /proc; empty where the process has just ended."""
    try:
        return Path(f"/proc/{process}/{name}").read_text()
    except OSError:
        return ""


def family(process: int) -> list[int]:
    """A process and all that descend from it."""
    tasks = Path(f"/proc/{process}/task").glob("*")
    children = [int(child) for task in tasks for child in read(process, f"task/{task.name}/children").split()]
    return [process, *(member for child in children for member in family(child))]


def memory(process: int) -> int:
    """Bytes that a process and its descendants hold; what several share is counted once."""
    lines = [line for member in family(process) for line in read(member, "smaps_rollup").splitlines()]
    return sum(int(line.split()[1]) << 10 for line in lines if line.startswith("Pss:"))


def alive(process: int) -> bool:
    """Whether it runs; one that has ended and is not reaped yet does not."""
    return read(process, "stat").rpartition(")")[2][1:2] not in ("Z", "X", "")


def wait_until(condition, seconds: float = 30.0) -> bool:
    """Whether something comes true in time."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.01)
    return True


@pytest.fixture(scope="module")
def job(site, start, tmp_path_factory):
    """One job over all files, with two workers."""
    folder, most = tmp_path_factory.mktemp("library"), 0
    made = write_library(folder / "videos", FILES)
    process = start(folder / "videos", folder / "store", "--streams", *CHEAP)
    while process.poll() is None:
        most = max(most, memory(process.pid))
        time.sleep(0.2)
    facts = {"videos": folder / "videos", "made": made, "code": process.returncode, "most": most}
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(site)
        yield SimpleNamespace(**facts, output=start.log.read_text(), store=FeatureStore(folder / "store"))


def test_the_job_ends_and_says_what_failed(job):
    failed = {made.name for made in job.made if made.verdict == "failed"}
    assert len(failed) == 18, "of 50 hostile files"
    assert job.code == 3, job.output
    assert f"of {FILES - len(failed)} files in" in job.output
    assert f"{len(failed)} files failed" in job.output
    assert set(job.store.failed) == failed
    assert set(job.store.clips["video"]) == {made.name for made in job.made} - failed
    assert job.most < MEMORY, f"{job.most / 1e6:.0f} MB"
    _check_whole(job.store.directory)


def test_every_file_has_its_row_with_the_right_verdict_and_reason(job):
    rows = job.store.rows.groupby("video").first()
    wrong = [
        (made.name, row["verdict"], row["note"])
        for made in job.made
        if (row := rows.loc[made.name])["verdict"] != made.verdict or not re.fullmatch(made.note, row["note"])
    ]
    assert not wrong
    sizes = {made.name: made.size for made in job.made if made.size is not None and made.verdict != "failed"}
    assert {name: tuple(rows.loc[name, ["width", "height"]].astype(int)) for name in sizes} == sizes


def _shows(made, streams) -> bool:
    if made.above is None:
        return not streams
    expected = np.concatenate([made.above, made.below], axis=1).astype(np.float32)
    seen = np.concatenate([np.zeros((0, 6), np.float32), *streams])
    if made.known is None:
        return seen.shape == expected.shape and np.abs(seen - expected).max() < NEAR
    return len(seen) >= made.known and np.abs(seen - expected[: len(seen)])[: made.known].max() < NEAR


def _sounds(made, streams) -> bool:
    if made.hertz is None:
        return not streams
    corners = band_corners()
    band = np.interp(made.hertz, corners, np.arange(len(corners))) - 1
    return bool(streams) and abs(int(streams[0][0, :BANDS].argmax()) - band) <= 1


@pytest.mark.parametrize(("stream", "is_right"), [("halves", _shows), ("audio", _sounds)])
def test_the_content_of_every_file(job, stream, is_right):
    clips = {made.name: [] if made.verdict == "failed" else _clips_of(job.store, made.name) for made in job.made}
    streams = {
        made: [rows for rows in job.store.read(stream, ids) if rows is not None] for made, ids in clips.items()
    }
    assert [made.name for made in job.made if not is_right(made, streams[made.name])] == []


@threadpool_limits.wrap(limits=1)  # as in workers: products on several threads may round otherwise
def test_a_sample_is_bit_by_bit_what_one_process_makes(job):
    extractors = {"halves": Halves(), "audio": AudioExtractor()}
    needs = tuple(need for extractor in extractors.values() for need in extractor.needs)
    good = [made.name for made in job.made if made.verdict != "failed"]
    for name in random.Random(0).sample(good, 60):
        clips = list(read_clips(job.videos / name, name, needs))
        ids = [clip.span.clip_id for clip in clips]
        assert ids == _clips_of(job.store, name)
        for stream, extractor in extractors.items():
            stored = zip(job.store.read(stream, ids), job.store.times(stream, ids), extractor.extract(clips))
            for rows, times, made in stored:
                assert (rows is None) == (made is None)
                if made is not None:
                    np.testing.assert_array_equal(rows, made.rows.astype(np.float16), strict=True)
                    np.testing.assert_array_equal(times, made.times.astype(np.float32), strict=True)


def test_all_files_killed_ten_times(job, start, tmp_path):
    """After SIGKILL at any moment the next job continues, and the store in the end is the same."""
    words = (job.videos, tmp_path / "killed", "--streams", *CHEAP)
    _kill_ten_times(lambda: start(*words, shard_clips=20), tmp_path / "killed", random.Random(3))
    assert start(*words).wait() == 3
    _same(FeatureStore(tmp_path / "killed"), job.store)
    _check_whole(tmp_path / "killed")


def test_built_in_streams_killed_ten_times(start, tmp_path):
    """Every third file hostile, so that some of each kind are met."""
    made = write_library(tmp_path / "videos", SAMPLE, seed=1, every=3)
    unbroken, killed = ((tmp_path / "videos", tmp_path / name) for name in ("unbroken", "killed"))
    whole = start(*unbroken)
    _kill_ten_times(lambda: start(*killed, shard_clips=3), tmp_path / "killed", random.Random(4))
    assert (start(*killed).wait(), whole.wait()) == (3, 3)
    _same(FeatureStore(tmp_path / "killed"), FeatureStore(tmp_path / "unbroken"))
    assert set(FeatureStore(tmp_path / "killed").rows["video"]) == {each.name for each in made}
    for store in ("killed", "unbroken"):
        _check_whole(tmp_path / store)


def _kill_ten_times(start, store: Path, draw: random.Random) -> None:
    """At moments from the start of its processes to the middle of its writing; each time all of them are gone."""
    for _ in range(KILLS):
        job, more = start(), draw.choice((0, 0, 1, 2))
        until = _count(store / "parts") + more
        assert wait_until(lambda: _count(store / "parts") >= until or job.poll() is not None, 120)  # noqa: B023
        time.sleep(draw.uniform(0, 0.2 if more else 2.0))
        assert job.poll() is None, "it had ended before it was killed"
        members = family(job.pid)
        job.kill()
        assert job.wait() == -signal.SIGKILL
        assert wait_until(lambda: not any(map(alive, members)))  # noqa: B023
    assert _count(store / "parts") > 0


def _check_whole(store: Path) -> None:
    """Bit by bit what was written, and nothing else."""
    assert check_store(store, lambda done, of: None).findings == []
    assert list((store / "writers").iterdir()) == []
    assert [path.name for path in store.rglob(".*")] == [".store.json.lock"]


def _count(parts: Path) -> int:
    return len(list(parts.glob("*.parquet")))


def _clips_of(store: FeatureStore, video: str) -> list[str]:
    return list(store.rows[store.rows["video"] == video].sort_values("start_s").index)


def _same(one: FeatureStore, other: FeatureStore) -> None:
    """Rows and streams, bit by bit."""
    pd.testing.assert_frame_equal(one.rows.sort_index(), other.rows.sort_index())
    assert one.fingerprints == other.fingerprints
    for stream, read in product(one.manifest.streams, ("read", "times")):
        ids = list(one.rows.index[one.rows[stream] == PRESENT])
        for a, b in zip(getattr(one, read)(stream, ids), getattr(other, read)(stream, ids)):
            assert (a.dtype, a.shape, a.tobytes()) == (b.dtype, b.shape, b.tobytes())
