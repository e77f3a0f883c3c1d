"""Scalars: what TensorBoard reads back; steps that are gone through again count once."""

import builtins

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from mee.errors import InputError
from mee.training.trainer import Scalars


def read(directory, tag):
    return [(event.step, event.value) for event in EventAccumulator(str(directory)).Reload().Scalars(tag)]


def write(directory, begun, steps, value, close=True):
    scalars = Scalars(directory)
    scalars.begin(begun)
    for step in steps:
        scalars.add("train", {"loss": value}, step)
    scalars.close() if close else scalars.flush()
    return scalars


def test_figures_are_read_back(tmp_path):
    write(tmp_path / "there", 0, [1, 2, 3], 0.5)
    assert read(tmp_path / "there", "train/loss") == [(1, 0.5), (2, 0.5), (3, 0.5)]


@pytest.mark.parametrize("begun", [2, 0])
def test_a_run_that_goes_on_or_starts_again_writes_over_what_was_beyond(tmp_path, begun):
    write(tmp_path, 0, [1, 2, 3, 4], 1.0)
    write(tmp_path, begun, range(begun + 1, 4), 2.0)
    assert read(tmp_path, "train/loss") == [(step, 1.0 if step <= begun else 2.0) for step in range(1, 4)]


def test_flushed_figures_are_there_though_the_run_was_killed(tmp_path):
    write(tmp_path, 0, [1, 2], 1.0, close=False)
    assert len(read(tmp_path, "train/loss")) == 2


def test_without_a_directory_or_a_beginning_nothing_is_written(tmp_path):
    write(None, 0, [1], 1.0)
    scalars = Scalars(tmp_path / "none")
    scalars.add("train", {"loss": 1.0}, 1)
    scalars.flush()
    scalars.close()
    assert not (tmp_path / "none").exists()


def test_without_tensorboard_there_is_a_sentence(tmp_path, monkeypatch):
    real = builtins.__import__

    def absent(name, *rest, **more):
        if name.startswith(("tensorboard", "torch.utils.tensorboard")):
            raise ModuleNotFoundError(name)
        return real(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", absent)
    with pytest.raises(InputError, match=r"--tensorboard needs TensorBoard: pip install"):
        Scalars(tmp_path)
    Scalars(None)
