"""All settings of the model and of its training, as frozen dataclasses that refuse nonsense.

Nothing here imports torch: command lines are made from these fields.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, Literal

Pooling = Literal["mean", "max"]
SCHEMES = ("mixture", "uniform", "ignore-missing")  # ways to score, see mee.schemes; no expert bears these names
_STRICT = {"extra": "forbid"}  # read back from a checkpoint, an unknown setting is refused


def _require(holds: bool, message: str) -> None:
    if not holds:
        raise ValueError(message)


@dataclass(frozen=True, kw_only=True)
class ExpertConfig:
    """One modality's expert: what goes in, and the size of its part of the joint space."""

    __pydantic_config__: ClassVar[dict[str, str]] = _STRICT
    name: str  # the modality
    input_dim: int  # D of its stream
    embed_dim: int = 512  # E_m
    pooling: tuple[Pooling, ...] = ("mean", "max")
    fingerprint: str = ""  # digest of the extractor that its streams must come from

    def __post_init__(self) -> None:
        _require(self.input_dim > 0 and self.embed_dim > 0, f"'{self.name}': sizes must be positive")
        _require(len(self.pooling) > 0, f"'{self.name}': at least one pooling is needed")

    @property
    def pooled_dim(self) -> int:
        """Size of the pooled stream."""
        return self.input_dim * len(self.pooling)


@dataclass(frozen=True, kw_only=True)
class TextConfig:
    """The text encoder: a transformer trained from scratch on the captions."""

    __pydantic_config__: ClassVar[dict[str, str]] = _STRICT
    width: int = 256  # D of a text vector
    layers: int = 2
    heads: int = 4
    max_tokens: int = 64  # longer sentences are cut
    vocabulary: int = 8000  # at most so many word pieces are learnt from the captions
    dropout: float = 0.1

    def __post_init__(self) -> None:
        sizes = (self.width, self.layers, self.heads, self.max_tokens, self.vocabulary)
        _require(min(sizes) > 0, "sizes of the text encoder must be positive")
        _require(self.width % (2 * self.heads) == 0, f"width {self.width} must divide by 2 x heads ({self.heads})")
        _require(0 <= self.dropout < 1, f"dropout must be in [0, 1), got {self.dropout}")


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """All that is needed to rebuild the model, apart from its weights and its tokenizer."""

    __pydantic_config__: ClassVar[dict[str, str]] = _STRICT
    experts: tuple[ExpertConfig, ...]  # their order is the M axis, everywhere
    text: TextConfig = field(default_factory=TextConfig)
    dropout: float = 0.3  # on pooled streams and on text vectors, before the gated units

    def __post_init__(self) -> None:
        names = [expert.name for expert in self.experts]
        _require(
            len(names) > 0 and len(set(names)) == len(names), f"experts must be named, each once, got {names}"
        )
        _require(not set(names) & set(SCHEMES), f"no expert may be called {', '.join(SCHEMES)}")
        _require(0 <= self.dropout < 1, f"dropout must be in [0, 1), got {self.dropout}")


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """How the model is trained."""

    loss: Literal["infonce", "max-margin"] = "infonce"
    margin: float = 0.2  # of the max-margin loss
    temperature: float = 0.07  # where the learned temperature of InfoNCE starts
    epochs: int = 60  # at most; training stops early
    patience: int = 15  # epochs without a better validation score before it stops
    batch_size: int = 64  # captions a step
    learning_rate: float = 1e-3
    warmup: float = 0.05  # share of all steps over which the learning rate rises
    weight_decay: float = 0.01
    stream_dropout: float = 0.1  # chance to hide a stream from a step; one always stays
    validation: float = 0.1  # share of the videos held out, where the captions name no split
    seed: int = 0

    def __post_init__(self) -> None:
        _require(self.epochs > 0 and self.patience > 0, "epochs and patience must be positive")
        _require(self.batch_size > 1, "batch-size must be at least 2: the others of a batch are the negatives")
        _require(self.learning_rate > 0 and self.temperature > 0, "learning-rate and temperature must be positive")
        _require(self.weight_decay >= 0 and self.margin >= 0, "weight-decay and margin cannot be negative")
        for name in ("stream_dropout", "warmup", "validation"):
            value = getattr(self, name)
            _require(0 <= value < 1, f"{name.replace('_', '-')} must be in [0, 1), got {value}")
