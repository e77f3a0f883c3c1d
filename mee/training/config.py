"""How the model is trained, and presets of settings that belong together.

default  what we recommend: every expert of one size, mean and max over time, standardised, InfoNCE
paper    the network and the training of Miech, Laptev, Sivic (arXiv 1804.02516, section 4): NetVLAD over 16
         clusters for audio and 32 for words, embeddings as large as the stream (128 for audio and faces), margin
         0.2 averaged as their code does, Adam at 4e-4 times 0.95 an epoch, one random caption a video and epoch,
         no dropout; weights renormalised over the streams that a clip has

Nothing here imports torch: command lines are made from these fields.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Literal

from mee.config import ExpertConfig, Missing, ModelConfig
from mee.errors import require
from mee.text import TextConfig

PresetName = Literal["default", "paper"]
STARTS = ("auto", "random", "closed-form")


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """How the model is trained."""

    loss: Literal["infonce", "max-margin"] = "infonce"
    margin: float = 0.2  # of the max-margin loss
    margin_mean: Literal["negatives", "all"] = "negatives"  # over their terms, or over all 2 n^2 as published
    temperature: float = 0.07  # where the learned temperature of InfoNCE starts
    epochs: int = 0  # at most; training stops early; 0: 60, or none where the start is a closed form of all
    patience: int = 15  # epochs without a better validation score before it stops
    batch_size: int = 64  # captions a step, over all processes together
    accumulate: int = 1  # batches whose gradients are added up before a step; negatives are those of each batch
    captions_per_video: int = 0  # captions of each video an epoch, drawn at random; 0: every caption
    image_rate: float = 0.5  # images an epoch, one caption each, for each video: at most so many, drawn at random
    learning_rate: float = 0.0  # 0: 1e-3, or 3e-5 from a closed-form start
    text_learning_rate: float = 2e-5  # of the tuned layers of a pretrained text encoder
    schedule: Literal["cosine", "exponential"] = "cosine"  # down to 0, or times `decay` after each epoch
    decay: float = 0.95  # of the exponential schedule
    warmup: float = 0.05  # share of all steps over which the learning rate rises
    weight_decay: float = 0.01
    clip_gradient: float = 1.0  # largest norm of a step's gradient; 0: any
    stream_dropout: float = 0.1  # chance to hide a stream from a step; one always stays
    start: str = "auto"  # random, closed-form, auto (closed-form if the text encoder is frozen), or a model
    centres: int = 4000  # most training clips that the start compares clips with; of more, or 0: it is linear
    shrinkage: float = 3.0  # of the closed-form start, in units of the mean variance
    mixed_precision: Literal["no", "bf16", "fp16"] = "no"
    validation: float = 0.1  # share of the videos held out, where the captions name no split
    choosing: int = 5000  # validation captions that choose the epoch: of more, so many, drawn by the seed; 0: all
    seed: int = 0

    def __post_init__(self) -> None:
        require(self.batch_size > 1, "batch-size must be at least 2: the others of a batch are the negatives")
        require(self.accumulate > 0, f"accumulate must be at least 1, got {self.accumulate}")
        require(self.weight_decay >= 0 and self.margin >= 0, "weight-decay and margin cannot be negative")
        require(0 < self.decay <= 1, f"decay must be in (0, 1], got {self.decay}")
        many = ("epochs", "centres", "captions_per_video", "image_rate", "learning_rate")
        for name in (*many, "clip_gradient", "choosing"):
            value = getattr(self, name)
            require(value >= 0, f"{name.replace('_', '-')} cannot be negative, got {value}")
        for name in ("patience", "temperature", "text_learning_rate", "shrinkage"):
            value = getattr(self, name)
            require(value > 0, f"{name.replace('_', '-')} must be positive, got {value}")
        for name in ("stream_dropout", "warmup", "validation"):
            value = getattr(self, name)
            require(0 <= value < 1, f"{name.replace('_', '-')} must be in [0, 1), got {value}")

    def resolved(self, *, closed_form: bool, whole: bool = True) -> TrainConfig:
        """With epochs and learning rate set: from a closed form few small steps, or none where it is all.

        whole: whether neither the text encoder nor a pooling has anything to learn.
        """
        epochs, rate = (0 if whole else 5, 3e-5) if closed_form else (60, 1e-3)
        return replace(self, epochs=self.epochs or epochs, learning_rate=self.learning_rate or rate)


@dataclass(frozen=True, kw_only=True)
class Preset:
    """Settings that belong together."""

    name: PresetName
    text: TextConfig = field(default_factory=TextConfig)
    training: TrainConfig = field(default_factory=TrainConfig)
    missing: Missing = ModelConfig.missing
    dropout: float = ModelConfig.dropout

    def expert(self, name: str, input_dim: int, fingerprint: str) -> ExpertConfig:
        """The expert of one stream."""
        settings: dict[str, Any] = {"name": name, "input_dim": input_dim, "fingerprint": fingerprint}
        if self.name == "paper":
            special = {"audio": ("netvlad-16", 128), "face": ("mean", 128)}
            pooling, embed_dim = special.get(name, ("max", input_dim))
            settings |= {"pooling": (pooling,), "embed_dim": embed_dim, "standardise": False}
        return ExpertConfig(**settings)


PRESETS: dict[PresetName, Preset] = {
    "default": Preset(name="default"),
    "paper": Preset(
        name="paper",
        text=TextConfig(encoder="word-vectors", pooling=("netvlad-32",), max_tokens=30, vocabulary=400_000),
        training=TrainConfig(
            start="random",
            loss="max-margin",
            margin_mean="all",
            epochs=100,
            patience=100,
            captions_per_video=1,
            learning_rate=4e-4,
            schedule="exponential",
            decay=0.95,
            warmup=0.0,
            weight_decay=0.0,
            clip_gradient=0.0,
            stream_dropout=0.0,
        ),
        missing="renormalise",
        dropout=0.0,
    ),
}
