"""Settings of the model refuse nonsense."""

import dataclasses
import math

import pytest

from mee.config import SCHEMES, ExpertConfig, ModelConfig, tower_settings
from mee.text.config import TextConfig
from mee.training.config import TrainConfig

EXPERT = ExpertConfig(name="audio", input_dim=3)
ALIGNED = {"name": "audio", "input_dim": 8, "embed_dim": 8, "pooling": ("mean",), "start": "identity"}


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"name": ""}, "every expert needs a name"),
        ({"input_dim": 0}, "'audio': sizes must be positive"),
        ({"embed_dim": -1}, "'audio': sizes must be positive"),
        ({"pooling": ()}, "'audio': at least one pooling is needed"),
        ({"pooling": ("mean", "mean")}, "'audio': every pooling counts once"),
        ({"pooling": ("median",)}, "'audio': pooling must be one of .*'median'"),
        ({"pooling": ("netvlad-0",)}, "'audio': pooling must be one of .*'netvlad-0'"),
    ],
)
def test_an_expert_that_makes_no_sense_is_refused(fields, reason):
    with pytest.raises(ValueError, match=reason):
        ExpertConfig(**{"name": "audio", "input_dim": 3, **fields})


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"text": "some/clap", "standardise": True}, "'audio': standardise would undo the start as identity"),
        ({"standardise": False}, "'audio': a start as identity needs the text tower"),
        ({"text": "some/clap", "standardise": False, "embed_dim": 9}, "its 8 pooled columns .* its embed-dim 9"),
        ({"text": "some/clap", "standardise": False, "pooling": ("mean", "max")}, "its 16 pooled columns"),
    ],
)
def test_a_start_as_identity_needs_two_aligned_sides_of_one_size(fields, reason):
    ExpertConfig(**{**ALIGNED, "text": "some/clap", "standardise": False})
    with pytest.raises(ValueError, match=reason):
        ExpertConfig(**{**ALIGNED, **fields})


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"experts": ()}, "experts must be named, each once"),
        ({"experts": (EXPERT, EXPERT)}, r"each once, got \['audio', 'audio'\]"),
        ({"dropout": -0.1}, "dropout must be in"),
        ({"dropout": 1.0}, "dropout must be in"),
        ({"dropout": math.nan}, "dropout must be in"),
        *(({"experts": (ExpertConfig(name=name, input_dim=3),)}, "no expert may be called") for name in SCHEMES),
    ],
)
def test_a_model_that_makes_no_sense_is_refused(fields, reason):
    with pytest.raises(ValueError, match=reason):
        ModelConfig(**{"experts": (EXPERT,), **fields})


def test_settings_are_frozen():
    for settings in (EXPERT, ModelConfig(experts=(EXPERT,)), TextConfig(), TrainConfig()):
        with pytest.raises(dataclasses.FrozenInstanceError):
            settings.dropout = 0.5


def test_pooled_size_counts_every_pooling():
    assert EXPERT.pooled_dim == 6
    assert dataclasses.replace(EXPERT, pooling=("max",)).pooled_dim == 3
    assert dataclasses.replace(EXPERT, pooling=("max", "netvlad-4", "transformer")).pooled_dim == 3 + 12 + 256


def test_a_tower_is_a_pretrained_encoder_that_stays_frozen():
    settings = tower_settings("some/clip")
    assert settings.encoder == "some/clip"
    assert settings.pretrained
    assert settings.tuned_layers == 0
