"""Bad input: one clear sentence, the right exit code, no traceback, and nothing half-written remains."""

import json
import os
import shutil

import pytest

from features.extractors.base import Fingerprint
from features.store.manifest import declare
from scripts.build_index import main as build_index
from scripts.evaluate import main as evaluate
from scripts.gallery import main as gallery
from scripts.import_features import main as import_features
from scripts.open.command import main as open_folder
from scripts.open.library import main as library
from scripts.overlap import main as overlap
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


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda p: None, "there is nothing at"),
        (lambda p: p.mkdir(), "it is empty"),
        (lambda p: (p.mkdir(), (p / "a.txt").touch()), "only 1 x .txt"),
        (lambda p: p.write_text("x"), "neither a video, a still image nor sound (no ending)"),
    ],
)
def test_nothing_to_read(fails, tmp_path, make, says):
    make(tmp_path / "given")
    assert says in fails(precompute, tmp_path / "given", tmp_path / "store")
    assert not (tmp_path / "store").exists()


def test_files_that_cannot_be_read_are_listed_as_failures(tmp_path, world, prints):
    videos = tmp_path / "videos"
    videos.mkdir()
    (videos / "text.mp4").write_text("this is no video\n" * 100)
    (videos / "zero.mp4").touch()
    (videos / "cut.mp4").write_bytes((world.videos / "clip1.mp4").read_bytes()[:700])
    (videos / "text.png").write_text("this is no image")
    out, err = prints(precompute, videos, tmp_path / "store", "--streams", "audio", "--workers", "2", code=3)
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
    assert f"'{name}'" in fails(precompute, world.videos, tmp_path / "store", "--streams", name)
    assert not (tmp_path / "store").exists()


def test_another_folder_and_another_length_of_clips(fails, world, own, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "mine.txt").touch()
    assert "is not a feature store; name another place" in fails(precompute, world.videos, tmp_path / "mine")
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["mine.txt"]
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


def store_without_audio(own):
    content = json.loads((own.store / "store.json").read_text())
    del content["streams"]["audio"]
    (own.store / "store.json").write_text(json.dumps(content))


def store_of_another_extractor(own):
    made_by = Fingerprint(extractor="other", version=2, dim=512)
    declare(own.store, {"appearance": made_by}, None, overwrite=True)


def captions_of(content):
    return lambda own: own.captions.write_text(content)


@pytest.mark.parametrize(
    ("change", "names", "message"),
    [
        (lambda own: shutil.rmtree(own.store), ("train", "index", "evaluate"), "no feature store at"),
        (store_without_audio, ("index", "evaluate"), "has no 'audio' stream, which this model needs"),
        (store_of_another_extractor, ("index",), "'appearance' was made by another extractor"),
        (store_of_another_extractor, ("index",), "--streams appearance --overwrite"),
        (
            store_of_another_extractor,
            ("evaluate",),
            "not all of its streams are there",
        ),  # no rows of the new one yet
        (captions_of(""), ("train", "evaluate"), "has no column 'video_id'; it has nothing"),
        (captions_of("video_id,caption\nnobody,a\n"), ("train", "evaluate"), "nobody (not in the store)"),
        (
            captions_of("video_id,caption,split\nclip0,a thing,dev2\n"),
            ("train", "evaluate"),
            "split must be one of train, val, test, got 'dev2'",
        ),
        (captions_of('video_id,caption\nclip0,"a\n'), ("train", "evaluate"), "line 2"),
        (lambda own: shutil.rmtree(own.model), ("index", "evaluate"), "no model at"),
        (
            lambda own: (own.model / "config.json").write_text('{"model_type": "bert", "hidden_size": 8}'),
            ("index", "evaluate"),
            "does not describe a MEE model",
        ),
        (lambda own: spoil(own.model / "training.json", "cut"), ("evaluate",), "training.json"),
    ],
)
def test_input_that_cannot_be_used(fails, own, readers, change, names, message):
    change(own)
    for name in names:
        assert message in fails(*readers[name])
    assert not [path for path in own.place.iterdir() if path.name.startswith("new")]


def test_a_caption_of_a_video_that_failed(fails, own, tmp_path, world, prints):
    shutil.copytree(world.videos, tmp_path / "videos")
    (tmp_path / "videos" / "zero.mp4").touch()
    prints(precompute, tmp_path / "videos", own.store, "--workers", "1", code=3)
    own.captions.write_text(own.captions.read_text() + "zero,a caption,train\n")
    said = fails(train, own.store, own.captions, tmp_path / "new", *own.tiny)
    assert "zero (the file is empty (0 bytes))" in said


DAMAGES = {  # the files, and who reads them
    "store": (("store.json", "parts/*", "appearance/*[0-9].safetensors"), ("train", "index", "evaluate")),
    "model": (("config.json", "model.safetensors", "text/tokenizer.json"), ("index", "evaluate")),
    "index": (("index.json", "segments/*/clips.arrow", "segments/*/vectors-*.npy"), ("search",)),
}


@pytest.mark.parametrize(("what", "file"), [(what, file) for what, (some, _) in DAMAGES.items() for file in some])
@pytest.mark.parametrize("how", ["gone", "cut", "empty", "other"])
def test_damaged_files(fails, own, readers, what, file, how):
    directory = getattr(own, what)
    spoil(min(directory.glob(file)), how)
    for name in DAMAGES[what][1]:
        message = fails(*readers[name], alone=what != "store")
        assert " is damaged" in message if what == "store" and how != "gone" else str(directory) in message
    assert not (own.place / "new").exists()


def test_no_index_and_no_store(fails, tmp_path):
    for place in (tmp_path / "nowhere", tmp_path):
        assert "no index at" in fails(search, place, "a thing")
    for form in (["list"], ["verify"], ["merge", tmp_path / "all"]):
        assert "no feature store at" in fails(store, *form, tmp_path / "nowhere")


def test_an_index_whose_model_is_missing_or_another_one(fails, own, tmp_path, prints):
    prints(train, own.store, own.captions, tmp_path / "other", *own.tiny, "--seed", "9")
    error = fails(search, own.index, "a thing", "--model", tmp_path / "other")
    assert "is not the model that index" in error
    assert "--overwrite" in error
    prints(build_index, own.store, own.model, tmp_path / "new")
    shutil.rmtree(own.model)
    prints(search, tmp_path / "new", "a thing")  # the text side is beside the index
    for text in (tmp_path / "new").glob("text-*"):
        shutil.rmtree(text)
    error = fails(search, tmp_path / "new", "a thing")
    assert "is not at" in error
    assert "--model" in error


NAMES = (["c=resnet"], ["a="], ["a=x", "a=y"])
SIDES = ("a", "a --train x", "a b --train x --test y")
EXPERTS = [  # the word that is named, the flags
    ("audio", "--expert", "audio"),
    ("audio", "--expert", "audio:max:big"),
    ("audio", "--expert", "audio:max", "audio:mean"),
    *((word, "--aligned", word) for word in ("appearance", "appearance=", "=clip")),
]
QUERIES = [
    (["up", "--top", "0"], "top must be at least 1, got 0"),
    (["up", "--moments", "0"], "moments must be at least 1, got 0"), (["up", "--top", "many"], "'many'"),
    (["up", "--nonsense"], "--nonsense"), ([""], "a sentence is empty"), ([" \t\n"], "a sentence is empty"),
    (["up", "--where", ""], "the filter '' has 0 characters"), (["up", "--where", "None"], "the filter 'None'"),
    (["up", "--weights", "audio"], "--weights: 'audio' is not of the form EXPERT=NUMBER"),
    (["up", "--weights", "audio=much"], "--weights: 'audio=much' is not of the form EXPERT=NUMBER"),
    (["up", "--weights", "audio=1", "audio=2"], "--weights: 'audio' is given twice"),
    (["up", "--also", "0*on"], "--also: the weight of '0*on' must be above 0"),
    (["up", "--also=-1*on"], "--also: the weight of '-1*on' must be above 0; --less is for"),
    (["up", "--less", "0.5*"], "--less: '0.5*' has no sentence; write it like '0.5*at night'"),
    (["up", "--less", " "], "has no sentence"), (["up", "--also", "1e308*on", "--less", "1e308*off"], "'on'"),
    (["up", "--then", " "], "a sentence is empty"), (["up", *["--then", "on"] * 4], "at most 4 moments, got 5"),
    (["--said", "x", "--then", "up"], "what comes first"), (["up", "--within", "-1"], "--within is a number"),
    (["up", "--then", "on", "--within", "nan"], "--within is a number of seconds from 0, got nan"),
    (["up", "--video", "\udcff.mp4"], "--video '\\udcff.mp4' is not UTF-8 text"),
    (["up", "--export", "cuts.avi"], "--export is written as .csv or"), (["--export", "a.csv"], "of one search"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("main", "arguments", "says"),
    [
        (search, [], "INDEX"),
        *((search, ["i", *words], message) for words, message in QUERIES),
        *((train, ["s", "c", "m", *words], f"Error parsing {words[0]}: '{name}") for name, *words in EXPERTS),
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
        (store, [], "Expected one of {list, verify, merge, prune, export, words}"),
        (store, ["look", "store"], "Unrecognized options: look"),
        (store, ["list", "store", "--clips", "--failed"], "choose one of them"),
        (store, ["merge", "store"], "name what to merge into it"),
        (import_features, ["s"], "name what to import"),
        (import_features, ["s", "resnet.npy"], "'resnet.npy' should be STREAM=FILE"),
        *((import_features, ["s", what], "should be STREAM=FILE") for what in ("a=", "=a.npy", "../x=a", "a.b=a")),
        (import_features, ["s", "a=1.npy", "a=2.npy"], "'a' is given twice"),
        (import_features, ["s", "a=1", "b=2", "--name", "resnet"], "STREAM=NAME, each of a, b at most once"),
        *((import_features, ["s", "a=1", "b=2", "--name", *what], "should be STREAM=NAME") for what in NAMES),
        (import_features, ["s", "a=1", "b=2", "--columns", "x.txt"], "--columns x.txt should be STREAM=FILE"),
        (train, ["s", "c", "m", "--epochs", "-1"], "epochs cannot be negative"),
        (train, ["s", "c", "m", "--text.width", "10"], "width 10 must divide"),
        (evaluate, ["s", "c", "m", "--split", "train"], "'train'"),
        (build_index, ["s", "m", "i", "--recall", "0"], "recall must be above 0 and at most 1"),
        (build_index, ["s", "m", "i", "--recall", "nan"], "recall must be above 0 and at most 1"),
        (build_index, ["s", "m", "i", "--recall", "0.9", "--kind", "certified"], "'certified' is exact"),
        (build_index, ["s", "m", "i", "--kind", "magic"], "'magic'"),
        (gallery, ["remove", "i"], "name the clips to remove"),
        (gallery, ["remove", "i", "--clips", "a", "--where", "b"], "name the clips to remove"),
        (gallery, ["list", "i", "--clips", "--without-stream"], "cannot be combined"),
        (gallery, ["compact", "i", "--recall", "2"], "recall must be above 0 and at most 1"),
        (gallery, ["compact", "i", "--kind", "flat", "--recall", "0.9"], "'flat' is exact"),
        (gallery, ["normalise", "i", "--bank", "b", "--neighbours", "0"], "neighbours must be at least 1"),
        (gallery, ["normalise", "i", "--bank", "b", "--alpha", "-1"], "alpha finite"),
        (gallery, ["nonsense", "i"], "nonsense"),
        (open_folder, [], "FOLDER"),
        (open_folder, ["f", " "], "the sentence is empty"),
        (open_folder, ["f", "--port", "70000"], "--port must be 0 to 65535, got 70000"),
        (open_folder, ["f", "--preset", "best"], "'best'"),
        *(
            (library, ["forget", *words], "name the folders to forget, or give --all")
            for words in ([], ["x", "--all"])
        ),
        *((overlap, words.split(), "name ANNOTATIONS, or both") for words in SIDES),
        (
            overlap,
            ["a", "--train", "x", "--test", "y", "--protocol", "msvd"],
            "--protocol and --train-list go with ANNOTATIONS",
        ),
        (overlap, ["a", "b", "--train-list", "9k"], "--train-list goes with --protocol NAME"),
        (overlap, ["a", "b", "--fps", "0"], "fps must be above 0"),
        (overlap, ["a", "b", "--share", "0"], "share must be above 0"),
        (overlap, ["a", "b", "--nearest", "0"], "nearest must be at least 1"),
        (overlap, ["a", "b", "--workers", "0"], "workers must be at least 1"),
        *((overlap, ["a", "b", "--threshold", many], "threshold counts whole bits") for many in ("2.5", "inf")),
    ],
)
def test_wrong_usage_exits_with_2(misused, main, arguments, says):
    assert says in misused(main, *arguments)
