"""Presets: the paper's network has the paper's sizes."""

import pytest
import torch

from mee.config import ModelConfig
from mee.model import MEE
from mee.text.base import TextEncoder
from mee.training.config import PRESETS

SIZES = {"appearance": 2048, "motion": 1024, "audio": 128, "face": 128}  # ResNet-152, I3D flow, VGGish, dlib


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
