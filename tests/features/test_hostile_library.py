"""A library as large ones are, hostile files in it: the job ends, and the store tells the truth of every file."""

import random
import re
import signal
import sys
import time
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

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="processes are watched through /proc"),
]

FILES, SAMPLE = 1000, 75
CHEAP = ("halves", "audio")
MEMORY = 2e9  # bytes, of the job and its two workers together
KILLS = 10
NEAR = 8  # levels of 255; those of colours are 40 apart


@pytest.fixture(scope="module")
def here():
    """The modules beside this file (tests/ is no package)."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(Path(__file__).parent)
        import halves_extractor
        import hostile_library
        import job_under_watch

        yield SimpleNamespace(
            halves=halves_extractor.Halves(), write_library=hostile_library.write_library, watch=job_under_watch
        )


@pytest.fixture(scope="module")
def site(third_party):
    """A third party's package: the stream `halves`."""
    return third_party("halves", "halves = halves_extractor:Halves")


@pytest.fixture(scope="module")
def start(here, site, tmp_path_factory, pytestconfig):
    """`start(videos, store, ...)`: a job with two workers, as a process; what it prints is in `start.said`."""
    said = tmp_path_factory.mktemp("said") / "said.txt"

    def begin(*words, shard_clips=None):
        words = (*words, "--workers", "2")
        return here.watch.start(pytestconfig.rootpath, site, said, *words, shard_clips=shard_clips)

    begin.said = said
    return begin


@pytest.fixture(scope="module")
def job(here, site, start, tmp_path_factory):
    """One job over all files, with two workers."""
    folder = tmp_path_factory.mktemp("library")
    made = here.write_library(folder / "videos", FILES)
    process = start(folder / "videos", folder / "store", "--streams", *CHEAP)
    most = here.watch.peak_memory(process)
    said = start.said.read_text()
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(site)
        store = FeatureStore(folder / "store")
        yield SimpleNamespace(
            videos=folder / "videos", made=made, code=process.returncode, said=said, most=most, store=store
        )


def test_the_job_ends_and_says_what_failed(job):
    failed = {made.name for made in job.made if made.verdict == "failed"}
    assert len(failed) == 18, "of 50 hostile files"
    assert job.code == 3, job.said
    assert f"of {FILES - len(failed)} files in" in job.said
    assert f"{len(failed)} files failed" in job.said
    assert set(job.store.failed) == failed
    assert set(job.store.clips["video"]) == {made.name for made in job.made} - failed


def test_memory(job):
    assert job.most < MEMORY, f"{job.most / 1e6:.0f} MB"


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


def test_what_every_file_shows(job):
    wrong = []
    for made in job.made:
        clips = [] if made.verdict == "failed" else _clips_of(job.store, made.name)
        streams = [rows for rows in job.store.read("halves", clips) if rows is not None]
        if made.above is None:
            wrong += [made.name] if streams else []
            continue
        expected = np.concatenate([made.above, made.below], axis=1).astype(np.float32)
        seen = np.concatenate([np.zeros((0, 6), np.float32), *streams])
        if made.known is None:
            right = seen.shape == expected.shape and np.abs(seen - expected).max() < NEAR
        else:
            right = len(seen) >= made.known and np.abs(seen - expected[: len(seen)])[: made.known].max() < NEAR
        if not right:
            wrong.append(made.name)
    assert not wrong


def test_what_every_file_sounds_like(job):
    corners, wrong = band_corners(), []
    for made in job.made:
        clips = [] if made.verdict == "failed" else _clips_of(job.store, made.name)
        streams = [rows for rows in job.store.read("audio", clips) if rows is not None]
        loudest = [int(rows[0, :BANDS].argmax()) for rows in streams]
        band = None if made.hertz is None else np.interp(made.hertz, corners, np.arange(len(corners))) - 1
        if (loudest == []) if band is None else (loudest and abs(loudest[0] - band) <= 1):
            continue
        wrong.append(made.name)
    assert not wrong


@threadpool_limits.wrap(limits=1)  # as in workers: products on several threads may round otherwise
def test_a_sample_is_bit_by_bit_what_one_process_makes(job, here):
    extractors = {"halves": here.halves, "audio": AudioExtractor()}
    needs = tuple(need for extractor in extractors.values() for need in extractor.needs)
    good = [made.name for made in job.made if made.verdict != "failed"]
    for name in random.Random(0).sample(good, 60):
        clips = list(read_clips(job.videos / name, name, needs))
        ids = [clip.span.clip_id for clip in clips]
        assert ids == _clips_of(job.store, name)
        for stream, extractor in extractors.items():
            for rows, times, made in zip(
                job.store.read(stream, ids), job.store.times(stream, ids), extractor.extract(clips)
            ):
                assert (rows is None) == (made is None)
                if made is not None:
                    np.testing.assert_array_equal(rows, made.rows.astype(np.float16), strict=True)
                    np.testing.assert_array_equal(times, made.times.astype(np.float32), strict=True)


def test_the_store_is_whole(job):
    _check_whole(job.store.directory)


def test_all_files_killed_ten_times(job, here, start, tmp_path):
    """Wherever SIGKILL meets it, the next job goes on, and in the end nothing tells of that."""
    words = (job.videos, tmp_path / "killed", "--streams", *CHEAP)
    _kill_ten_times(here.watch, lambda: start(*words, shard_clips=20), tmp_path / "killed", random.Random(3))
    assert start(*words).wait() == 3
    _same(FeatureStore(tmp_path / "killed"), job.store)
    _check_whole(tmp_path / "killed")


def test_built_in_streams_killed_ten_times(here, start, tmp_path):
    """Every third file hostile, so that some of each kind are met."""
    made = here.write_library(tmp_path / "videos", SAMPLE, seed=1, every=3)
    unbroken, killed = ((tmp_path / "videos", tmp_path / name) for name in ("unbroken", "killed"))
    whole = start(*unbroken)
    _kill_ten_times(here.watch, lambda: start(*killed, shard_clips=3), tmp_path / "killed", random.Random(4))
    assert (start(*killed).wait(), whole.wait()) == (3, 3)
    _same(FeatureStore(tmp_path / "killed"), FeatureStore(tmp_path / "unbroken"))
    assert set(FeatureStore(tmp_path / "killed").rows["video"]) == {each.name for each in made}
    for store in ("killed", "unbroken"):
        _check_whole(tmp_path / store)


def _kill_ten_times(watch, start, store: Path, draw: random.Random) -> None:
    """At moments from the start of its processes to the middle of its writing; each time all of them are gone."""
    for _ in range(KILLS):
        job, more = start(), draw.choice((0, 0, 1, 2))
        until = _count(store / "parts") + more
        assert watch.wait_until(lambda: _count(store / "parts") >= until or job.poll() is not None, 120)  # noqa: B023
        time.sleep(draw.uniform(0, 0.2 if more else 2.0))
        assert job.poll() is None, "it had ended before it was killed"
        family = watch.family(job.pid)
        job.kill()
        assert job.wait() == -signal.SIGKILL
        assert watch.wait_until(lambda: not any(map(watch.alive, family)))  # noqa: B023
    assert _count(store / "parts") > 0


def _check_whole(store: Path) -> None:
    """Bit by bit what was written, and nothing else."""
    assert check_store(store, lambda done, of: None).findings == []
    assert list((store / "writers").iterdir()) == []
    assert [path.name for path in store.rglob(".*")] == [".store.json.lock"]


def _count(parts: Path) -> int:
    return len(list(parts.glob("*.parquet")))


def _clips_of(store: FeatureStore, video: str) -> list[str]:
    rows = store.rows
    return list(rows[rows["video"] == video].sort_values("start_s").index)


def _same(one: FeatureStore, other: FeatureStore) -> None:
    """Rows and streams, bit by bit."""
    pd.testing.assert_frame_equal(one.rows.sort_index(), other.rows.sort_index())
    assert one.fingerprints == other.fingerprints
    for stream in one.manifest.streams:
        ids = list(one.rows.index[one.rows[stream] == PRESENT])
        for read in ("read", "times"):
            for a, b in zip(getattr(one, read)(stream, ids), getattr(other, read)(stream, ids)):
                assert (a.dtype, a.shape, a.tobytes()) == (b.dtype, b.shape, b.tobytes())
