"""`mee train`: presets, experts, image captions, scalars, and what each refuses."""

import json
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
def vectors(tmp_path):
    """Word vectors in word2vec's text format, of some of the captions' words."""
    words, path = ["number", "moves", "up", "on", "the", "dog"], tmp_path / "words.txt"
    rows = np.random.default_rng(0).normal(size=(len(words), 7))
    lines = [f"{word} {' '.join(f'{x:.4f}' for x in row)}" for word, row in zip(words, rows)]
    path.write_text("\n".join([f"{len(words)} 7", *lines]) + "\n")
    return path


def test_the_papers_preset_trains_the_papers_network(train, vectors):
    train("--preset", "paper", "--text.vectors", vectors, "--epochs", 2, "--batch-size", 4, tiny=())
    config = MEE.from_pretrained(train.model).config
    assert config.text.pooling == ("netvlad-32",)
    sizes = {expert.name: (expert.pooling, expert.embed_dim) for expert in config.experts}
    assert sizes["audio"] == (("netvlad-16",), 128)
    assert sizes["face"] == (("mean",), 128)
    assert sizes["appearance"][0] == ("max",)
    record = json.loads((train.model / "training.json").read_text())["training"]
    assert (record["loss"], record["margin_mean"], record["learning_rate"]) == ("max-margin", "all", 4e-4)


def test_a_flag_overrides_its_preset(train):
    train("--preset=paper", "--text.encoder", "recurrent", "--text.pooling", "mean", "--learning-rate", "0.01")
    record = json.loads((train.model / "training.json").read_text())["training"]
    assert (record["loss"], record["learning_rate"]) == ("max-margin", 0.01)
    assert MEE.from_pretrained(train.model).config.text.encoder == "recurrent"


@pytest.mark.parametrize(
    ("flags", "settings"),
    [
        ((), ((("mean", "max"), 8), (("mean", "max"), 8))),  # the preset's pooling, the tiny model's size
        (("--expert", "audio:netvlad-3+mean:5"), ((("mean", "max"), 8), (("netvlad-3", "mean"), 5))),
        (("--pooling", "max", "--expert", "audio:last"), ((("max",), 8), (("last",), 8))),
    ],
)
def test_experts_are_set_together_and_by_name(train, flags, settings):
    train("--streams", "appearance", "audio", "--epochs", 0, *flags)
    experts = MEE.from_pretrained(train.model).config.experts
    assert [expert.name for expert in experts] == ["appearance", "audio"]
    assert tuple((expert.pooling, expert.embed_dim) for expert in experts) == settings


def test_image_captions_join_training_and_are_not_tested_on(train, world, tmp_path):
    videos, captions = tmp_path / "videos.csv", tmp_path / "images.csv"
    videos.write_text("".join(line for line in world.captions.open() if not line.startswith("clip9")))
    captions.write_text("video_id,caption,split\nclip9.png,four coloured fields,train\n")
    err = train("--images", world.store, captions, "--image-rate", 1, captions=videos).err
    assert "1 captions of 1 images added" in err
    record = read_training(train.model)
    assert record["images"] == {"store": str(world.store), "captions": str(captions), "count": 1}
    assert record["videos"]["images"] == list(record["contents"]["images"]) == ["clip9.png"]
    assert record["videos"]["train"] == [f"clip{n}.mp4" for n in range(6)]
    table, store = read_captions(world.captions), FeatureStore(world.store)
    with pytest.raises(InputError, match=r"'clip9\.png'"):
        held_out_pairs(table, store, record, split="test", partial=False)


@pytest.mark.parametrize("name", ["clip7.mp4", "clip9.png"])
def test_an_image_that_is_validated_or_tested_on_is_refused(train, world, tmp_path, name):
    captions = tmp_path / "images.csv"
    captions.write_text(f"video_id,caption\n{name},four coloured fields\n")
    err = train("--images", world.store, captions, code=1).err
    assert f"1 of the images are validated or tested on, '{name}'; leave them out" in err
    assert not train.model.exists()


def test_scalars_are_written_for_tensorboard(train, tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    train("--tensorboard", tmp_path / "scalars")
    events = EventAccumulator(str(tmp_path / "scalars"))
    events.Reload()
    assert {"train/loss", "train/learning_rate", "validation/R@1"} <= set(events.Tags()["scalars"])


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        ("--preset paper", "--text.vectors"),
        ("--streams smell", "no stream 'smell'; it has appearance, motion, audio, face"),
        ("--expert smell:max", "no expert 'smell' to set; there are appearance, motion, audio, face"),
        ("--streams audio --aligned appearance=clip", "no expert 'appearance' to set"),
        ("--expert audio:median", "'audio': pooling must be one of mean, max"),
        ("--expert audio:max+max", "'audio': every pooling counts once"),
        ("--expert audio:netvlad-0", "'audio': pooling must be one of"),
        ("--embed-dim 0", "'appearance': sizes must be positive"),
        ("--aligned appearance=/nowhere/clip", "/nowhere/clip"),
        ("--text.encoder /nowhere/bert", "/nowhere/bert"),
        ("--text.encoder word-vectors --text.vectors /nowhere/words.txt", "/nowhere/words.txt"),
    ],
)
def test_settings_that_cannot_be_used_are_named(train, world, fails, extra, message):
    assert message in fails(
        main, world.store, world.captions, train.model, *world.tiny, *extra.split(), alone=False
    )
    assert not train.model.exists()


def test_an_aligned_expert_starts_as_identity_in_its_streams_own_size():
    store = SimpleNamespace(name="store", dims={"appearance": 6}, fingerprints={"appearance": "a"})
    (made,) = expert_configs(PRESETS["default"], store, embed_dim=32, towers={"appearance": "some/clip"})
    assert (made.text, made.start, made.embed_dim) == ("some/clip", "identity", 6)
    assert (made.pooling, made.standardise) == (("mean",), False)


FLAGS = ["--expert audio", "--expert audio:max:big", "--expert audio:max audio:mean"]
FLAGS += ["--aligned appearance", "--aligned appearance=", "--aligned =clip"]


@pytest.mark.parametrize("flags", FLAGS)
def test_flags_of_experts_that_cannot_be_parsed_are_wrong_usage(misused, flags):
    flag, *words = flags.split()
    assert f"Error parsing {flag}: '{words[0].partition(':max')[0]}" in misused(main, "s", "c", "m", flag, *words)


@pytest.mark.slow
def test_two_processes_train_one_model_and_print_everything_once(world, mee, tmp_path):
    run = "from torch.distributed.run import main; main()"
    flags = ("--standalone", "--nproc-per-node=2", "-m", "scripts.train")
    model = tmp_path / "model"
    done = mee(*flags, world.store, world.captions, model, *world.tiny, "--device", "cpu", code=run, timeout=180)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("training on 12 captions") == 1
    assert done.stderr.count("best epoch") == 1
    assert MEE.from_pretrained(model).modalities == ("appearance", "motion", "audio", "face")
    assert not (tmp_path / "model.training").exists()
