"""`mee train`: presets, experts, image captions, scalars, and what each refuses."""

import json
import os
import re
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest

from features.store.feature_store import FeatureStore
from mee.checkpoint import read_training
from mee.data.tables import read_captions
from mee.errors import InputError
from mee.evaluation.held_out import held_out_pairs
from mee.model import MEE
from mee.training.config import PRESETS
from scripts.train import expert_configs, main


@pytest.fixture
def train(world, tmp_path):
    def run(*extra, tiny=True, model=tmp_path / "model", captions=world.captions):
        settings = world.tiny if tiny else ()
        return main([str(world.store), str(captions), str(model), *settings, *map(str, extra)])

    run.model = tmp_path / "model"
    return run


@pytest.fixture
def vectors(tmp_path):
    """Word vectors in word2vec's text format, of some of the captions' words."""
    rng = np.random.default_rng(0)
    words = ["number", "moves", "up", "on", "the", "dog"]
    lines = [f"{word} {' '.join(f'{x:.4f}' for x in rng.normal(size=7))}" for word in words]
    path = tmp_path / "words.txt"
    path.write_text("\n".join([f"{len(words)} 7", *lines]) + "\n")
    return path


def test_the_papers_preset_trains_the_papers_network(train, vectors):
    assert train("--preset", "paper", "--text.vectors", vectors, "--epochs", 2, "--batch-size", 4, tiny=False) == 0
    config = MEE.from_pretrained(train.model).config
    assert config.text.pooling == ("netvlad-32",)
    sizes = {expert.name: (expert.pooling, expert.embed_dim) for expert in config.experts}
    assert sizes["audio"] == (("netvlad-16",), 128)
    assert sizes["face"] == (("mean",), 128)
    assert sizes["appearance"][0] == ("max",)
    record = json.loads((train.model / "training.json").read_text())["training"]
    assert (record["loss"], record["margin_mean"], record["learning_rate"]) == ("max-margin", "all", 4e-4)


def test_a_flag_overrides_its_preset(train):
    code = train(
        "--preset=paper", "--text.encoder", "recurrent", "--text.pooling", "mean", "--learning-rate", "0.01"
    )
    assert code == 0
    record = json.loads((train.model / "training.json").read_text())["training"]
    assert (record["loss"], record["learning_rate"]) == ("max-margin", 0.01)
    assert MEE.from_pretrained(train.model).config.text.encoder == "recurrent"


def test_one_expert_is_set_by_name(train):
    assert train("--streams", "appearance", "audio", "--expert", "audio:netvlad-3+mean:5") == 0
    appearance, audio = MEE.from_pretrained(train.model).config.experts
    assert (audio.pooling, audio.embed_dim) == (("netvlad-3", "mean"), 5)
    assert (appearance.pooling, appearance.embed_dim) == (("mean", "max"), 8)


def test_image_captions_join_training_and_are_no_test(train, world, tmp_path, capsys):
    videos, captions = tmp_path / "videos.csv", tmp_path / "images.csv"
    videos.write_text("".join(line for line in world.captions.open() if not line.startswith("clip9")))
    captions.write_text("video_id,caption,split\nclip9.png,four coloured fields,train\n")
    assert train("--images", world.store, captions, "--image-rate", 1, captions=videos) == 0
    record = read_training(train.model)
    assert record["images"] == {"store": str(world.store), "captions": str(captions), "count": 1}
    assert record["videos"]["images"] == list(record["contents"]["images"]) == ["clip9.png"]
    assert record["videos"]["train"] == [f"clip{n}.mp4" for n in range(6)]
    assert "1 captions of 1 images added" in capsys.readouterr().err
    table, store = read_captions(world.captions), FeatureStore(world.store)
    with pytest.raises(InputError, match=r"'clip9\.png'"):
        held_out_pairs(table, store, record, split="test", partial=False)


@pytest.mark.parametrize("name", ["clip7.mp4", "clip9.png"])
def test_an_image_that_is_validated_or_tested_on_is_refused(train, world, tmp_path, fails, name):
    captions = tmp_path / "images.csv"
    captions.write_text(f"video_id,caption\n{name},four coloured fields\n")
    sentence = fails(
        main, world.store, world.captions, train.model, *world.tiny, "--images", world.store, captions, alone=False
    )
    assert f"1 of the images are validated or tested on, '{name}'; leave them out" in sentence
    assert not train.model.exists()


def test_scalars_are_written_for_tensorboard(train, tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    assert train("--tensorboard", tmp_path / "scalars") == 0
    events = EventAccumulator(str(tmp_path / "scalars"))
    events.Reload()
    assert {"train/loss", "train/learning_rate", "validation/R@1"} <= set(events.Tags()["scalars"])


@pytest.mark.parametrize(
    ("extra", "sentence"),
    [
        (["--preset", "paper"], "--text.vectors"),
        (["--streams", "smell"], "no stream 'smell'"),
        (["--expert", "smell:max"], "no expert 'smell'"),
        (["--aligned", "appearance=/nowhere/clip"], "/nowhere/clip"),
        (["--text.encoder", "/nowhere/bert"], "/nowhere/bert"),
        (["--text.encoder", "word-vectors", "--text.vectors", "/nowhere/words.txt"], "/nowhere/words.txt"),
    ],
)
def test_what_is_not_there_is_named(train, world, fails, extra, sentence):
    said = fails(main, world.store, world.captions, train.model, *world.tiny, *extra, alone=False)
    assert sentence in said
    assert not train.model.exists()


# ---- experts


STORE = SimpleNamespace(
    name="store", dims={"appearance": 6, "audio": 4}, fingerprints={"appearance": "a", "audio": "b"}
)


def experts(preset="default", **given):
    return {expert.name: expert for expert in expert_configs(PRESETS[preset], STORE, **given)}


def test_all_streams_in_the_stores_order_with_the_presets_settings():
    made = experts()
    assert list(made) == ["appearance", "audio"]
    assert {(e.embed_dim, e.pooling) for e in made.values()} == {(512, ("mean", "max"))}
    assert experts("paper")["audio"].pooling == ("netvlad-16",)


def test_the_named_streams_in_the_named_order():
    assert list(experts(streams=("audio", "appearance"))) == ["audio", "appearance"]


def test_one_setting_for_all_and_one_for_one():
    audio = {"pooling": ("netvlad-8", "mean"), "embed_dim": 16}
    made = experts(embed_dim=32, pooling=("max",), settings={"audio": audio})
    assert (made["appearance"].embed_dim, made["appearance"].pooling) == (32, ("max",))
    assert (made["audio"].embed_dim, made["audio"].pooling) == (16, ("netvlad-8", "mean"))
    assert experts(embed_dim=32, settings={"audio": {"pooling": ("last",)}})["audio"].embed_dim == 32


def test_an_aligned_expert_starts_as_identity_in_its_streams_own_size():
    made = experts(embed_dim=32, towers={"appearance": "some/clip"})["appearance"]
    assert (made.text, made.start, made.embed_dim) == ("some/clip", "identity", 6)
    assert (made.pooling, made.standardise) == (("mean",), False)


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"streams": ("smell",)}, "store has no stream 'smell'; it has appearance, audio"),
        ({"settings": {"smell": {}}}, "no expert 'smell' to set; there are appearance, audio"),
        ({"streams": ("audio",), "towers": {"appearance": "clip"}}, "no expert 'appearance' to set"),
        ({"settings": {"audio": {"pooling": ("median",)}}}, "'audio': pooling must be one of mean, max"),
        ({"settings": {"audio": {"pooling": ("max", "max")}}}, "'audio': every pooling counts once"),
        ({"settings": {"audio": {"pooling": ("netvlad-0",)}}}, "'audio': pooling must be one of"),
        ({"embed_dim": 0}, "'appearance': sizes must be positive"),
    ],
)
def test_settings_that_make_no_sense_are_refused(given, sentence):
    with pytest.raises(InputError, match=re.escape(sentence)):
        experts(**given)


@pytest.mark.parametrize(
    "flags",
    [
        ("--expert", "audio"),
        ("--expert", "audio:max:big"),
        ("--expert", "audio:max", "audio:mean"),
        ("--aligned", "appearance"),
        ("--aligned", "appearance="),
        ("--aligned", "=clip"),
    ],
    ids=" ".join,
)
def test_flags_of_experts_that_make_no_sense_are_wrong_usage(misused, flags):
    said = misused(main, "s", "c", "m", *flags)
    assert f"Error parsing {flags[0]}: '{flags[1].partition(':max')[0]}" in said


@pytest.mark.slow
def test_two_processes_train_one_model_and_say_everything_once(world, tmp_path, pytestconfig):
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m"]
    command += ["scripts.train", str(world.store), str(world.captions), str(tmp_path / "model"), *world.tiny]
    done = subprocess.run(
        [*command, "--device", "cpu"],
        cwd=pytestconfig.rootpath,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=180,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("training on 12 captions") == 1
    assert done.stderr.count("best epoch") == 1
    assert MEE.from_pretrained(tmp_path / "model").modalities == ("appearance", "motion", "audio", "face")
    assert not (tmp_path / "model.training").exists()
