"""Settings of training refuse nonsense."""

import math

import pytest

from mee.training.config import TrainConfig


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"epochs": -1}, "epochs cannot be negative"),
        ({"patience": 0}, "patience must be positive"),
        ({"batch_size": 1}, "batch-size must be at least 2"),
        ({"accumulate": 0}, "accumulate must be at least 1, got 0"),
        ({"captions_per_video": -1}, "captions-per-video cannot be negative, got -1"),
        ({"image_rate": -0.5}, "image-rate cannot be negative, got -0.5"),
        ({"learning_rate": -1e-3}, "learning-rate cannot be negative"),
        ({"learning_rate": math.nan}, "learning-rate cannot be negative"),
        ({"temperature": 0.0}, "temperature must be positive"),
        ({"text_learning_rate": 0.0}, "text-learning-rate must be positive"),
        ({"margin": -0.1}, "weight-decay and margin cannot be negative"),
        ({"weight_decay": -1.0}, "weight-decay and margin cannot be negative"),
        ({"clip_gradient": -1.0}, "clip-gradient cannot be negative"),
        ({"shrinkage": 0.0}, "shrinkage must be positive"),
        ({"decay": 0.0}, r"decay must be in \(0, 1\]"),
        ({"decay": 1.1}, r"decay must be in \(0, 1\]"),
        ({"stream_dropout": 1.0}, r"stream-dropout must be in \[0, 1\), got 1.0"),
        ({"warmup": 1.5}, "warmup must be in"),
        ({"validation": -0.1}, "validation must be in"),
        ({"validation": math.nan}, "validation must be in"),
    ],
)
def test_settings_that_make_no_sense_are_refused(fields, reason):
    with pytest.raises(ValueError, match=reason):
        TrainConfig(**fields)


def test_what_is_left_open_is_settled_by_the_start_and_what_is_said_stays():
    assert TrainConfig().resolved(closed_form=False) == TrainConfig(epochs=60, learning_rate=1e-3)
    assert TrainConfig().resolved(closed_form=True) == TrainConfig(epochs=5, learning_rate=3e-5)
    said = TrainConfig(epochs=7, learning_rate=0.5)
    assert said.resolved(closed_form=True) == said.resolved(closed_form=False) == said
