"""Settings refuse nonsense."""

import dataclasses
import math

import pytest

from mee.config import ExpertConfig, ModelConfig, TextConfig, TrainConfig

EXPERT = ExpertConfig(name="audio", input_dim=3)


@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        (ExpertConfig, {"name": "audio", "input_dim": 0}),
        (ExpertConfig, {"name": "audio", "input_dim": 3, "embed_dim": -1}),
        (ExpertConfig, {"name": "audio", "input_dim": 3, "pooling": ()}),
        (TextConfig, {"width": 100, "heads": 8}),
        (TextConfig, {"layers": 0}),
        (TextConfig, {"max_tokens": 0}),
        (TextConfig, {"dropout": 1.0}),
        (TextConfig, {"dropout": math.nan}),
        (ModelConfig, {"experts": ()}),
        (ModelConfig, {"experts": (EXPERT, EXPERT)}),
        (ModelConfig, {"experts": (EXPERT,), "dropout": -0.1}),
        (TrainConfig, {"epochs": 0}),
        (TrainConfig, {"patience": 0}),
        (TrainConfig, {"batch_size": 1}),
        (TrainConfig, {"learning_rate": 0.0}),
        (TrainConfig, {"learning_rate": math.nan}),
        (TrainConfig, {"temperature": 0.0}),
        (TrainConfig, {"margin": -0.1}),
        (TrainConfig, {"weight_decay": -1.0}),
        (TrainConfig, {"stream_dropout": 1.0}),
        (TrainConfig, {"warmup": 1.5}),
        (TrainConfig, {"validation": -0.1}),
    ],
)
def test_nonsense_is_refused(kind, fields):
    with pytest.raises(ValueError, match=r".+"):
        kind(**fields)


def test_settings_are_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        TrainConfig().epochs = 3


def test_pooled_size_counts_every_pooling():
    assert EXPERT.pooled_dim == 6
    assert dataclasses.replace(EXPERT, pooling=("max",)).pooled_dim == 3
