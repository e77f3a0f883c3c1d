"""Bad input: one clear sentence, the right exit code, no traceback, nothing half-written left."""

import json
import os
import shutil

import numpy as np
import pytest

from features.extractors.base import Fingerprint
from features.store.manifest import declare
from scripts.build_index import main as build_index
from scripts.evaluate import main as evaluate
from scripts.import_features import main as import_features
from scripts.precompute import main as precompute
from scripts.search import main as search
from scripts.store import main as store
from scripts.train import main as train


def spoil(path, how):
    content = path.read_bytes()
    if how == "gone":
        path.unlink()
    else:
        half, other = content[: len(content) // 2], b"\xff\x00 no such format" * 50
        path.write_bytes({"cut": half, "empty": b"", "other": other}[how])


# ---- precompute


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda p: None, "there is nothing at"),
        (lambda p: p.mkdir(), "it is empty"),
        (lambda p: (p.mkdir(), (p / "a.txt").touch()), "only 1 x .txt"),
        (lambda p: p.write_text("x"), "neither a video nor a still image"),
    ],
)
def test_nothing_to_read(fails, tmp_path, make, says):
    make(tmp_path / "given")
    assert says in fails(precompute, tmp_path / "given", tmp_path / "store")
    assert not (tmp_path / "store").exists()


def test_files_that_are_no_videos_are_failures_listed(tmp_path, world, capsys):
    videos = tmp_path / "videos"
    videos.mkdir()
    (videos / "text.mp4").write_text("this is no video\n" * 100)
    (videos / "zero.mp4").touch()
    (videos / "cut.mp4").write_bytes((world.videos / "clip1.mp4").read_bytes()[:700])
    (videos / "text.png").write_text("this is no image")
    assert precompute([str(videos), str(tmp_path / "store"), "--streams", "audio", "--workers", "2"]) == 3
    out, err = capsys.readouterr()
    for name, why in {
        "text.mp4": "not a video: its content is of no known media format",
        "zero.mp4": "the file is empty (0 bytes)",
        "cut.mp4": "cut short or damaged: the index (moov) is missing",
        "text.png": "",
    }.items():
        (line,) = (line for line in out.splitlines() if line.startswith(name))
        assert " failed " in line
        assert why in line
    assert "Traceback" not in out + err


@pytest.mark.parametrize("name", ["appearence", "", "../audio"])
def test_an_unknown_stream(fails, world, tmp_path, name):
    error = fails(precompute, world.videos, tmp_path / "store", "--streams", name)
    assert f"'{name}'" in error
    assert not (tmp_path / "store").exists()


def test_a_folder_that_is_no_store(fails, world, tmp_path):
    (tmp_path / "mine.txt").touch()
    assert "is not a feature store; name another place" in fails(precompute, world.videos, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_another_length_of_clips(fails, world, own):
    before = (own.store / "store.json").read_text()
    assert "another store" in fails(precompute, world.videos, own.store, "--clip-seconds", "2")
    assert (own.store / "store.json").read_text() == before


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_place_that_cannot_be_written(fails, world, tmp_path):
    tmp_path.chmod(0o500)
    assert "Permission denied" in fails(precompute, world.videos, tmp_path / "store")


def test_a_place_below_a_file(fails, world, tmp_path):
    (tmp_path / "file").touch()
    for command in (
        (precompute, world.videos, tmp_path / "file" / "store"),
        (train, world.store, world.captions, tmp_path / "file" / "model", *world.tiny),
        (build_index, world.store, world.model, tmp_path / "file" / "index"),
    ):
        assert str(tmp_path / "file") in fails(*command, alone=False)


# ---- the store, for those who read it


READERS = pytest.mark.parametrize("name", ["train", "index", "evaluate"])


@READERS
def test_no_store(fails, own, readers, name):
    shutil.rmtree(own.store)
    assert "no feature store at" in fails(*readers[name])
    assert not (own.place / "new").exists()


@READERS
@pytest.mark.parametrize("which", ["store.json", "parts", "appearance"])
@pytest.mark.parametrize("how", ["cut", "empty", "other"])
def test_a_damaged_store(fails, own, readers, name, which, how):
    path = own.store / which
    spoil(path if path.is_file() else next(file for file in path.iterdir() if ".times." not in file.name), how)
    assert " is damaged" in fails(*readers[name], alone=False)
    assert not (own.place / "new").exists()


@pytest.mark.parametrize("name", ["index", "evaluate"])
def test_a_store_of_another_extractor(fails, own, readers, name):
    made_by = Fingerprint(extractor="other", version=2, dim=512)
    declare(own.store, {"appearance": made_by}, None, overwrite=True)
    error = fails(*readers[name])
    if name == "index":
        assert "'appearance' was made by another extractor" in error
        assert "--streams appearance --overwrite" in error
    else:  # the clips have no rows of the new extractor yet
        assert "not all of its streams are there" in error
    assert not (own.place / "new").exists()


@pytest.mark.parametrize("name", ["index", "evaluate"])
def test_a_store_that_lacks_a_stream(fails, own, readers, name):
    content = json.loads((own.store / "store.json").read_text())
    del content["streams"]["audio"]
    (own.store / "store.json").write_text(json.dumps(content))
    assert "has no 'audio' stream, which this model needs" in fails(*readers[name])


# ---- the model


MODEL_READERS = pytest.mark.parametrize("name", ["index", "evaluate"])


@MODEL_READERS
def test_no_model(fails, own, readers, name):
    shutil.rmtree(own.model)
    assert "no model at" in fails(*readers[name])


@MODEL_READERS
@pytest.mark.parametrize("file", ["config.json", "model.safetensors", "text/tokenizer.json"])
@pytest.mark.parametrize("how", ["gone", "cut", "empty", "other"])
def test_a_damaged_model(fails, own, readers, name, file, how):
    spoil(own.model / file, how)
    assert str(own.model) in fails(*readers[name])
    assert not (own.place / "new").exists()


@MODEL_READERS
def test_a_model_of_another_kind(fails, own, readers, name):
    (own.model / "config.json").write_text('{"model_type": "bert", "hidden_size": 8}')
    assert "does not describe a MEE model" in fails(*readers[name])


def test_a_damaged_record_of_training(fails, own):
    spoil(own.model / "training.json", "cut")
    assert "training.json" in fails(evaluate, own.store, own.captions, own.model)


# ---- the index and what is searched


def test_no_index(fails, tmp_path):
    assert "no index at" in fails(search, tmp_path / "nowhere", "a thing")
    assert "no index at" in fails(search, tmp_path, "a thing")


@pytest.mark.parametrize("file", ["index.json", "segments/*/clips.arrow", "segments/*/vectors-*.npy"])
@pytest.mark.parametrize("how", ["gone", "cut", "empty", "other"])
def test_a_damaged_index(fails, own, file, how):
    spoil(next(own.index.glob(file)), how)
    assert str(own.index) in fails(search, own.index, "a thing")


def test_an_index_whose_model_is_gone(fails, own, tmp_path):
    assert build_index([str(own.store), str(own.model), str(tmp_path / "new")]) == 0
    shutil.rmtree(own.model)
    error = fails(search, tmp_path / "new", "a thing")
    assert "is not at" in error
    assert "--model" in error


def test_an_index_with_the_wrong_model(fails, own, world):
    assert train([str(own.store), str(own.captions), str(own.place / "new"), *own.tiny, "--seed", "9"]) == 0
    error = fails(search, own.index, "a thing", "--model", own.place / "new")
    assert "is not the model that index" in error
    assert "--overwrite" in error


# ---- usage

NAMES = (["c=resnet"], ["a="], ["a=x", "a=y"])


@pytest.mark.parametrize(
    ("main", "arguments", "says"),
    [
        (search, [], "INDEX"),
        (precompute, ["videos"], "STORE"),
        (precompute, ["v", "s", "--clip-seconds", "0.01"], "clip-seconds must be at least 0.1"),
        (precompute, ["v", "s", "--reader", "magic"], "'magic'"),
        (precompute, ["v", "s", "--workers", "0"], "workers must be at least 1"),
        (precompute, ["v", "s", "--streams", "audio", "audio"], "streams must be named, each once"),
        (precompute, ["v", "s", "--shard", "4/4"], "i from 0 to n - 1"),
        (precompute, ["v", "s", "--shard", "half"], "such as 0/4, or env; got 'half'"),
        (precompute, ["v", "s", "--shard", "0/2", "--overwrite"], "overwrite and shard exclude each other"),
        (precompute, ["v", "s", "--retries", "-1"], "retries must be at least 0, got -1"),
        (precompute, ["v", "s", "--max-seconds", "0"], "max-seconds must be positive"),
        (precompute, ["v", "s", "--batch-size", "0"], "batch-size must be at least 1"),
        (store, [], "Expected one of {list, verify, merge, export}"),
        (store, ["look", "store"], "Unrecognized options: look"),
        (store, ["list", "store", "--clips", "--failed"], "ask for one of them"),
        (store, ["merge", "store"], "name what to merge into it"),
        (import_features, ["s"], "name what to import"),
        (import_features, ["s", "resnet.npy"], "'resnet.npy' should be STREAM=FILE"),
        *((import_features, ["s", what], "should be STREAM=FILE") for what in ("a=", "=a.npy", "../x=a", "a.b=a")),
        (import_features, ["s", "a=1.npy", "a=2.npy"], "'a' is given twice"),
        (import_features, ["s", "a=1", "b=2", "--name", "resnet"], "STREAM=NAME, each of a, b at most once"),
        *((import_features, ["s", "a=1", "b=2", "--name", *what], "should be STREAM=NAME") for what in NAMES),
        (train, ["s", "c", "m", "--epochs", "-1"], "epochs cannot be negative"),
        (train, ["s", "c", "m", "--text.width", "10"], "width 10 must divide"),
        (evaluate, ["s", "c", "m", "--split", "train"], "'train'"),
    ],
)
def test_wrong_usage_exits_with_2(misused, main, arguments, says):
    assert says in misused(main, *arguments)


def test_no_traceback_reaches_a_user(mee, tmp_path):
    """The same through a process: what leaves it is one line."""
    ran = mee("precompute", tmp_path / "nowhere", tmp_path / "store")
    assert (ran.returncode, ran.stdout) == (1, "")
    assert ran.stderr == (
        f"error: there is nothing at '{tmp_path / 'nowhere'}'; name a folder of videos, or one video\n"
    )
    assert np.unique(list(tmp_path.iterdir())).size == 0
