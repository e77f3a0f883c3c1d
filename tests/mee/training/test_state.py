"""A stopped run goes on to the same bits as an unbroken one, whatever its settings; another's state is refused."""

import json
import time
from dataclasses import replace

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from mee.errors import InputError
from mee.training.trainer import Trainer
from tests.mee.conftest import CONFIG

CASES = {
    "plain": {},
    "accumulate": {"accumulate": 3},
    "captions per video": {"captions_per_video": 1},
    "exponential": {"schedule": "exponential", "decay": 0.7},
    "bf16": {"mixed_precision": "bf16"},
    "max-margin": {"loss": "max-margin", "margin_mean": "all"},
    "no clipping": {"clip_gradient": 0.0, "weight_decay": 0.0},
    "images": {"image_rate": 0.2, "accumulate": 2, "captions_per_video": 1},
}


@pytest.mark.parametrize("stop_after", [1, 3])
@pytest.mark.parametrize("case", CASES)
def test_a_stopped_run_goes_on_to_the_same_bits(make_trainer, run, same, stills, tmp_path, case, stop_after):
    config, images = replace(CONFIG, **CASES[case]), stills if case == "images" else None
    unbroken = make_trainer(config, images)
    expected = run(unbroken, tmp_path / "unbroken")
    assert run(make_trainer(config, images), tmp_path / "state", stop_after) is None
    torch.manual_seed(99)  # what happens in between has no influence
    resumed = make_trainer(config, images)
    assert same(run(resumed, tmp_path / "state"), expected)
    assert same(resumed.loss, unbroken.loss)
    assert resumed.progress == unbroken.progress
    states = [load_file(tmp_path / name) for name in ("state", "unbroken")]  # optimiser and generators too
    assert set(states[0]) == set(states[1])
    assert all(tensor.equal(states[1][name]) for name, tensor in states[0].items())


def test_a_run_that_is_stopped_after_every_epoch_goes_on_all_the_same(make_trainer, run, same, tmp_path):
    expected = run(make_trainer(), tmp_path / "unbroken")
    for epoch in range(1, CONFIG.epochs):
        assert run(make_trainer(), tmp_path / "state", epoch) is None
        with safe_open(tmp_path / "state", framework="pt") as file:
            metadata = file.metadata()
        assert json.loads(metadata["progress"])["epoch"] == epoch
        assert json.loads(metadata["signature"])["processes"] == 1
    assert same(run(make_trainer(), tmp_path / "state"), expected)
    assert {path.name for path in tmp_path.iterdir()} == {"state", "unbroken"}  # nothing else remains


def test_a_run_stopped_within_an_epoch_counts_its_steps_once(make_trainer, run, tmp_path):
    run(make_trainer(scalars=tmp_path / "expected"), tmp_path / "unbroken")
    trainer, batches = make_trainer(scalars=tmp_path / "scalars"), 0
    whole = trainer._batch

    def stopping(*arguments):
        nonlocal batches
        batches += 1
        if batches == 7:
            raise KeyboardInterrupt
        return whole(*arguments)

    trainer._batch = stopping
    with pytest.raises(KeyboardInterrupt):
        run(trainer, tmp_path / "state")
    time.sleep(1.1)  # TensorBoard reads files in the order of the second they were opened in
    run(make_trainer(scalars=tmp_path / "scalars"), tmp_path / "state")
    one, other = (EventAccumulator(str(tmp_path / name)).Reload() for name in ("expected", "scalars"))
    assert one.Tags()["scalars"] == other.Tags()["scalars"]
    for tag in one.Tags()["scalars"]:
        both = ([(event.step, event.value) for event in events.Scalars(tag)] for events in (one, other))
        assert next(both) == next(both)


@pytest.mark.parametrize("change", ["training", "model", "captions", "images", "processes"])
def test_a_run_with_other_settings_or_data_is_refused(
    make_trainer, run, stills, world, tmp_path, monkeypatch, change
):
    run(make_trainer(), tmp_path / "state", 1)
    before = (tmp_path / "state").read_bytes()
    named = "captions" if change == "images" else change
    says = rf"unfinished run with other settings or data \({named}\)"
    match change:
        case "training":
            trainer = make_trainer(replace(CONFIG, seed=5))
        case "model":
            trainer = make_trainer(dropout=0.25)
        case "captions":
            source, train, val = world
            settings = make_trainer().model.config
            trainer = Trainer(source, train.where([True] * 31), val, settings, CONFIG, torch.device("cpu"))
        case "images":
            trainer = make_trainer(images=stills)
        case "processes":
            trainer, says = make_trainer(), "unfinished run of 1 processes, which 4 cannot go on with"
            monkeypatch.setattr("mee.training.trainer.processes", lambda: 4)
    with pytest.raises(InputError, match=says):
        run(trainer, tmp_path / "state")
    assert (tmp_path / "state").read_bytes() == before


@pytest.mark.parametrize(
    "damage", ["text", "foreign", "cut", "progress", "shape", "random.order", "model.mixture.bias", "best."]
)
def test_a_damaged_or_foreign_state_is_refused(make_trainer, run, tmp_path, damage):
    state = tmp_path / "state"
    run(make_trainer(), state, 1)
    with safe_open(state, framework="pt") as file:
        metadata = file.metadata()
    tensors, content = load_file(state), state.read_bytes()
    match damage:
        case "text" | "cut":
            state.write_bytes(b"no state" if damage == "text" else content[:-100])
        case "foreign":
            save_file({"x": torch.zeros(1)}, state)
        case "progress":
            save_file(tensors, state, metadata={**metadata, "progress": "{half"})
        case "shape":
            save_file({**tensors, "model.mixture.bias": torch.zeros(9)}, state, metadata=metadata)
        case _:
            kept = {name: tensor for name, tensor in tensors.items() if not name.startswith(damage)}
            assert len(kept) < len(tensors)
            save_file(kept, state, metadata=metadata)
    with pytest.raises(InputError, match=r"state' is (damaged \(.*\)|not the state of a run); start again"):
        run(make_trainer(), state)


def test_frozen_parameters_are_not_in_the_state(make_trainer, run, tmp_path):
    trainer = make_trainer()
    trainer.model.text_encoder.layers[0].requires_grad_(False)
    run(trainer, tmp_path / "state", 1)
    names = set(load_file(tmp_path / "state"))
    assert "model.text_encoder.layers.1.mlp.0.weight" in names
    assert not [name for name in names if "text_encoder.layers.0." in name]
