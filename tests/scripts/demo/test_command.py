"""mee demo: what its figures must be, and what a second call does again."""

import csv
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from unittest.mock import Mock

import pytest

from features import FeatureStore
from mee.errors import InputError
from mee.evaluation.result import read_result
from scripts.demo import command, words, world
from scripts.demo.command import main


def unlike_their_facts(folder):
    """Clips in which an extractor found a stream that they do not have, or the other way round."""
    clips = world.make_clips(0)
    wrong = []
    for stream, (shown, *_) in world.SHOWN_BY.items():
        found = FeatureStore(folder / "store").read(stream, [clip.name for clip in clips])
        wrong += [clip for clip, each in zip(clips, found) if (each is not None) != (shown in clip.facts)]
    return wrong


def when_written(folder):
    return {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}


def test_every_step_on_a_tiny_world(monkeypatch, tmp_path, prints):
    """Fifteen files, few captions, one epoch: the same commands in seconds."""
    monkeypatch.setattr(world, "SPLITS", {"train": (7, 1), "val": (2, 0), "test": (4, 1)})
    monkeypatch.setattr(words, "CAPTIONS_OF", {"train": 6, "val": 2, "test": 2})
    monkeypatch.setattr(command, "TRAINING", "--embed-dim 8 --text.width 16 --epochs 1 --batch-size 16")
    output = prints(main, tmp_path).out
    for name in ("precompute", "train", "index", "evaluate", "report", "search"):
        assert f"$ mee {name} " in output
    assert all((tmp_path / name).exists() and f"{tmp_path / name}" in output for name in command.MADE)
    assert (tmp_path / "answers.png").read_bytes().startswith(b"\x89PNG")
    assert unlike_their_facts(tmp_path) == []
    with (tmp_path / "captions.csv").open(newline="") as table:
        splits = Counter(row["split"] for row in csv.DictReader(table))
    assert splits == {"train": 48, "val": 4, "test": 10}
    before = when_written(tmp_path / "model")
    prints(main, tmp_path)
    assert when_written(tmp_path / "model") == before
    assert f"mee serve {tmp_path / 'index'} --videos {tmp_path / 'videos'}" in output
    shown = Mock(return_value=0)
    monkeypatch.setattr("scripts.serve.serve", shown, raising=False)
    assert prints(main, tmp_path, "--open").out == "\n"  # at once
    monkeypatch.setattr(command, "_command", Mock(side_effect=InputError("stop")))
    assert main([str(tmp_path), "--open", "--seed", "1"]) == 1  # another world is not complete
    (args,) = shown.call_args.args
    assert (args.index, args.videos, args.open) == (tmp_path / "index", tmp_path / "videos", True)
    assert shown.call_count == 1


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.slow
@pytest.mark.parametrize(("end", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGKILL, -9)])
def test_a_stopped_demo_leaves_no_process(tmp_path, pytestconfig, end, code):
    environment = {**os.environ, "PYTHONPATH": str(pytestconfig.rootpath), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "scripts.cli", "demo", str(tmp_path / "demo")]
    demo = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    while not any((tmp_path / "demo").glob("videos/*")):
        assert demo.poll() is None
        time.sleep(0.05)
    children = Path(f"/proc/{demo.pid}/task/{demo.pid}/children").read_text().split()
    demo.send_signal(end)
    _, err = demo.communicate(timeout=60)
    assert demo.returncode == code
    assert ("goes on from there" in err) == (code > 0)
    deadline = time.monotonic() + 10
    while any(Path("/proc", child, "exe").exists() for child in children):  # those that have ended have none
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_only_missing_files_are_rendered_and_those_of_another_seed_are_replaced(tmp_path, monkeypatch):
    monkeypatch.setattr(world, "SPLITS", {"train": (2, 1), "val": (1, 0), "test": (1, 0)})
    monkeypatch.setattr(command, "_command", Mock(side_effect=InputError("stop")))

    def written(*flags):
        assert main([str(tmp_path), *flags]) == 1
        return when_written(tmp_path / "videos")

    before = written()
    (tmp_path / "videos" / "clip_0001.mp4").unlink()
    again = written()
    assert {name for name in again if again[name] != before[name]} == {"clip_0001.mp4"}
    assert all(again[name] < time for name, time in written("--seed", "1").items())
    assert not list(tmp_path.rglob("*.part"))


def test_another_folder_is_not_changed(tmp_path, fails):
    (tmp_path / "letter.txt").write_text("dear")
    assert "is not a demo" in fails(main, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["letter.txt"]


@pytest.mark.slow
def test_figures(tmp_path, prints):
    output = prints(main, tmp_path).out
    assert output.count("$ mee search") == 5
    for name in ("motion", "audio"):  # the weight of the own expert, in captions about it alone
        own = re.search(rf"^{name} \(\d+ captions\) (.*)", output, re.MULTILINE)[1].replace("%", "").split()
        assert float(own[list(world.SHOWN_BY).index(name)]) > 50
    assert len(unlike_their_facts(tmp_path)) <= 4
    result = read_result(tmp_path / "result.json")
    mixture = result.text_to_video.metrics["R@1"]
    others = {row.name: row.text_to_video["R@1"] for row in result.schemes}
    assert result.protocol.gallery >= 60
    assert result.protocol.queries >= 120
    assert mixture >= 60
    assert mixture >= max(others[name] for name in ("appearance", "motion", "audio", "face")) + 15
    assert mixture > others["uniform"]
    assert (tmp_path / "report.html").read_text(encoding="utf-8").count("data:image/") >= 12
