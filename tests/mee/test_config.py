"""Settings refuse nonsense, and presets are what they are named after."""

import dataclasses
from dataclasses import replace
from math import nan

import pytest
import torch

from mee.config import SCHEMES, ExpertConfig, ModelConfig, tower_settings
from mee.evaluation.config import NormaliseConfig
from mee.model import MEE
from mee.text.base import TextEncoder
from mee.text.config import ENCODERS, TextConfig
from mee.training.config import PRESETS, TrainConfig

EXPERT = ExpertConfig(name="audio", input_dim=3)
ALIGNED = {"name": "audio", "input_dim": 8, "embed_dim": 8, "pooling": ("mean",), "start": "identity"}
ALIGNED |= {"text": "some/clap", "standardise": False}
SIZES = {"appearance": 2048, "motion": 1024, "audio": 128, "face": 128}  # ResNet-152, I3D flow, VGGish, dlib
LEAST = {  # what a kind of settings needs at least
    ExpertConfig: {"name": "audio", "input_dim": 3},
    ModelConfig: {"experts": (EXPERT,)},
    TextConfig: {},
    TrainConfig: {},
    NormaliseConfig: {},
}
POSITIVE = "sizes of the text encoder must be positive"
NONSENSE = [
    (ExpertConfig, {"name": ""}, "every expert needs a name"),
    (ExpertConfig, {"input_dim": 0}, "'audio': sizes must be positive"),
    (ExpertConfig, {"embed_dim": -1}, "'audio': sizes must be positive"),
    (ExpertConfig, ALIGNED | {"standardise": True}, "'audio': standardise would undo the start as identity"),
    (ExpertConfig, ALIGNED | {"text": ""}, "'audio': a start as identity needs the text tower"),
    (ExpertConfig, ALIGNED | {"embed_dim": 9}, "its 8 pooled columns .* its embed-dim 9"),
    (ExpertConfig, ALIGNED | {"pooling": ("mean", "max")}, "its 16 pooled columns"),
    (ModelConfig, {"experts": ()}, "experts must be named, each once"),
    (ModelConfig, {"experts": (EXPERT, EXPERT)}, r"each once, got \['audio', 'audio'\]"),
    *((ModelConfig, {"dropout": value}, "dropout must be in") for value in (-0.1, 1.0, nan)),
    *((ModelConfig, {"experts": (replace(EXPERT, name=n),)}, "no expert may be called") for n in SCHEMES),
    (TextConfig, {"width": 100, "heads": 8}, r"width 100 must divide by 2 x heads \(8\)"),
    *((TextConfig, {name: 0}, POSITIVE) for name in ("width", "layers", "max_tokens", "vocabulary")),
    (TextConfig, {"heads": -1}, POSITIVE),
    (TextConfig, {"dropout": 1.0}, r"dropout must be in \[0, 1\), got 1.0"),
    (TextConfig, {"dropout": nan}, "dropout must be in"),
    (TextConfig, {"encoder": " "}, "the text encoder must be transformer, recurrent, word-vectors, or"),
    (TextConfig, {"encoder": "some/bert", "tuned_layers": -2}, "tuned-layers must be -1 .* got -2"),
    (TextConfig, {"tuned_layers": 2}, "tuned-layers is for pretrained models; the encoder 'transformer' always"),
    (TextConfig, {"encoder": "recurrent", "pooling": ("max",)}, "recurrent encoder pools by its attention"),
    (TextConfig, {"vectors": "v.txt"}, "'word-vectors', not for 'transformer'"),
    (TextConfig, {"revision": "main"}, "'transformer' has none"),
    (ExpertConfig, {"pooling": ()}, "'audio': at least one pooling is needed"),
    *(
        (kind, {"pooling": kinds}, f"{whose}: {says}")
        for kind, whose in ((ExpertConfig, "'audio'"), (TextConfig, "the text encoder"))
        for kinds, says in (
            (("mean", "mean"), "every pooling counts once"),
            *(((name,), f"pooling must be one of .*'{name}'") for name in ("median", "netvlad-0", "cls")),
        )
    ),
    (TrainConfig, {"epochs": -1}, "epochs cannot be negative"),
    (TrainConfig, {"patience": 0}, "patience must be positive"),
    (TrainConfig, {"batch_size": 1}, "batch-size must be at least 2"),
    (TrainConfig, {"accumulate": 0}, "accumulate must be at least 1, got 0"),
    (TrainConfig, {"captions_per_video": -1}, "captions-per-video cannot be negative, got -1"),
    (TrainConfig, {"image_rate": -0.5}, "image-rate cannot be negative, got -0.5"),
    *((TrainConfig, {"learning_rate": value}, "learning-rate cannot be negative") for value in (-1e-3, nan)),
    (TrainConfig, {"temperature": 0.0}, "temperature must be positive"),
    (TrainConfig, {"text_learning_rate": 0.0}, "text-learning-rate must be positive"),
    (TrainConfig, {"margin": -0.1}, "weight-decay and margin cannot be negative"),
    (TrainConfig, {"weight_decay": -1.0}, "weight-decay and margin cannot be negative"),
    (TrainConfig, {"clip_gradient": -1.0}, "clip-gradient cannot be negative"),
    (TrainConfig, {"shrinkage": 0.0}, "shrinkage must be positive"),
    *((TrainConfig, {"decay": value}, r"decay must be in \(0, 1\]") for value in (0.0, 1.1)),
    (TrainConfig, {"stream_dropout": 1.0}, r"stream-dropout must be in \[0, 1\), got 1.0"),
    (TrainConfig, {"warmup": 1.5}, "warmup must be in"),
    *((TrainConfig, {"validation": value}, "validation must be in") for value in (-0.1, nan)),
    (NormaliseConfig, {"method": "qbnorm"}, "^method must be .*, got 'qbnorm'$"),
    *((NormaliseConfig, {"beta": value}, f"^beta must be .*, got {value}$") for value in (-0.1, nan)),
    (NormaliseConfig, {"neighbours": 0}, "^neighbours must be .*, got 0$"),
    *((NormaliseConfig, {"alpha": value}, f"^alpha must be .*, got {value}$") for value in (-0.1, nan)),
]


@pytest.mark.parametrize(("kind", "fields", "reason"), NONSENSE)
def test_settings_that_make_no_sense_are_refused(kind, fields, reason):
    settings = kind(**LEAST[kind])
    with pytest.raises(ValueError, match=reason):
        kind(**{**LEAST[kind], **fields})
    with pytest.raises(dataclasses.FrozenInstanceError):
        settings.dropout = 0.5


def test_pooled_size_counts_every_pooling_and_an_identity_needs_two_sides_of_one_size():
    assert EXPERT.pooled_dim == 6
    assert replace(EXPERT, pooling=("max",)).pooled_dim == 3
    assert replace(EXPERT, pooling=("max", "netvlad-4", "transformer")).pooled_dim == 3 + 12 + 256
    assert ExpertConfig(**ALIGNED).pooled_dim == ExpertConfig(**ALIGNED).embed_dim


def test_other_encoders_are_pretrained_models_and_a_tower_stays_frozen():
    assert not any(TextConfig(encoder=name).pretrained for name in ENCODERS)
    assert all(TextConfig(encoder="some/bert", tuned_layers=tuned).pretrained for tuned in (-1, 0, 3))
    assert tower_settings("some/clip") == TextConfig(encoder="some/clip", tuned_layers=0)


def test_presets_take_any_stream_and_epochs_and_rate_depend_on_the_start_unless_given():
    assert TrainConfig().resolved(closed_form=False) == TrainConfig(epochs=60, learning_rate=1e-3)
    assert TrainConfig().resolved(closed_form=True) == TrainConfig(epochs=0, learning_rate=3e-5)
    assert TrainConfig().resolved(closed_form=True, whole=False).epochs == 5
    given = TrainConfig(epochs=7, learning_rate=0.5)
    assert given.resolved(closed_form=True) == given.resolved(closed_form=False) == given
    for name, preset in PRESETS.items():
        expert = preset.expert("thermal", 7, "abc")
        assert (preset.name, expert.name, expert.input_dim, expert.fingerprint) == (name, "thermal", 7, "abc")
        assert expert.embed_dim == (7 if name == "paper" else 512)


class Words(TextEncoder):
    """In place of NetVLAD-32 over word2vec: 32 x 300 numbers a sentence, and its own parameters."""

    def __init__(self):
        super().__init__(32 * 300, torch.empty(0, 300))
        self.assign, self.centres = (torch.nn.Parameter(torch.zeros(300, 32)) for _ in range(2))

    learn = load = save = tokenize = forward = attention = None


def test_the_papers_preset_has_its_network_and_its_training():
    preset = PRESETS["paper"]
    experts = tuple(preset.expert(name, size, "x") for name, size in SIZES.items())
    assert not any(expert.standardise for expert in experts)
    model = MEE(ModelConfig(experts=experts, text=preset.text, dropout=0.0), Words())
    assert model.layout.sizes == (2048, 1024, 128, 128)
    assert model.expert("audio").pool.dim == 16 * 128
    assert 47.5e6 < sum(parameter.numel() for parameter in model.parameters()) < 48.5e6
    training, text = preset.training, preset.text
    assert (training.loss, training.margin, training.margin_mean) == ("max-margin", 0.2, "all")
    assert (training.schedule, training.decay, training.learning_rate) == ("exponential", 0.95, 4e-4)
    assert (training.weight_decay, training.stream_dropout, preset.dropout) == (0, 0, 0)
    assert (training.captions_per_video, training.batch_size, training.epochs) == (1, 64, 100)
    assert (text.encoder, text.pooling, text.max_tokens) == ("word-vectors", ("netvlad-32",), 30)
