"""`mee precompute`: what it prints, its shards and flags, and that it can be stopped or killed at any moment."""

import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from features.errors import InputError
from features.job.config import Shard
from features.store.feature_store import FeatureStore
from scripts.precompute import main, parse_shard

SMALL_SHARDS = (
    "import signal, sys, features.store.writer as w; w.SHARD_CLIPS = 2; "
    "signal.signal(signal.SIGINT, signal.default_int_handler); "  # ignored where the tests run in the background
    "from scripts.cli import main; sys.exit(main(sys.argv[1:]))"
)
linux = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


@pytest.fixture
def listen(clips, tmp_path, prints):
    """Extract the sound of the folder's clips, or of one file; returns stdout and stderr."""

    def run(*flags, videos=None, code=0):
        arguments = (videos or clips(), tmp_path / "store", "--streams", "audio", "--workers", "1", *flags)
        return prints(main, *arguments, code=code)

    run.clips = lambda: sorted(FeatureStore(tmp_path / "store").clips.index)
    return run


@pytest.fixture
def start(odd_site, pytestconfig):
    """Start `mee precompute` in a session of its own, with shards of two clips."""
    started = []

    def run(*arguments):
        command = [sys.executable, "-c", SMALL_SHARDS, "precompute", *map(str, arguments), "--workers", "2"]
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(odd_site)}
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        place = {"cwd": pytestconfig.rootpath, "env": environment, "start_new_session": True}
        started.append(subprocess.Popen(command, **pipes, **place))
        return started[-1]

    yield run
    for process in started:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def in_session(leader):
    """Ids of the running processes of a session."""
    found = set()
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, _, session = stat.read_text().rpartition(")")[2].split()[:4]
        except (OSError, ValueError):
            continue
        if int(session) == leader and state != "Z":
            found.add(int(stat.parent.name))
    return found


def until(holds, seconds=20.0):
    end = time.monotonic() + seconds
    while not (held := holds()) and time.monotonic() < end:
        time.sleep(0.02)
    return held


def parts(store):
    """The index file of every complete shard."""
    return sorted(store / "parts" / f"{path.stem}.parquet" for path in (store / "checksums").glob("*.sha256"))


def contents(directory):
    """Rows and arrays of a store, without what differs from job to job."""
    store = FeatureStore(directory)
    clip_ids = store.clips.index
    arrays = {name: store.read(name, clip_ids) for name in store.dims}
    return store.rows, {name: [None if a is None else a.tobytes() for a in rows] for name, rows in arrays.items()}


def leftovers(store):
    """Files that no list of checksums names."""
    known = {".store.json.lock", "store.json"}
    for path in (store / "checksums").iterdir():
        known |= {f"checksums/{path.name}", *(line.split("  ", 1)[1] for line in path.read_text().splitlines())}
    files = {path.relative_to(store).as_posix() for path in store.rglob("*") if path.is_file()}
    return sorted(files - known)


def test_results_go_to_stdout_and_progress_to_stderr(mee, clips, tmp_path, odd_site):
    folder = clips("a b.mp4", "raise-[x].mp4")
    (folder / "notes.txt").write_text("no media")
    arguments = ("precompute", folder, tmp_path / "store", "--streams", "odd", "audio", "--workers", "1")
    ran = mee(*arguments, env={"PYTHONPATH": str(odd_site)})
    assert ran.returncode == 3
    for words in ("raise-[x].mp4", "RuntimeError: two lines", "1 clips of 1 videos"):
        assert words in ran.stdout
    last = [line.split() for line in ran.stdout.splitlines()[-2:]]
    assert last == [["odd", "1", "0", "100", "%"], ["audio", "0", "1", "0", "%"]]
    for words in ("1 x .txt", "1 clips of 1 files in", "1 files failed"):
        assert words in ran.stderr
    assert "\x1b" not in ran.stdout + ran.stderr


def test_the_same_command_again_has_nothing_to_do(world, prints):
    files = [path for path in world.store.rglob("*.*") if path.is_file() and path.suffix != ".lock"]
    before = [path.stat().st_mtime_ns for path in files]
    assert "10 of 10 files are in the store already" in prints(main, world.videos, world.store).err
    assert [path.stat().st_mtime_ns for path in files] == before


def test_failures_are_retried_and_listed_or_skipped_and_counted(clips, listen):
    zero = clips("a.mp4") / "zero.mp4"
    zero.touch()
    for _ in range(2):
        assert "the file is empty" in listen(code=3).out
    assert "1 files failed before and are skipped (--skip-failed)" in listen("--skip-failed").err
    zero.unlink()
    listen()


def test_a_library_that_changes(clips, listen, tmp_path, fails, says):
    """What is said, and that of several jobs each minds its own files."""
    folder, heard = clips("a.mp4", "b.mp4", "c.mp4", "d.mp4"), []

    def hear(*flags):
        heard.extend(re.sub(r" in [0-9.]+ s,", " in … s,", line) for line in listen(*flags).err.splitlines())

    (folder / "@eaDir").mkdir()
    clips("@eaDir/a.mp4")
    (folder / "a.ts").write_text("export const a = 1;")
    (folder / "a.wav").write_bytes(b"RIFF")
    hear("--no-audio-files")
    clips("b.mp4")
    with (folder / "b.mp4").open("ab") as file:
        file.write(b"more")
    (folder / "c.mp4").rename(folder / "e.mp4")
    os.utime(folder / "d.mp4", (0, 0))
    for shard in ("0/2", "1/2", "0/1"):
        hear("--no-audio-files", "--shard", shard)
    hear("--no-audio-files", "--exclude", "d.*", "--redo", "a.mp4")
    heard.append(fails(main, folder, tmp_path / "store", "--redo", "x.mp4", alone=False).splitlines()[-1])
    says("\n".join(heard))
    assert listen.clips() == ["a.mp4", "b.mp4", "c.mp4", "d.mp4", "e.mp4"]


def test_one_file_and_clips_of_a_length(clips, listen):
    listen("--clip-seconds", "0.2", videos=clips("a.mp4", "b.mp4") / "a.mp4")
    assert listen.clips() == [f"a.mp4#t={s}" for s in ("0,0.2", "0.2,0.4", "0.4,0.6")]


@linux
@pytest.mark.parametrize("kill", [os.kill, os.killpg])
@pytest.mark.parametrize(
    ("sent", "code", "said"), [(signal.SIGINT, 130, "stopped; "), (signal.SIGTERM, 143, "stopped by SIGTERM; ")]
)
def test_a_stopped_job_keeps_finished_clips_and_leaves_no_process(start, clips, tmp_path, sent, code, said, kill):
    """Slurm and torchrun send SIGTERM before they kill, to the job's processes or to all of its group."""
    folder, store = clips("a.mp4", "b.mp4", "c.mp4", "hang-1.mp4", "hang-2.mp4"), tmp_path / "store"
    job = start(folder, store, "--streams", "odd", "--retries", "0")
    assert until(lambda: parts(store))
    time.sleep(0.3)
    kill(job.pid, sent)
    _, err = job.communicate(timeout=20)
    assert job.returncode == code
    assert err.strip().splitlines()[-1] == f"{said}what is done is kept, the same command goes on from there"
    assert "Traceback" not in err
    assert list(FeatureStore(store).clips.index) == ["a.mp4", "b.mp4", "c.mp4"]
    assert FeatureStore(store).failed == {}  # no worker took the signal for itself
    assert leftovers(store) == []
    assert until(lambda: not in_session(job.pid))


@linux
def test_ctrl_c_at_the_very_start_is_quiet(start, clips, tmp_path):
    job = start(clips("a.mp4"), tmp_path / "store", "--streams", "odd")
    assert until((tmp_path / "store" / "writers").exists)  # workers are being started
    time.sleep(0.15)
    os.killpg(job.pid, signal.SIGINT)
    assert "Traceback" not in job.communicate(timeout=20)[1]
    assert until(lambda: not in_session(job.pid))


@linux
def test_of_two_jobs_that_would_do_the_same_one_says_at_once_who_does_it(start, clips, tmp_path, fails, prints):
    """Jobs of other streams or other files go on; a job that was killed blocks none."""
    store, folder = tmp_path / "store", clips("a.mp4", "hang-.mp4")
    first = start(folder, store, "--streams", "odd", "audio")
    assert until(lambda: list((store / "writers").glob("*.json")))
    for flags in (("--streams", "audio"), ("--streams", "audio", "--overwrite")):
        began = time.monotonic()
        message = fails(main, folder, store, *flags, "--workers", "1")
        assert time.monotonic() - began < 10
        assert f"(process {first.pid} on " in message
        assert "makes the same: 'audio' of 'a.mp4', for one. Wait until it has ended" in message
    other = tmp_path / "other"
    other.mkdir()
    shutil.copy(folder / "a.mp4", other / "b.mp4")
    prints(main, other, store, "--streams", "audio", "--workers", "1")
    prints(main, folder, store, "--streams", "motion", "--workers", "1")
    os.killpg(first.pid, signal.SIGKILL)
    first.wait()
    prints(main, folder, store, "--streams", "audio", "--workers", "1")
    assert FeatureStore(store).done("audio") == {"a.mp4", "b.mp4", "hang-.mp4"}
    assert list((store / "writers").iterdir()) == []


@linux
def test_killed_while_a_file_hangs(start, clips, tmp_path):
    folder, store = clips("a.mp4", "b.mp4", "c.mp4", "hang-1.mp4", "hang-2.mp4"), tmp_path / "store"
    job = start(folder, store, "--streams", "odd")
    assert until(lambda: parts(store))
    done = set(FeatureStore(store).clips.index)
    assert len(in_session(job.pid) - {job.pid}) >= 2  # workers
    job.kill()
    job.wait()
    assert until(lambda: not in_session(job.pid)), "a worker outlives its job"
    assert leftovers(store) != []  # its lock
    for path in folder.glob("hang-*"):
        path.unlink()
    before = parts(store)
    again = start(folder, store, "--streams", "odd")
    again.communicate(timeout=30)
    assert again.returncode == 0
    assert leftovers(store) == []
    added = {clip for path in set(parts(store)) - set(before) for clip in pd.read_parquet(path)["clip_id"]}
    assert added == {"a.mp4", "b.mp4", "c.mp4"} - done


@linux
@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_a_job_killed_at_any_moments_ends_with_the_store_of_an_uninterrupted_one(start, world, tmp_path, seed):
    videos, store = tmp_path / "videos", tmp_path / "store"
    videos.mkdir()
    for number in range(3):
        for path in world.videos.iterdir():
            shutil.copy(path, videos / f"{number} {path.name}")
    (videos / "text.mp4").write_text("this is no video")

    def finish(place):
        job = start(videos, place)
        job.communicate(timeout=120)
        assert job.returncode == 3

    begun = time.monotonic()
    finish(tmp_path / "uninterrupted")
    took, draw, complete = time.monotonic() - begun, random.Random(seed), set()
    for _ in range(3):
        job = start(videos, store)
        time.sleep(draw.uniform(0.2, 0.95) * took)
        job.kill()
        job.wait()
        assert until(lambda pid=job.pid: not in_session(pid)), "a worker outlives its job"
        assert complete <= set(parts(store))
        complete = set(parts(store))
        if (store / "store.json").exists():
            FeatureStore(store)  # readable at any moment
    finish(store)
    (rows, arrays), (wanted_rows, wanted_arrays) = contents(store), contents(tmp_path / "uninterrupted")
    pd.testing.assert_frame_equal(rows, wanted_rows)
    assert arrays == wanted_arrays
    assert leftovers(store) == []
    written = Counter(clip for path in parts(store) for clip in pd.read_parquet(path)["clip_id"])
    assert {clip: count for clip, count in written.items() if count > 1 and clip != "text.mp4"} == {}
    assert len(np.unique(rows["video"])) == 31


@pytest.mark.parametrize("files", [6, 1])
def test_shards_together_are_the_library(clips, listen, files):
    names = [f"{number}.mp4" for number in range(files)]
    clips(*names)
    of_each = []
    for index in range(2):  # one has nothing to do if there is only one file
        out, err = listen("--shard", f"{index}/2")
        of_each.append(int(re.search(rf"shard {index}/2: (\d) of {files} files", err)[1]))
        assert f"{sum(of_each)} clips of {sum(of_each)} videos" in out
    assert sum(of_each) == files
    assert listen.clips() == names
    assert f"{files} of {files} files are in the store already" in listen().err


def test_a_shard_by_environment(clips, listen, tmp_path, monkeypatch):
    clips("a.mp4", "b.mp4")
    for name in ("RANK", "SLURM_PROCID", "SLURM_ARRAY_TASK_ID"):
        monkeypatch.delenv(name, raising=False)
    assert listen("--shard", "env", code=1).err.startswith("error: --shard env: neither RANK (torchrun)")
    assert not (tmp_path / "store").exists()
    for name, value in (("SLURM_PROCID", "0"), ("SLURM_NTASKS", "1")):
        monkeypatch.setenv(name, value)
    assert "shard 0/1: 2 of 2 files" in listen("--shard", "env").err


VIDEOS = st.lists(st.text(st.characters(codec="utf-8"), min_size=1), unique=True, max_size=40)


@given(VIDEOS, VIDEOS, st.integers(1, 12))
def test_every_file_has_one_shard_and_keeps_it_while_the_library_grows(old, new, count):
    shards = [Shard(index, count) for index in range(count)]
    assert [sum(shard.holds(video) for shard in shards) for video in old] == [1] * len(old)
    for shard in shards:
        before = {video for video in old if shard.holds(video)}
        assert {video for video in {*old, *new} if shard.holds(video)} & set(old) == before


def test_shards_are_of_about_one_size_and_the_same_everywhere():
    videos = [f"folder/{number:05d}.mp4" for number in range(4000)]
    assert min(sum(Shard(index, 4).holds(video) for video in videos) for index in range(4)) > 900
    assert Shard(0, 16).holds("a.mp4")  # sha256sum prints e6d48eabd560bc60...
    assert Shard(0xBC60, 1 << 16).holds("a.mp4")
    assert Shard(0x1B40, 1 << 16).holds("ä/b.mp4")  # 23c5a64f3b351b40..., of the name in UTF-8


TORCHRUN = {"RANK": "2", "WORLD_SIZE": "8"}
SRUN = {"SLURM_PROCID": "1", "SLURM_NTASKS": "4"}
NO_SHARD = ["", "1", "1/", "/2", "a/b", "-1/4", "1/2/3", "1 / 2", "1.0/2", "²/4"]


@pytest.mark.parametrize(
    ("word", "environment", "shard"),
    [
        ("0/1", {}, Shard()), ("3/4", {}, Shard(3, 4)), ("env", TORCHRUN, Shard(2, 8)),
        ("env", SRUN, Shard(1, 4)), ("env", TORCHRUN | SRUN, Shard(2, 8)),
    ],
)  # fmt: skip
def test_shards_that_are_requested(word, environment, shard):
    assert parse_shard(word, environment) == shard


@pytest.mark.parametrize(
    ("word", "environment", "message"),
    [
        *((word, {}, "shard must be i/n, such as 0/4, or env; got") for word in NO_SHARD),
        *((word, {}, f"i from 0 to n - 1.*got {word}") for word in ("4/4", "1/0", "0/0")),
        ("env", {}, "neither RANK .* nor SLURM_PROCID"),
        ("env", {"RANK": "1"}, "WORLD_SIZE ''"),
        ("env", {"RANK": "two", "WORLD_SIZE": "4"}, "RANK is 'two'"),
        ("env", {"RANK": "4", "WORLD_SIZE": "4"}, "RANK is '4' and WORLD_SIZE '4'"),
        ("env", {"RANK": "-1", "WORLD_SIZE": "4"}, "RANK is '-1'"),
        ("env", {"SLURM_PROCID": "0", "SLURM_NTASKS": "0"}, "SLURM_NTASKS '0'"),
        ("env", SRUN | {"SLURM_ARRAY_TASK_ID": "3"}, "elements of a job array"),  # all of them see one task
    ],
)
def test_shards_that_are_refused(word, environment, message):
    of_environment = word == "env"
    pattern = f"^--shard env: .*{message}.*--shard" if of_environment else message
    with pytest.raises(InputError if of_environment else ValueError, match=pattern):
        parse_shard(word, environment)
