"""Search by example: a file from outside finds the clip that it is; what is no example is told in one sentence."""

import json
import os
import shutil
import subprocess
import sys
from threading import Event

import numpy as np
import pytest

from features.store.manifest import checksummed
from index import Searcher
from mee.errors import InputError
from scripts.build_index import main as build_index
from scripts.example import ExampleMaker
from scripts.search import main as search


@pytest.fixture
def clean(tmp_path, monkeypatch):
    """A folder for temporary files, in which nothing may be left."""
    place = tmp_path / "temporary"
    place.mkdir()
    monkeypatch.setenv("TMPDIR", str(place))
    monkeypatch.setattr("tempfile.tempdir", None)
    yield place
    assert [*place.iterdir()] == []


@pytest.fixture(scope="module")
def maker(world):
    return ExampleMaker(Searcher.load(world.index))


@pytest.fixture
def hits(world, json_lines):
    return lambda *flags: [(hit["clip_id"], hit["score"]) for hit in json_lines(search, world.index, *flags)]


@pytest.mark.parametrize("name", ["clip0.mp4", "clip1.mp4", "clip7.mp4", "clip9.png"])
def test_a_file_of_the_library_finds_its_own_clip_as_that_clip_does(world, hits, clean, name):
    found = hits("--like-file", world.videos / name)
    assert found[0] == (name, pytest.approx(1.0, abs=1e-4))
    others = [(clip, pytest.approx(score, abs=1e-4)) for clip, score in hits("--like", name)]
    assert found[1:] == others[: len(found) - 1]


def test_it_joins_sentences_filters_and_experts(world, hits, prints, clean):
    file = world.videos / "clip1.mp4"
    both, alone = (dict(hits(*words, "--like-file", file)) for words in (("number 3 moves",), ()))
    said = dict(hits("number 3 moves"))
    assert both["clip3.mp4"] == pytest.approx((alone["clip3.mp4"] + said["clip3.mp4"]) / 2, abs=1e-4)
    assert hits("--like-file", file, "--where", 'video == "clip3.mp4"')[0][0] == "clip3.mp4"
    assert {clip for clip, _ in hits("--like-file", file, "--only", "audio")} <= {
        f"clip{n}.mp4" for n in (1, 3, 5, 7)
    }
    out, err = prints(search, world.index, "--like-file", world.videos / "clip9.png", "--verbose")
    assert out.startswith(f"file {world.videos / 'clip9.png'}")
    assert "the file is compared by appearance; it has no motion, audio, face" in err


def test_a_long_example_is_cut_as_the_library_is_and_its_mean_counts(world, media, tmp_path, maker):
    long = media.write(tmp_path / "long.mp4", [media.quadrants() // (1 + n % 3) for n in range(400)])
    made = maker.make(long)
    assert (made.streams, made.missing, made.notes) == (("appearance", "motion"), ("audio", "face"), ())
    for its in map(
        slice, *zip(*((each.start, each.stop) for each in maker.searcher.video_index.layout.slices[:2]))
    ):
        assert np.linalg.norm(made.queries.packed[0, 0, its]) == pytest.approx(1, abs=1e-5)


def film(media, path):
    """Two hours: a picture a minute."""
    media.write(path, [media.plain(n) for n in range(121)], [60.0 * n for n in range(121)])


BAD = {
    "text": (lambda path, _: path.write_text("this is no video\n" * 9), ".txt"),
    "script": (lambda path, _: path.write_text("import { a } from 'b'\n" * 99), ".ts"),
    "empty": (lambda path, _: path.touch(), ".mp4"),
    "folder": (lambda path, _: path.mkdir(), ""),
    "missing": (lambda path, _: None, ".jpg"),
    "pipe": (lambda path, _: os.mkfifo(path), ".mp4"),
    "cut": (
        lambda path, media: path.write_bytes(media.write(path, [media.plain(1)] * 9).read_bytes()[:400]),
        ".mp4",
    ),
    "no picture": (lambda path, _: path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"x" * 99), ".png"),
    "film": (lambda path, media: film(media, path), ".mp4"),
    "long sound": (lambda path, media: media.write(path, sounds=[(0.0, media.tone(61.5))]), ".m4a"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_no_example_is_told_in_one_sentence(world, media, fails, says, tmp_path, clean, name):
    make, ending = BAD[name]
    make(tmp_path / f"given{ending}", media)
    says(fails(search, world.index, "--like-file", tmp_path / f"given{ending}"))


def test_a_file_without_the_streams_of_the_index(world, own, prints, fails, says, tmp_path):
    from scripts.precompute import main as precompute
    from scripts.train import main as train

    store, model, index = (tmp_path / name for name in ("sounds", "heard", "heard_index"))
    prints(precompute, world.videos, store, "--streams", "audio", "--workers", "1")
    prints(train, store, own.captions, model, *own.tiny)
    prints(build_index, store, model, index)
    says(fails(search, index, "--like-file", shutil.copy(world.videos / "clip0.mp4", tmp_path)))
    assert prints(search, index, "--like-file", world.videos / "clip1.mp4", "--json").out.count("clip1.mp4")
    says_only = fails(search, own.index, "--like-file", world.videos / "clip0.mp4", "--only", "audio")
    assert says_only == "the example has none of the experts that the search uses; give another file"


def changed(store, change):
    path = store / "store.json"
    content = json.loads(path.read_text())
    content.pop("sha256")
    change(content["streams"])
    path.write_bytes(checksummed(content))


def test_what_made_a_stream_must_be_here(grown, prints, fails, says, tmp_path):
    example = ("--like-file", grown.videos / "clip1.mp4")
    moved = grown.store.rename(tmp_path / "elsewhere")
    says(fails(search, grown.index, *example))
    moved.rename(grown.store)
    assert "clip1.mp4" in prints(search, grown.index, *example).out
    changed(grown.store, lambda streams: streams["audio"].update(digest="0" * 12))
    assert "'audio'" in fails(search, grown.index, *example, alone=False)


def test_a_stream_that_mee_makes_otherwise_by_now_is_left_out(world, prints, monkeypatch, says):
    from features.extractors.builtin.audio import AudioExtractor

    monkeypatch.setattr(AudioExtractor, "version", AudioExtractor.version + 1)
    out, err = prints(search, world.index, "--like-file", world.videos / "clip1.mp4", "--verbose")
    assert "clip1.mp4" in out
    says(err)


def test_a_library_that_was_copied_with_its_store_takes_examples(grown, prints, tmp_path):
    for name in ("store", "model", "grown"):
        shutil.copytree(grown.place / name, tmp_path / "copy" / name)
        shutil.rmtree(grown.place / name)
    assert (
        "clip1.mp4" in prints(search, tmp_path / "copy" / "grown", "--like-file", grown.videos / "clip1.mp4").out
    )


def test_unwanted_work_ends(world, maker):
    unwanted = Event()
    unwanted.set()
    with pytest.raises(InputError, match="nobody waits for it any more"):
        maker.make(world.videos / "clip1.mp4", unwanted=unwanted)


@pytest.mark.parametrize("after", [0.5, 2.5])
def test_ctrl_c_leaves_nothing(world, media, tmp_path, clean, after):
    busy = media.write(tmp_path / "busy.mp4", [media.quadrants((960, 640))] * 550)
    command = [sys.executable, "-m", "scripts.cli", "search", world.index, "--like-file", busy]
    with subprocess.Popen(map(str, command), stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            process.wait(after)
        except subprocess.TimeoutExpired:
            process.send_signal(2)
        _, err = process.communicate(timeout=60)
    assert process.returncode in (0, 130, -2)
    assert "Traceback" not in err or process.returncode == -2
