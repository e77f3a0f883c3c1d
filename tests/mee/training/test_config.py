"""Settings of training are checked; presets: the paper's network has the paper's sizes."""

import math

import pytest
import torch

from mee.config import ModelConfig
from mee.model import MEE
from mee.text.base import TextEncoder
from mee.training.config import PRESETS, TrainConfig

SIZES = {"appearance": 2048, "motion": 1024, "audio": 128, "face": 128}  # ResNet-152, I3D flow, VGGish, dlib


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


def test_epochs_and_rate_depend_on_the_start_unless_given():
    assert TrainConfig().resolved(closed_form=False) == TrainConfig(epochs=60, learning_rate=1e-3)
    assert TrainConfig().resolved(closed_form=True) == TrainConfig(epochs=5, learning_rate=3e-5)
    given = TrainConfig(epochs=7, learning_rate=0.5)
    assert given.resolved(closed_form=True) == given.resolved(closed_form=False) == given


class Words(TextEncoder):
    """Stands for NetVLAD-32 over word2vec: 32 x 300 numbers a sentence, and its own parameters."""

    def __init__(self):
        super().__init__(32 * 300, torch.empty(0, 300))
        self.assign, self.centres = (torch.nn.Parameter(torch.zeros(300, 32)) for _ in range(2))

    learn = load = save = read = forward = attention = None


def paper_experts():
    return tuple(PRESETS["paper"].expert(name, size, "x") for name, size in SIZES.items())


def test_the_papers_network_has_48_million_parameters():
    model = MEE(ModelConfig(experts=paper_experts(), text=PRESETS["paper"].text, dropout=0.0), Words())
    assert model.layout.sizes == (2048, 1024, 128, 128)
    assert model.expert("audio").pool.dim == 16 * 128
    count = sum(parameter.numel() for parameter in model.parameters())
    assert 47.5e6 < count < 48.5e6


def test_the_papers_training_is_what_the_paper_says():
    preset = PRESETS["paper"]
    training = preset.training
    assert (training.loss, training.margin, training.margin_mean) == ("max-margin", 0.2, "all")
    assert (training.schedule, training.decay, training.learning_rate) == ("exponential", 0.95, 4e-4)
    assert (training.weight_decay, training.stream_dropout, preset.dropout) == (0, 0, 0)
    assert (training.captions_per_video, training.batch_size, training.epochs) == (1, 64, 100)
    assert (preset.text.encoder, preset.text.pooling, preset.text.max_tokens) == (
        "word-vectors",
        ("netvlad-32",),
        30,
    )
    assert not any(expert.standardise for expert in paper_experts())


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_bears_its_name_and_takes_any_stream(name):
    preset = PRESETS[name]
    assert preset.name == name
    expert = preset.expert("thermal", 7, "abc")
    assert (expert.name, expert.input_dim, expert.fingerprint) == ("thermal", 7, "abc")
    assert expert.embed_dim == (7 if name == "paper" else 512)
