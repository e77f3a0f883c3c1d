"""`mee train`: a stopped run is resumed, and nothing is replaced without --overwrite."""

import json
import re
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from safetensors.numpy import load_file

from features.store.feature_store import FeatureStore
from mee.checkpoint import read_training
from mee.data.tables import read_captions
from mee.errors import InputError
from mee.evaluation.held_out import held_out_pairs
from mee.model import MEE
from mee.training import run_folder, trainer
from scripts.evaluate import main as evaluate
from scripts.train import TrainArgs, expert_configs, main


def test_a_model_and_the_record_of_its_training(world):
    record = read_training(world.model)
    assert record["videos"]["train"] == [f"clip{n}.mp4" for n in range(6)]
    assert record["videos"]["val"] == ["clip6.mp4", "clip7.mp4"]
    assert record["training"]["epochs"] == 2
    assert [entry["epoch"] for entry in record["history"]] == [1, 2]
    assert MEE.from_pretrained(world.model).modalities == ("appearance", "motion", "audio", "face")
    assert not world.model.with_name("model.training").exists()


def test_progress_goes_to_stderr_only(train):
    out, err = train("--streams", "audio", "appearance")
    assert out == ""
    assert "training on 12 captions of 6 videos, selecting on 4 captions of 2" in err
    assert "model in" in err
    assert MEE.from_pretrained(train.model).modalities == ("audio", "appearance")


def test_captions_that_are_cut_are_counted_where_they_are_learnt_and_measured(train, world, prints):
    said = train("--text.max-tokens", "3").err
    assert "note: 16 of 16 captions are longer than 3 tokens and are cut (--text.max-tokens)\n" in said
    said = prints(evaluate, world.store, world.captions, train.model).err
    assert "note: 4 of 4 captions are longer than 3 tokens and are cut\n" in said
    assert "are cut" not in train("--overwrite").err


@pytest.fixture
def stopped(train, monkeypatch):
    """Stop a run after its first epoch; returns the list of epochs that later runs do."""
    whole, done = trainer.save_state, []

    def save(path, state, signature):
        whole(path, state, signature)
        done.append(state.progress.epoch)
        if done == [1]:
            raise KeyboardInterrupt

    monkeypatch.setattr(trainer, "save_state", save)
    train(code=130)
    return done


def test_a_stopped_run_is_resumed_and_gives_the_same_model(train, stopped, world):
    assert not train.model.exists()
    assert (train.work / "state.safetensors").is_file()
    train()
    assert stopped == [1, 2]
    assert not train.work.exists()
    ours, theirs = (load_file(model / "model.safetensors") for model in (train.model, world.model))
    assert ours.keys() == theirs.keys()
    assert all((ours[name] == theirs[name]).all() for name in ours)


def test_an_unfinished_run_with_other_settings_is_refused(train, stopped):
    assert re.search("unfinished run with other settings.*--overwrite", train("--seed", "5", code=1).err)
    train("--seed", "5", "--overwrite")
    assert stopped == [1, 1, 2]


def test_a_model_is_replaced_only_by_overwrite(train):
    train("--epochs", "1")
    before = (train.model / "model.safetensors").read_bytes()
    assert "replace it with --overwrite" in train(code=1).err
    assert (train.model / "model.safetensors").read_bytes() == before
    train("--seed", "3", "--overwrite")
    assert (train.model / "model.safetensors").read_bytes() != before
    assert not train.work.exists()


@pytest.mark.parametrize("overwrite", [[], ["--overwrite"]])
def test_a_second_training_is_refused_before_any_work_and_touches_nothing(train, stopped, world, fails, overwrite):
    state = (train.work / "state.safetensors").read_bytes()
    with run_folder(train.model, overwrite=False):
        told = fails(main, "/nowhere/store", world.captions, train.model, *overwrite)
    assert re.search(r"another training uses '.*model.training' \(process \d+ on .* since .* UTC\); wait", told)
    assert [path.name for path in train.work.iterdir()] == ["state.safetensors"]
    assert (train.work / "state.safetensors").read_bytes() == state


def test_a_damaged_state_costs_one_sentence_and_overwrite_starts_anew(train, stopped):
    (train.work / "state.safetensors").write_bytes(b"")
    assert re.search(r"state.safetensors' is damaged .*; start again with --overwrite", train(code=1).err)
    assert "discards the unfinished run" in train("--overwrite").err
    assert stopped == [1, 1, 2]
    assert not train.work.exists()


def test_a_model_may_be_a_link_and_is_replaced_where_it_leads(train, tmp_path):
    (tmp_path / "disk").mkdir()
    train.model.symlink_to(tmp_path / "disk" / "own")
    train("--epochs", "1")
    train("--epochs", "1", "--overwrite")
    assert train.model.is_symlink()
    assert [path.name for path in (tmp_path / "disk").iterdir()] == ["own"]
    assert MEE.from_pretrained(train.model).modalities


@pytest.mark.parametrize("overwrite", [[], ["--overwrite"]])
def test_another_file_or_directory_is_never_replaced(world, fails, tmp_path, monkeypatch, overwrite):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "film.mp4").write_text("dear to me")
    (tmp_path / "file").write_text("dear to me")
    (tmp_path / "other").mkdir()
    for name in ("config.json", "model.safetensors"):  # of another library
        (tmp_path / "other" / name).touch()
    for place in (tmp_path / "other", tmp_path / "mine", tmp_path / "file", ".", "/"):
        assert "is not a model" in fails(main, world.store, world.captions, place, *overwrite)
    assert (tmp_path / "mine" / "film.mp4").read_text() == (tmp_path / "file").read_text() == "dear to me"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "mine", "other"]


def test_partial_leaves_unknown_videos_out(train, world, tmp_path):
    captions = tmp_path / "more.csv"
    captions.write_text(world.captions.read_text() + "elsewhere,a caption,train\n")
    assert re.search(r"elsewhere \(not in the store\).*--partial", train(captions=captions, code=1).err)
    assert "left out 1 captioned videos" in train("--partial", captions=captions).err
    assert read_training(train.model)["left_out"] == ["elsewhere"]


def test_captions_without_a_split_hold_videos_out(train, tmp_path):
    captions = tmp_path / "captions.jsonl"
    rows = [{"video": f"clip{number}", "caption": f"number {number}"} for number in range(10)]
    captions.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert "3 videos held out by seed 0" in train("--validation", "0.3", captions=captions).err


def test_the_papers_preset_trains_the_papers_network(train, tmp_path):
    words = ["number", "moves", "up", "on", "the", "dog"]  # in word2vec's text format
    rows = np.random.default_rng(0).normal(size=(len(words), 7))
    lines = [f"{word} {' '.join(f'{x:.4f}' for x in row)}" for word, row in zip(words, rows)]
    (tmp_path / "words.txt").write_text("\n".join([f"{len(words)} 7", *lines]) + "\n")
    flags = ("--preset", "paper", "--text.vectors", tmp_path / "words.txt", "--epochs", 2, "--batch-size", 4)
    train(*flags, tiny=())
    config = MEE.from_pretrained(train.model).config
    assert config.text.pooling == ("netvlad-32",)
    assert config.missing == "renormalise"
    sizes = {expert.name: (expert.pooling, expert.embed_dim) for expert in config.experts}
    assert (sizes["audio"], sizes["face"]) == ((("netvlad-16",), 128), (("mean",), 128))
    assert sizes["appearance"][0] == ("max",)
    record = read_training(train.model)["training"]
    assert (record["loss"], record["margin_mean"], record["learning_rate"]) == ("max-margin", "all", 4e-4)


def test_a_flag_overrides_its_preset_and_scalars_are_written_for_tensorboard(train, tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    flags = ("--text.encoder", "recurrent", "--text.pooling", "mean", "--learning-rate", "0.01")
    train("--preset=paper", "--missing", "evidence", *flags, "--tensorboard", tmp_path / "scalars")
    record = read_training(train.model)["training"]
    assert (record["loss"], record["learning_rate"]) == ("max-margin", 0.01)
    config = MEE.from_pretrained(train.model).config
    assert (config.text.encoder, config.missing) == ("recurrent", "evidence")
    events = EventAccumulator(str(tmp_path / "scalars"))
    events.Reload()
    assert {"train/loss", "train/learning_rate", "validation/R@1"} <= set(events.Tags()["scalars"])


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
def test_settings_that_cannot_be_used_are_named(train, extra, message):
    assert "error: " in (err := train(*extra.split(), code=1).err)
    assert message in err
    assert not train.model.exists()


def test_an_aligned_expert_starts_as_identity_in_its_streams_own_size():
    store = SimpleNamespace(name="store", dims={"appearance": 6}, fingerprints={"appearance": "a"})
    places = dict.fromkeys(("store", "captions", "model"))
    (plain,) = expert_configs(TrainArgs(**places), store)
    assert (plain.pooling, plain.embed_dim) == (("mean", "max"), 512)
    (made,) = expert_configs(TrainArgs(**places, embed_dim=32, aligned={"appearance": "some/clip"}), store)
    assert (made.text, made.start, made.embed_dim) == ("some/clip", "identity", 6)
    assert (made.pooling, made.standardise) == (("mean",), False)


def test_words_are_left_to_models_that_read_them(says):
    store = SimpleNamespace(
        name="store", dims={"speech": 0, "sight": 4}, fingerprints={"speech": "a", "sight": "b"}
    )
    places = {name: Path(name) for name in ("store", "captions", "model")}
    assert [expert.name for expert in expert_configs(TrainArgs(**places), store)] == ["sight"]
    with pytest.raises(InputError) as caught:
        expert_configs(TrainArgs(**places, streams=("speech",)), store)
    says(caught.value)


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
