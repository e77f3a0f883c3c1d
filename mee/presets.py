"""Named sets of settings.

default  what we recommend: every expert of one size, mean and max over time, standardised, InfoNCE
paper    the network and the training of Miech, Laptev, Sivic (arXiv 1804.02516, section 4): NetVLAD over 16
         clusters for audio and 32 for words, embeddings as large as the stream (128 for audio and faces), margin
         0.2 averaged as their code does, Adam at 4e-4 times 0.95 an epoch, one random caption a video and epoch,
         no dropout
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from mee.config import ExpertConfig, ModelConfig
from mee.text import TextConfig
from mee.training import TrainConfig

PresetName = Literal["default", "paper"]
PAPER_AUDIO, PAPER_FACE = 128, 128  # sizes of their embeddings


@dataclass(frozen=True, kw_only=True)
class Preset:
    """Settings that belong together."""

    name: PresetName
    text: TextConfig = field(default_factory=TextConfig)
    training: TrainConfig = field(default_factory=TrainConfig)
    dropout: float = ModelConfig.dropout

    def expert(self, name: str, input_dim: int, fingerprint: str) -> ExpertConfig:
        """The expert of one stream."""
        common: dict[str, Any] = {"name": name, "input_dim": input_dim, "fingerprint": fingerprint}
        if self.name == "default":
            return ExpertConfig(**common)
        match name:
            case "audio":
                return ExpertConfig(**common, embed_dim=PAPER_AUDIO, pooling=("netvlad-16",), standardise=False)
            case "face":
                return ExpertConfig(**common, embed_dim=PAPER_FACE, pooling=("mean",), standardise=False)
            case _:
                return ExpertConfig(**common, embed_dim=input_dim, pooling=("max",), standardise=False)


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
        dropout=0.0,
    ),
}
