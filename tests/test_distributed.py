"""Several processes of distributed_worker.py compute what one computes; a stopped run goes on exactly."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

pytestmark = pytest.mark.slow
SEVERAL = (2, 3)
NO_GRADIENT = "gate.bias"  # the batch norm after it takes it away again: its gradient is nothing but rounding


def launch(count, *arguments):
    together = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(count)] if count > 1 else []
    done = subprocess.run(
        [sys.executable, *together, str(Path(__file__).with_name("distributed_worker.py")), *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1]), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def left(tmp_path_factory):
    """Directory of what one, two and three processes have left, by their number."""
    places = {count: tmp_path_factory.mktemp(f"of_{count}") for count in (1, *SEVERAL)}
    for count in SEVERAL:
        launch(count, places[count])
    launch(1, places[1], places[2] / "plain.state")
    return places


def of_each(directory, name):
    """The same file of every process."""
    paths = sorted(directory.glob(f"{name}.[0-9].*"))
    return [json.loads(path.read_text()) if name == "report" else load_file(path) for path in paths]


@pytest.mark.parametrize("count", SEVERAL)
def test_a_joint_batch_gives_loss_gradients_and_statistics_of_one_process(left, count):
    (alone,), together = of_each(left[1], "steps"), of_each(left[count], "steps")
    assert len(together) == count
    clips = {name for name in alone if name.endswith("/clips")}
    for found in together:
        assert set(found) == set(alone)
        for name in found.keys() - clips:
            scale = 1.0 if NO_GRADIENT in name else max(alone[name].abs().max().item(), 1e-9)
            assert (found[name] - alone[name]).abs().max().item() <= 1e-10 * scale, name
    for name in clips:
        assert sum(found[name] for found in together).equal(alone[name])
    assert any((found[name] == 0).any() for found in together for name in clips)  # a process without a modality
    moved = [name for name in alone if "gradient" in name and NO_GRADIENT not in name]
    assert sum(alone[name].abs().max() > 1e-6 for name in moved) > 0.8 * len(moved)


@pytest.mark.parametrize("count", SEVERAL)
def test_a_whole_run_ends_as_that_of_one_process(left, count):
    alone, together = (json.loads((left[n] / "report.0.json").read_text())["plain"] for n in (1, count))
    assert (alone["epoch"], alone["step"]) == (together["epoch"], together["step"])
    for one, other in zip(alone["history"], together["history"], strict=True):
        assert other["loss"] == pytest.approx(one["loss"], rel=1e-4)
    state, joint = (load_file(left[n] / "plain.state") for n in (1, count))
    for name in (name for name in state if name.startswith("model.")):
        # the running mean follows the gate's bias, and the two differ alike: their sum counts
        if NO_GRADIENT in name:
            mean = name.replace("gate.bias", "norm.running_mean")
            one, other = state[mean] - state[name], joint[mean] - joint[name]
            assert (one - other).abs().max() < 0.05
        elif "running_mean" not in name or "pool" in name:
            torch.testing.assert_close(joint[name], state[name], rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("count", SEVERAL)
def test_all_processes_hold_the_same_weights_and_progress_dropout_differs_and_one_writes(left, count):
    first, *others = of_each(left[count], "unbroken")
    assert len(others) == count - 1
    assert all(tensor.equal(first[name]) for other in others for name, tensor in other.items())
    reports = of_each(left[count], "report")
    assert all(report["processes"] == count for report in reports)
    for run in ("plain", "unbroken", "resumed"):
        assert all(report[run] == reports[0][run] for report in reports)
    generators = load_file(left[count] / "unbroken.state")["random.torch"]
    assert len(generators) == len(generators.unique(dim=0)) == count
    assert [report["leads"] for report in reports] == [True] + [False] * (count - 1)
    assert [len(report["written"]) for report in reports] == [9] + [0] * (count - 1)
    assert len(list((left[count] / "scalars").iterdir())) == 1
    steps = EventAccumulator(str(left[count] / "scalars")).Reload().Scalars("train/loss")
    assert [event.step for event in steps] == [*range(1, reports[0]["plain"]["step"] + 1)]


@pytest.mark.parametrize("count", [1, *SEVERAL])
def test_a_stopped_run_goes_on_to_the_same_bits(left, count):
    for unbroken, resumed in zip(of_each(left[count], "unbroken"), of_each(left[count], "resumed"), strict=True):
        assert all(tensor.equal(resumed[name]) for name, tensor in unbroken.items())
    states = [load_file(left[count] / f"{name}.state") for name in ("unbroken", "stopped")]
    assert set(states[0]) == set(states[1])
    assert all(tensor.equal(states[1][name]) for name, tensor in states[0].items())
    assert all(report["resumed"] == report["unbroken"] for report in of_each(left[count], "report"))


def test_another_number_of_processes_is_refused(left):
    refused = json.loads((left[1] / "report.0.json").read_text())["refused"]
    assert "an unfinished run of 2 processes, which 1 cannot go on with" in refused
