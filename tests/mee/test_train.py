"""Training: it learns, a seed decides everything, and a stopped run goes on as if it had not been."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file, save_file

from mee.config import TrainConfig
from mee.errors import InputError
from mee.evaluate import evaluate
from mee.gallery import encode_gallery
from mee.pairs import match_captions
from mee.record import finish, training_record
from mee.splits import Split
from mee.train import ENOUGH, Trainer, schedule

CONFIG = TrainConfig(epochs=4, batch_size=8, stream_dropout=0.2, learning_rate=1e-3)
COLOURS, SOUNDS = ("red", "green", "blue", "white"), ("drums", "rain", "barking", "singing")


class Stopped(Exception):
    """Raised by a test in the middle of a run."""


@pytest.fixture
def world(make_source):
    """Colours are seen, sounds are heard, and captions tell of both, or of one."""
    videos = [f"v{number:02d}.mp4" for number in range(48)]
    source = make_source(videos, missing=0.0)
    rng, captions = np.random.default_rng(0), []
    for number, video in enumerate(videos):
        colour, sound = number % 4, number // 4 % 4
        source.streams["appearance"][video] = (rng.normal(size=(2, 5)) * 0.1 + 2 * np.eye(4, 5)[colour]).astype(
            "f2"
        )
        source.streams["audio"][video] = (rng.normal(size=(3, 3)) * 0.1 + 2 * np.eye(4, 3)[sound]).astype("f2")
        if number % 6 == 5:
            del source.streams["audio"][video]
        captions.append(f"something {COLOURS[colour]} with {SOUNDS[sound]}")
    pairs, _ = match_captions(pd.DataFrame({"video_id": videos, "caption": captions}), source, partial=False)
    return source, pairs.of_videos(set(videos[:32])), pairs.of_videos(set(videos[32:]))


@pytest.fixture
def make_trainer(world, model_config):
    def make(config=CONFIG, **changes):
        return Trainer(*world, replace(model_config, **changes), config, torch.device("cpu"))

    return make


def run(trainer, state, stop_after=None):
    def on_epoch(progress):
        if progress.epoch == stop_after:
            raise Stopped

    return trainer.run(state, on_epoch)


def same(one, other):
    one, other = one.state_dict(), other.state_dict()
    return set(one) == set(other) and all(tensor.equal(other[name]) for name, tensor in one.items())


@pytest.mark.parametrize("loss", ["infonce", "max-margin"])
def test_a_toy_problem_is_learnt(make_trainer, world, tmp_path, loss):
    trainer = make_trainer(TrainConfig(loss=loss, epochs=40, batch_size=16, learning_rate=5e-3))
    before = evaluate(trainer.model.eval(), encode_gallery(trainer.model, world[0], world[2].gallery), world[2])
    model = run(trainer, tmp_path / "state")
    assert not model.training
    after = evaluate(model, encode_gallery(model, world[0], world[2].gallery), world[2])
    assert before.t2v["R@1"] < 30
    assert after.t2v["R@5"] > 70
    assert after.t2v["MedR"] <= 2
    losses = [epoch["loss"] for epoch in trainer.progress.history]
    assert losses[-1] < losses[0] / 2


def test_the_same_seed_gives_the_same_numbers_and_another_seed_others(make_trainer, tmp_path):
    first, again, other = (
        run(make_trainer(replace(CONFIG, seed=seed)), tmp_path / name)
        for seed, name in ((1, "a"), (1, "b"), (2, "c"))
    )
    assert same(first, again)
    assert not first.mixture.weight.equal(other.mixture.weight)


@pytest.mark.parametrize("stop_after", [1, 3])
def test_a_stopped_run_goes_on_to_the_same_bits_as_an_unbroken_one(make_trainer, tmp_path, stop_after):
    unbroken = make_trainer()
    expected = run(unbroken, tmp_path / "unbroken")
    with pytest.raises(Stopped):
        run(make_trainer(), tmp_path / "state", stop_after)
    torch.manual_seed(99)  # what happens in between has no influence
    resumed = make_trainer()
    model = run(resumed, tmp_path / "state")
    assert same(model, expected)
    assert same(resumed.loss, unbroken.loss)
    assert resumed.progress == unbroken.progress
    states = [load_file(tmp_path / name) for name in ("state", "unbroken")]  # optimiser and generators too
    assert set(states[0]) == set(states[1])
    assert all(tensor.equal(states[1][name]) for name, tensor in states[0].items())


def test_a_finished_run_is_not_trained_again(make_trainer, tmp_path):
    expected = run(make_trainer(), tmp_path / "state")
    trainer = make_trainer()
    trainer._train_epoch = None  # would fail if called
    assert same(run(trainer, tmp_path / "state"), expected)


@pytest.mark.parametrize("change", ["training", "model", "captions"])
def test_a_run_with_other_settings_or_data_is_refused(make_trainer, world, tmp_path, change):
    with pytest.raises(Stopped):
        run(make_trainer(), tmp_path / "state", 1)
    if change == "captions":
        source, train, val = world
        trainer = Trainer(
            source, train.where([True] * 31), val, make_trainer().model.config, CONFIG, torch.device("cpu")
        )
    else:
        trainer = make_trainer(replace(CONFIG, seed=5)) if change == "training" else make_trainer(dropout=0.25)
    before = (tmp_path / "state").read_bytes()
    with pytest.raises(InputError, match=rf"unfinished run with other settings or data \({change}\)"):
        run(trainer, tmp_path / "state")
    assert (tmp_path / "state").read_bytes() == before


def test_a_damaged_or_foreign_state_is_refused(make_trainer, tmp_path):
    (tmp_path / "damaged").write_bytes(b"no state")
    with pytest.raises(InputError, match="damaged"):
        run(make_trainer(), tmp_path / "damaged")
    save_file({"x": torch.zeros(1)}, tmp_path / "foreign")
    with pytest.raises(InputError, match="not the state of a run"):
        run(make_trainer(), tmp_path / "foreign")


def test_the_best_epoch_is_the_one_kept_and_patience_ends_the_run(make_trainer, world, tmp_path, monkeypatch):
    scores = iter([10.0, 30.0, 20.0, 30.0, 5.0, 4.0, 3.0])
    kept = {}

    def scripted(model, gallery, pairs):
        report = evaluate(model, gallery, pairs)
        report.t2v["MRR"] = next(scores)
        kept[len(kept) + 1] = {name: tensor.clone() for name, tensor in model.state_dict().items()}
        return report

    monkeypatch.setattr("mee.train.evaluate", scripted)
    trainer = make_trainer(replace(CONFIG, epochs=20, patience=2))
    model = run(trainer, tmp_path / "state")
    assert trainer.progress.epoch == 6
    assert (trainer.progress.best_epoch, trainer.progress.best_score) == (4, 30.0)
    assert all(tensor.equal(kept[4][name]) for name, tensor in model.state_dict().items())


def test_one_video_is_too_few(world, model_config):
    source, train, val = world
    with pytest.raises(InputError, match="at least two videos"):
        Trainer(source, train.of_videos({"v01.mp4"}), val, model_config, CONFIG, torch.device("cpu"))


def test_learning_rate_rises_straight_and_falls_as_half_a_cosine():
    assert schedule(0.025, 0.05) == pytest.approx(0.5)
    assert schedule(0.05, 0.05) == pytest.approx(1)
    assert schedule(0.525, 0.05) == pytest.approx(0.5)
    assert schedule(1.0, 0.05) == pytest.approx(0)
    assert schedule(0.0, 0.0) == pytest.approx(1)


def test_weight_decay_spares_biases_norms_and_the_word_embedding(make_trainer):
    trainer = make_trainer()
    decayed, spared = ({id(p) for p in group["params"]} for group in trainer.optimizer.param_groups)
    names = {id(p): name for name, p in trainer.model.named_parameters()}
    assert not decayed & spared
    assert decayed | spared == {*names, id(trainer.loss.log_temperature)}
    assert all(names[p].endswith("weight") and "norm" not in names[p] for p in decayed)
    assert "text_encoder.embedding.weight" in {names.get(p) for p in spared}


def test_a_finished_model_is_put_in_place_whole(make_trainer, world, tmp_path):
    trainer = make_trainer(replace(CONFIG, epochs=1))
    work, directory = tmp_path / "model.training", tmp_path / "model"
    work.mkdir()
    directory.mkdir()
    (directory / "old").touch()
    model = run(trainer, work / "state")
    record = training_record(trainer, Split(world[1], world[2], (), ()), "store", "captions.csv")
    finish(model, record, directory, work)
    assert not work.exists()
    assert not (directory / "old").exists()
    assert same(type(model).from_pretrained(directory), model)
    written = json.loads((directory / "training.json").read_text())
    assert written["training"]["seed"] == 0
    assert len(written["history"]) == written["best_epoch"] == 1
    assert not set(written["videos"]["train"]) & set(written["videos"]["val"])


def test_too_few_validation_captions_choose_nothing(world, model_config, tmp_path):
    source, train, val = world
    few = val.where([number < ENOUGH - 1 for number in range(len(val))])
    trainer = Trainer(source, train, few, model_config, replace(CONFIG, patience=1), torch.device("cpu"))
    run(trainer, tmp_path / "state")
    assert not trainer.selects
    assert trainer.progress.epoch == trainer.progress.best_epoch == CONFIG.epochs
