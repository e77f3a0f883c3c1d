"""The process that reads for `mee open`: in the end its index is that of the commands, whatever happened."""

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field

import numpy as np
import pytest

from features.extractors import registry
from features.media import Selection
from features.store.feature_store import FeatureStore
from features.store.writer import StoreWriter
from index.storage.snapshot import read_snapshot
from scripts.open import LibraryState, conductor, passes, upkeep
from scripts.open.conductor import Conductor, NewFiles
from scripts.open.messages import Away, passing, reason_and_advice
from scripts.serve import Progress
from tests.mee import tiny_models

WORDS = ("appearance", "motion", "audio", "speech=subtitles")
STREAMS = {word.partition("=")[0] for word in WORDS}
HOUR = 3600.0


@dataclass
class Page:
    """What the messages make of it; `then`: functions that are called with each message, the first first."""

    progress: Progress = field(default_factory=lambda: Progress("videos"))
    messages: list = field(default_factory=list)

    def write(self, text):
        if text.strip():
            self.messages.append(json.loads(text))
            self.progress.apply(self.messages[-1])

    def flush(self):
        pass

    @property
    def states(self):
        return {video: file.state for video, file in self.progress.files.items()}


@pytest.fixture(autouse=True)
def _tiny(tmp_path, monkeypatch):
    """A preset without downloads, a text encoder of random weights, and no waiting."""
    monkeypatch.setitem(registry.PRESETS, "offline", registry.Preset("", WORDS))
    monkeypatch.setattr(upkeep, "MINILM", str(tiny_models.save("bert", tmp_path / "bert")))
    monkeypatch.setattr(conductor, "has_speech", lambda: False)
    monkeypatch.setattr(conductor, "AGAIN_S", 0.1)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


def written(path, media, number, *, hours=1.0):
    """A clip of an hour ago, silent or not, with a line that is said."""
    frames = [np.roll(media.quadrants(), 3 * number * frame, axis=1) for frame in range(12)]
    media.write(path, frames, sounds=[(0.0, media.tone(0.6, 200.0 * (number + 1)))] if number % 2 else ())
    line = f"a {tiny_models.WORDS[number]} {tiny_models.WORDS[number + 1]}"
    path.with_suffix(".srt").write_text(f"1\n00:00:00,000 --> 00:00:01,000\n{line}\n")
    os.utime(path, (time.time() - hours * HOUR,) * 2)


@pytest.fixture
def folder(tmp_path, media):
    """Six videos, and one that is cut short."""
    place = tmp_path / "videos"
    (place / "below").mkdir(parents=True)
    for number in range(6):
        written(place / ("below" if number == 5 else "") / f"v{number}.mp4", media, number)
    (place / "cut.mp4").write_bytes((place / "v0.mp4").read_bytes()[:1000])
    os.utime(place / "cut.mp4", (time.time() - HOUR,) * 2)
    return place


@pytest.fixture
def made(folder, tmp_path):
    """Makes a conductor over the folder, as a new process would."""

    def make(preset="offline"):
        state = LibraryState(tmp_path / "state")
        state.directory.mkdir(exist_ok=True)
        one = Conductor(folder, state, Selection(), preset, Page())
        one.follower.settle_s = 0.2
        return one

    return make


def settled(one):
    """A round after what has happened in the folder."""
    time.sleep(0.3)
    while one.follower.look().copying:
        time.sleep(0.1)
    one.round()


def contents(index):
    """Every file of the segments, such as its clips and vectors; and the scale."""
    files = {path.name: path.read_bytes() for path in (index / "segments").rglob("*") if path.is_file()}
    return files, read_snapshot(index).scale


def fresh(folder, tmp_path, prints):
    """The index that the commands make of the folder as it is now."""
    from scripts.build_index import main as build_index
    from scripts.model import main as model
    from scripts.precompute import main as precompute

    shutil.rmtree(tmp_path / "fresh", ignore_errors=True)
    store, made, index = ((tmp_path / "fresh" / name) for name in ("store", "model", "index"))
    store.parent.mkdir()
    prints(precompute, folder, store, "--preset", "offline", "--workers", "1", code=3)
    prints(model, store, made, "--text", upkeep.text_encoder())
    prints(build_index, store, made, index)
    return index


def test_in_the_end_the_index_is_that_of_the_commands_whatever_happened_on_the_way(
    made, folder, media, tmp_path, prints
):
    one = made()
    with one.follower:
        one.round()
        page = one.messages.out.progress
        assert page.status.done
        assert (page.status.clips, page.status.share, page.status.left_s) == (6, 1.0, 0.0)
        assert {video: file.state for video, file in page.files.items()} == dict.fromkeys(
            ["below/v5.mp4", *(f"v{n}.mp4" for n in range(5))], "done"
        ) | {"cut.mp4": "problem"}
        assert "moov" in page.files["cut.mp4"].why
        assert "again" in page.files["cut.mp4"].advice
        assert set(page.files["v1.mp4"].streams) == {"first look", *STREAMS}
        assert contents(one.state.index) == contents(fresh(folder, tmp_path, prints))

        shares = [message["status"]["share"] for message in one.messages.out.messages]
        assert shares == sorted(shares)
        steps = list(dict.fromkeys(message["status"]["step"] for message in one.messages.out.messages))
        assert steps == ["looking for videos", *(each.step for each in one.passes), "all is read"]

        for ending in ("mp4", "srt"):
            (folder / f"v0.{ending}").rename(folder / f"renamed.{ending}")
        (folder / "v1.mp4").unlink()
        written(folder / "v2.mp4", media, 12)
        written(folder / "new.mp4", media, 13)
        settled(one)
        assert set(page.files) - {"below/v5.mp4", "cut.mp4", "v3.mp4", "v4.mp4"} == {
            "renamed.mp4",
            "v1.mp4",
            "v2.mp4",
            "new.mp4",
        }
        assert page.files["v1.mp4"].state == "gone"
        assert page.status.clips == 6
        assert contents(one.state.index) == contents(fresh(folder, tmp_path, prints))


@pytest.mark.slow
def test_a_file_that_is_gone_is_hidden_at_once_and_comes_back_or_is_dropped_after_a_day(made, folder, monkeypatch):
    one = made()
    with one.follower:
        one.round()
        page, aside = one.messages.out.progress, folder.parent / "aside.mp4"
        (folder / "v3.mp4").rename(aside)
        with monkeypatch.context() as nothing_is_read:
            nothing_is_read.setattr(Conductor, "_pass", None)
            one.round()
        assert (page.files["v3.mp4"].state, page.status.clips, page.status.done) == ("gone", 5, True)
        aside.rename(folder / "v3.mp4")
        settled(one)
        assert (page.files["v3.mp4"].state, page.status.clips, page.status.done) == ("done", 6, True)
        assert FeatureStore(one.state.store).done("speech") >= {"v3.mp4"}

        (folder / "v3.mp4").unlink()
        settled(one)
    (folder / "v4.mp4").unlink()
    again = made()
    assert json.loads((again.state.directory / "gone.json").read_text()).keys() == {"v3.mp4"}
    monkeypatch.setattr(conductor, "KEPT_S", 0.0)
    with again.follower:
        again.round()
        again.round()
    assert not {"v3.mp4", "v4.mp4"} & again.messages.out.progress.files.keys()
    assert not {"v3.mp4", "v4.mp4"} & set(FeatureStore(again.state.store).rows["video"])
    assert again.messages.out.progress.status.clips == 4


@pytest.mark.slow
def test_under_a_problem_nothing_is_hidden_and_it_goes_on_when_it_is_over(made, folder):
    one = made()
    with one.follower:
        one.round()
        before = one.state.index.stat().st_mtime_ns, (one.state.index / "index.json").read_bytes()
        folder.rename(folder.parent / "unplugged")
        with pytest.raises(Away, match="videos"):
            one.round()
        assert (one.state.index.stat().st_mtime_ns, (one.state.index / "index.json").read_bytes()) == before
        assert "gone" not in one.messages.out.states.values()
        (folder.parent / "unplugged").rename(folder)
        settled(one)
    assert one.messages.out.progress.status.clips == 6


class Stop(BaseException):
    """Ends a conductor."""


def run_until(one, monkeypatch, holds):
    """Let it run, and stop it at the first message after which something holds."""
    write = one.messages.out.write

    def checked(text):
        write(text)
        if text.strip() and holds(one.messages.out.progress):
            raise Stop

    monkeypatch.setattr(one.messages.out, "write", checked)
    with pytest.raises(Stop):
        one.run()


@pytest.mark.slow
def test_a_disk_that_is_full_is_said_and_what_is_missing_is_made_when_there_is_room(made, monkeypatch):
    one, write, full = made(), StoreWriter._files, iter([False, True, True])

    def files(*arguments):
        if next(full, False):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(*arguments)

    monkeypatch.setattr(StoreWriter, "_files", files)
    run_until(one, monkeypatch, lambda page: page.status.done)
    problems = {message["status"]["problem"] for message in one.messages.out.messages}
    assert len(problems) == 2
    assert any("disk is full" in problem for problem in problems)
    assert one.messages.out.progress.status.clips == 6


@pytest.mark.slow
def test_files_that_fail_because_their_drive_went_are_read_when_it_is_back(made, folder, monkeypatch):
    one, away, unplugged = made(), folder.parent / "unplugged", []

    def unplug(page):
        if "all frames" in page.status.step and not unplugged:
            unplugged.append(folder.rename(away))
        if "not there" in page.status.problem and away.exists():
            away.rename(folder)
        return page.status.done

    run_until(one, monkeypatch, unplug)
    page = one.messages.out.progress
    assert sorted(page.counts.items()) == [("done", 6), ("problem", 1)]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["index/index.json", "model/config.json", "index/segments"])
def test_an_index_or_model_that_is_damaged_is_made_again(name, made):
    one = made()
    with one.follower:
        one.round()
    place, before = one.state.directory / name, contents(one.state.index)
    shutil.rmtree(place) if place.is_dir() else place.write_bytes(b"{}")
    again = made()
    with again.follower:
        again.round()
    assert contents(again.state.index) == before


@pytest.mark.parametrize(
    ("wanted", "recorded", "reached", "here", "installed", "chosen", "said"),
    [
        ("auto", "strong", True, True, True, "strong", ""),
        ("clip", "offline", True, True, True, "offline", "stays"),
        ("strong", None, False, False, False, "strong", ""),
        ("auto", None, True, False, True, "clip", "1.3 GB"),
        ("auto", None, False, True, True, "clip", "clip"),
        ("auto", None, False, False, True, "offline", "network"),
        ("auto", None, False, False, False, "", "pip install"),
        ("builtin", None, True, True, True, "builtin", "pip install"),
    ],
)
def test_the_preset(wanted, recorded, reached, here, installed, chosen, said, monkeypatch):
    for name, value in (("hub_reached", reached), ("is_here", here), ("offline_here", installed)):
        monkeypatch.setattr(passes, name, lambda *_, value=value: value)
    preset, note = passes.choose_preset(wanted, recorded)
    assert preset == chosen
    assert said in note
    assert bool(said) is bool(note)


@pytest.mark.slow
def test_a_preset_that_cannot_be_downloaded_is_replaced_by_that_of_this_machine(made, monkeypatch):
    monkeypatch.setitem(registry.PRESETS, "clip", registry.Preset("", ("appearance=nobody/nothing", "audio")))
    monkeypatch.setattr(conductor, "choose_preset", lambda *_: ("clip", ""))
    monkeypatch.setattr(conductor, "offline_here", lambda: True)
    one = made("auto")
    with one.follower:
        with pytest.raises(NewFiles):
            one.round()
        assert "nobody/nothing" in one.messages.status.note
        assert one.state.record()["read_with"] == "offline"
        one.round()
    assert one.messages.out.progress.status.clips == 6


def test_what_to_do_about_a_file(says):
    notes = (
        "no permission to read it",
        "encrypted: it can be played with its key only; put a copy without protection in its place",
        "cut short or damaged: the index (moov) is missing",
        "the file is empty (0 bytes)",
        "gave no result within 1800 s (--timeout)",
        "not a video: its content is of no known media format",
        "its worker process crashed (exit code -11, SIGSEGV)",
    )
    says("\n".join(" | ".join(reason_and_advice(note)) for note in notes))


@pytest.mark.slow
def test_the_process_ends_in_order_when_stdin_is_closed_and_goes_on_after_a_kill(folder, tmp_path, pytestconfig):
    state = tmp_path / "state"
    state.mkdir()
    command = [sys.executable, "-m", "scripts.open.conductor", str(folder), str(state), "--preset", "builtin"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}

    def started():
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        return subprocess.Popen(command, cwd=pytestconfig.rootpath, env=environment, **pipes)

    def until(process, word):
        page = Progress("videos")
        for line in process.stdout:
            page.apply(json.loads(line))
            if word in page.status.step:
                return page
        raise AssertionError(process.stderr.read())

    with started() as killed:
        until(killed, "all frames")
        killed.kill()
    with started() as stopped:
        until(stopped, "listening")
        stopped.send_signal(signal.SIGINT)
        stopped.stdin.close()
        assert (stopped.wait(30), stopped.stderr.read()) == (0, "")
    with started() as last:
        assert until(last, "all is read").counts == {"done": 6, "problem": 1}
        last.stdin.close()
        assert last.wait(30) == 0


def test_files_that_are_still_copied_are_waited_for(made, folder):
    now = time.time()
    for path in folder.rglob("*.mp4"):
        os.utime(path, (now, now))
    one = made()
    one.follower.settle_s = 5.0
    with one.follower:
        one.round()
        page = one.messages.out.progress
        assert not page.status.done
        assert "copied" in page.status.step
        assert set(page.counts) == {"copying"}


def test_a_full_disk_is_known_by_what_any_library_says_of_it(tmp_path):
    error = OSError("'model' cannot be written")
    error.__cause__ = ValueError(f"I/O error: {os.strerror(errno.ENOSPC)} (os error 28)")
    assert "disk is full" in passing(error, tmp_path)
    assert passing(ValueError("something else"), tmp_path) == ""


def test_files_that_come_during_the_last_pass_are_read_by_all(made, folder, media, monkeypatch):
    one = made()
    last, read = folder / "late.mp4", one._pass

    def read_late(each):
        if each is one.passes[-1] and not last.exists():
            written(last, media, 3)
            while one.follower.look().copying:
                time.sleep(0.1)
            one._look()
        read(each)

    monkeypatch.setattr(one, "_pass", read_late)
    with one.follower:
        with pytest.raises(NewFiles):
            one.round()
        assert not one.messages.out.progress.status.done
        one.round()
    assert one.messages.out.states["late.mp4"] == "done"
