"""A stopped run goes on to the same bits as an unbroken one, whatever its settings; another's state is refused."""

import json
import os
import resource
import time
from dataclasses import replace

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from mee.errors import InputError
from mee.training.trainer import Trainer
from tests.mee.conftest import CONFIG, refusal

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
def test_a_run_with_other_settings_or_data(make_trainer, run, stills, world, tmp_path, monkeypatch, change):
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
    "damage",
    ["text", "empty", "foreign", "cut", "progress", "shape", "random.order", "model.mixture.bias", "best."],
)
def test_a_damaged_or_foreign_state_is_refused(make_trainer, run, tmp_path, damage):
    state = tmp_path / "state"
    run(make_trainer(), state, 1)
    with safe_open(state, framework="pt") as file:
        metadata = file.metadata()
    tensors, content = load_file(state), state.read_bytes()
    match damage:
        case "text" | "empty" | "cut":
            state.write_bytes({"text": b"no state", "empty": b"", "cut": content[:-100]}[damage])
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


PROGRESS = {"epoch": 1, "step": 4, "best_epoch": 1, "best_score": 9.0, "history": [{"epoch": 1, "loss": 1.0}]}
COUNTS = ("epoch", "step", "best_epoch")
HOSTILE = {  # metadata, or tensors, of a state that anyone may have made
    "progress": [
        *({**PROGRESS, name: odd} for name in COUNTS for odd in (-1, 1.0, True, "1", 9**99)),
        *({**PROGRESS, "best_score": odd} for odd in ("9", None, 10**400, float("nan"), float("inf"))),
        *({**PROGRESS, "history": odd} for odd in ("abc", {}, [1], [{"loss": "x"}], [{"x": [1.0]}], [["a", 1]])),
        *({**PROGRESS, "other": 1}, {}, [], 7, json.dumps(PROGRESS).replace("9.0", "1e999"), "[" * 100_000, ""),
    ],
    "signature": [[], 7, "null", {"processes": "\x1b[2J" * 99}, "{" * 9, '{"a": NaN}'],
    "optimizer.0.step": [torch.zeros(3), torch.zeros((), dtype=torch.int64), torch.tensor(float("nan")), None],
    "optimizer.0.exp_avg": [torch.zeros(()), torch.zeros(1, 1, 1), None],
    "optimizer.-1.step": [torch.zeros(())],
    "optimizer.9999.step": [torch.zeros(())],
    "optimizer.x": [torch.zeros(())],
    "best.mixture.bias": [torch.zeros(9), torch.full((3,), float("inf")), torch.zeros(3, dtype=torch.float64)],
    "model.mixture.bias": [torch.full((3,), float("nan")), torch.zeros(3, dtype=torch.bool)],
    "random.torch": [torch.zeros(0, dtype=torch.uint8), torch.zeros((), dtype=torch.uint8)],
    "random.order": [torch.zeros(5056), torch.zeros(7, dtype=torch.uint8)],
    "loss.log_temperature": [torch.zeros(2)],
    "surplus": [torch.zeros(1)],
}


def test_a_hostile_state_is_refused_with_one_sentence(make_trainer, run, tmp_path):
    state = tmp_path / "state"
    run(make_trainer(), state, 1)
    with safe_open(state, framework="pt") as file:
        metadata = file.metadata()
    tensors, trainer = load_file(state), make_trainer()
    assert {"loss.log_temperature", "optimizer.0.exp_avg", "random.torch"} <= set(tensors)
    assert tensors["random.order"].shape == (5056,)
    refused = 0
    for name, values in HOSTILE.items():
        for value in values:
            if name in metadata:
                text = value if isinstance(value, str) else json.dumps(value)
                save_file(tensors, state, metadata={**metadata, name: text})
            else:
                others = {key: tensor for key, tensor in tensors.items() if key != name}
                save_file(others | ({} if value is None else {name: value}), state, metadata=metadata)
            text = refusal(run, trainer, state)
            assert text.endswith("start again with --overwrite"), (name, value, text)
            assert text.isprintable(), (name, value)
            assert len(text) < 500, (name, value)
            refused += 1
    assert refused == 60


OTHERS = {"pipe": os.mkfifo, "folder": os.mkdir, "link": lambda state: state.symlink_to("/dev/null")}
OTHERS["large"] = lambda state: (state.touch(), os.truncate(state, 1 << 40))


@pytest.mark.parametrize("kind", OTHERS)
def test_a_state_is_a_regular_file_of_the_size_of_its_run(make_trainer, run, tmp_path, says, kind):
    OTHERS[kind](tmp_path / "state")
    says(refusal(run, make_trainer(), tmp_path / "state"))


def test_a_full_disk_ends_a_run_with_one_sentence_and_the_state_before_remains(make_trainer, run, tmp_path):
    state = tmp_path / "state"
    run(make_trainer(), state, 1)
    before = state.read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        with pytest.raises(InputError, match=r"states of a run cannot be written to '.*state': .*File too large"):
            run(make_trainer(), state)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert state.read_bytes() == before
    assert list(tmp_path.iterdir()) == [state]


def test_frozen_parameters_are_not_in_the_state(make_trainer, run, tmp_path):
    trainer = make_trainer()
    trainer.model.text_encoder.layers[0].requires_grad_(False)
    run(trainer, tmp_path / "state", 1)
    names = set(load_file(tmp_path / "state"))
    assert "model.text_encoder.layers.1.mlp.0.weight" in names
    assert not [name for name in names if "text_encoder.layers.0." in name]
