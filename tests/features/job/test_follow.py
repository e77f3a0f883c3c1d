"""Following a folder: files that come, grow, rest and go; drives that are unplugged; watched and listed."""

import logging
import os
import sys
import threading
import time

import pytest

from features.job import Follower
from features.media import Selection

LONG_AGO = 1_600_000_000


def put(folder, *names, content=b"x", mtime=None):
    for path in (folder / name for name in names):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        if mtime is not None:
            os.utime(path, (mtime, mtime))


class Clock:
    now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def root(tmp_path):
    folder = tmp_path / "videos"
    folder.mkdir()
    return folder


@pytest.fixture
def clock(monkeypatch):
    """A clock that only the test moves; nothing is watched."""
    clock = Clock()
    monkeypatch.setattr("features.job.follow.monotonic", clock)
    monkeypatch.setitem(sys.modules, "watchfiles", None)
    return clock


@pytest.fixture
def follow(root):
    """follow(**settings) -> a follower of the folder; ended with the test."""
    followers = []

    def make(place=root, selection=None, **settings):
        followers.append(Follower(place, selection or Selection(), **settings).__enter__())
        return followers[-1]

    yield make
    for follower in followers:
        follower.__exit__()
    assert not [thread for thread in threading.enumerate() if "_watch" in thread.name]


def state(seen):
    return " ".join(seen.library.videos), " ".join(seen.copying)


def until(follower, wanted, seconds=20):
    """What is looked at each time when something has changed, up to the wanted state."""
    end, seen = time.monotonic() + seconds, None
    while time.monotonic() < end:
        if follower.changed():
            seen = follower.look()
            if wanted in (state(seen), seen.problem[: len(wanted)]):
                return seen
        follower.wait(0.5)
    raise AssertionError(f"not {wanted} but {seen}")


def test_a_file_counts_when_it_has_rested(root, clock, follow):
    now = time.time()
    put(root, "old.mp4", mtime=LONG_AGO)
    put(root, "new.mp4", mtime=now - 1)
    put(root, "future.mp4", mtime=now + 9999)
    follower = follow()
    assert state(follower.look()) == ("old.mp4", "future.mp4 new.mp4")
    assert not follower.changed()
    clock.now += 3
    put(root, "new.mp4", content=b"more", mtime=now - 1)  # seen when it should have rested
    clock.now += 2
    assert follower.changed()
    assert state(follower.look()) == ("future.mp4 old.mp4", "new.mp4")
    clock.now += 4.9
    assert not follower.changed()
    clock.now += 0.1
    assert follower.changed()
    assert follower.changed()  # until it is looked at
    assert state(follower.look()) == ("future.mp4 new.mp4 old.mp4", "")


def test_a_copy_with_the_time_of_its_original_is_observed_too(root, clock, follow):
    put(root, "a.mp4", "b.mp4", mtime=LONG_AGO)
    follower = follow()
    follower.look()
    clock.now += 59
    put(root, "c.mp4", mtime=LONG_AGO)
    put(root, "b.mp4", content=b"other", mtime=LONG_AGO)
    assert not follower.changed()  # nothing is listed
    clock.now += 1
    assert follower.changed()
    seen = follower.look()
    assert state(seen) == ("a.mp4", "b.mp4 c.mp4")
    assert [seen.is_gone(video) for video in ("a.mp4", "b.mp4", "c.mp4", "d.mp4")] == [False, False, False, True]
    (root / "c.mp4").unlink()
    clock.now += 5
    assert follower.changed()
    assert state(follower.look()) == ("a.mp4 b.mp4", "")
    clock.now += 60
    assert not follower.changed()  # it was listed, and shows the same


def test_downloads_count_from_their_last_name_on_and_links_in_circles_are_not_entered(root, clock, follow):
    put(root, "a.mp4", "b.mp4.part", "c.mp4.crdownload", "d.!qB", "e.tmp", ".f.mp4", mtime=LONG_AGO)
    (root / "circle").symlink_to(root)
    (root / "self.mp4").symlink_to("self.mp4")
    with open(os.fsencode(root) + b"/\xff.mp4", "wb"):
        pass
    follower = follow()
    assert state(follower.look()) == ("a.mp4", "self.mp4")  # its row says what is wrong
    (root / "b.mp4.part").rename(root / "b.mp4")
    clock.now += 5
    assert state(follower.look()) == ("a.mp4 self.mp4", "b.mp4")
    clock.now += 5
    assert state(follower.look()) == ("a.mp4 b.mp4 self.mp4", "")


def test_files_behind_a_link_or_an_unreadable_folder_are_not_gone(root, tmp_path, clock, follow, monkeypatch):
    put(root, "a.mp4", "b/c.mp4", "b/d/e.mp4", "bb.mp4", mtime=LONG_AGO)
    put(tmp_path, "far.mp4", mtime=LONG_AGO)
    (root / "far.mp4").symlink_to(tmp_path / "far.mp4")
    follower, scandir = follow(), os.scandir
    everything = state(follower.look())

    def refuse(path):
        if str(path) == str(root / "b"):
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    (tmp_path / "far.mp4").rename(tmp_path / "drive")
    clock.now += 60
    assert follower.changed()
    seen = follower.look()
    assert (state(seen), seen.problem) == (("a.mp4 bb.mp4 far.mp4", ""), "")
    assert [seen.is_gone(video) for video in ("b/c.mp4", "b/d/e.mp4", "bbb.mp4")] == [False, False, True]
    monkeypatch.setattr(os, "scandir", scandir)
    clock.now += 60
    assert follower.changed()
    assert state(follower.look()) == everything  # at once: it knows them


def vanish(root):
    for path in root.iterdir():
        path.unlink()


PROBLEMS = {
    "not there": lambda root: root.rename(root.with_name("unplugged")),
    "emptied": vanish,
    "a file": lambda root: (root.rename(root.with_name("unplugged")), put(root.parent, "videos")),
    "links in a circle": lambda root: (root.rename(root.with_name("unplugged")), root.symlink_to(root)),
}


@pytest.mark.parametrize("name", PROBLEMS)
def test_a_drive_that_is_unplugged_is_a_problem_until_it_is_back(name, root, clock, follow, says):
    put(root, "a.mp4", "b.mp4", "notes.txt", mtime=LONG_AGO)
    follower = follow()
    follower.look()
    PROBLEMS[name](root)
    clock.now += 60 if name == "emptied" else 1
    assert follower.changed()
    seen = follower.look()
    says(seen.problem)
    assert (state(seen), seen.is_gone("a.mp4")) == (("", ""), False)
    assert not follower.changed()
    if name != "emptied":
        if os.path.lexists(root):
            root.unlink()
        root.with_name("unplugged").rename(root)
    put(root, "a.mp4", "b.mp4", mtime=LONG_AGO)
    clock.now += 60 if name == "emptied" else 1
    assert follower.changed()
    seen = follower.look()
    assert (state(seen), seen.problem) == (("a.mp4 b.mp4", ""), "")


def test_an_empty_folder_and_one_that_may_not_be_read(root, clock, follow, says, monkeypatch):
    follower = follow()
    problems = [follower.look().problem]
    put(root, "a.txt", "b.txt", "LICENSE", mtime=LONG_AGO)
    clock.now += 60
    assert follower.changed()
    problems.append(follower.look().problem)
    for error in (PermissionError(13, "Permission denied"), OSError(5, "Input/output error")):
        with monkeypatch.context() as patch:
            patch.setattr(os, "scandir", lambda path, error=error: (_ for _ in ()).throw(error))
            problems.append(follower.look().problem)
    put(root, "a.mp4", mtime=LONG_AGO)
    assert state(follower.look()) == ("", "a.mp4")
    (root / "a.mp4").unlink()
    assert follower.look().problem == problems[1]  # a copy that was given up is no video that has vanished
    says("\n".join(problems))


@pytest.mark.parametrize("watched", [True, False], ids=["watched", "scanned"])
def test_a_folder_is_followed(watched, root, tmp_path, follow, monkeypatch, caplog):
    if watched:
        pytest.importorskip("watchfiles")
    else:
        monkeypatch.setitem(sys.modules, "watchfiles", None)
    put(root, "a.mp4", mtime=LONG_AGO)
    link = tmp_path / "link"
    link.symlink_to(root)
    follower = follow(link, settle_s=0.2, scan_s=600 if watched else 0.2)
    assert state(follower.look()) == ("a.mp4", "")
    put(root, "b.mp4", "new/er/c.mp4")
    until(follower, ("a.mp4 b.mp4 new/er/c.mp4", ""))
    put(root, "new/er/d.part")
    (root / "new/er/d.part").rename(root / "new/er/d.mp4")
    (root / "a.mp4").rename(root / "new/a.mp4")
    until(follower, ("b.mp4 new/a.mp4 new/er/c.mp4 new/er/d.mp4", ""))
    root.rename(tmp_path / "away")
    until(follower, "The folder")
    (tmp_path / "away").rename(root)
    until(follower, ("b.mp4 new/a.mp4 new/er/c.mp4 new/er/d.mp4", ""))
    (root / "new").rename(root / "old")
    until(follower, ("b.mp4 old/a.mp4 old/er/c.mp4 old/er/d.mp4", ""))
    (root / "old/er/c.mp4").unlink()
    assert until(follower, ("b.mp4 old/a.mp4 old/er/d.mp4", "")).is_gone("old/er/c.mp4")
    for path in list(root.rglob("*.mp4")):
        path.unlink()
    until(follower, "All videos")
    put(tmp_path, "other/z.mp4")
    link.unlink()
    link.symlink_to(tmp_path / "other")
    until(follower, ("z.mp4", ""))
    put(tmp_path, "other/y.mp4")
    until(follower, ("y.mp4 z.mp4", ""))
    logged = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert [record.name for record in logged] == ([] if watched else ["features.job.follow"])


def test_a_watch_that_fails_leads_to_scans_and_is_tried_again(root, follow, monkeypatch, caplog):
    watchfiles, tries = pytest.importorskip("watchfiles"), []

    def fail(*paths, **settings):
        tries.append(paths)
        raise OSError("OS file watch limit reached")

    monkeypatch.setattr(watchfiles, "watch", fail)
    put(root, "a.mp4", mtime=LONG_AGO)
    follower = follow(settle_s=0.1, scan_s=0.1)
    follower.look()
    for name in "bcd":
        put(root, f"{name}.mp4")
        until(follower, (" ".join(f"{each}.mp4" for each in "abcd"[: "abcd".index(name) + 1]), ""))
    assert len(tries) > 1
    assert len(caplog.records) == 1
