"""All settings of the model, as frozen dataclasses that check their values.

Nothing here imports torch: command lines are made from these fields. Training and evaluation have their own, in
mee.training.config and mee.evaluation.config.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import ClassVar, Literal

from mee.errors import require
from mee.layers import PLAIN, check_pooling, pooled_size
from mee.text import TextConfig

Missing = Literal["evidence", "renormalise"]  # rules of missing streams, see mee.scoring
Weights = Literal["learned", "stand-out"]  # where mixture weights come from; stand-out: see mee.layout
NO_TEXT = "none"  # text side of an expert that no sentence reaches: it serves "more like this" only
SCHEMES = ("mixture", "uniform", "evidence", "renormalise")  # ways to score; no expert's name
_STRICT = {"extra": "forbid"}  # an unknown setting in a checkpoint is an error


@dataclass(frozen=True, kw_only=True)
class ExpertConfig:
    """One modality's expert: its input, and the size of its part of the joint space."""

    __pydantic_config__: ClassVar[dict[str, str]] = _STRICT
    name: str  # the modality
    input_dim: int  # D of its stream; 0 where it holds words
    embed_dim: int = 512  # E_m
    pooling: tuple[str, ...] = ("mean", "max")  # see mee.layers.pooling_kinds
    standardise: bool = True  # bring every column to mean 0 and deviation 1 first
    text: str = ""  # hub id or directory of its own, frozen text tower; empty: the model's; or NO_TEXT
    # what its two gated units compute before training; names: only what its named columns say
    start: Literal["random", "identity", "names"] = "random"
    words: bool = False  # whether its stream holds words: a clip keeps a vector for each row, and the best counts
    named: int = 0  # columns that have names, the last of the stream; its unit starts at the names' vectors
    centres: int = 0  # training clips that clips are compared with by a kernel; 0: none, the unit sees the stream
    components: int = 0  # numbers of a clip that are compared
    fingerprint: str = ""  # digest of the extractor that its streams must come from

    def __post_init__(self) -> None:
        def need(holds: bool, message: str) -> None:
            require(holds, f"'{self.name}': {message}")

        require(bool(self.name), "every expert needs a name")
        spelt = re.fullmatch(r"[A-Za-z0-9_-]+", self.name)  # as streams are called
        require(spelt is not None, f"an expert's name is of letters, digits, - and _, got {self.name!r:.80}")
        sized = self.embed_dim > 0 and self.input_dim >= 0 and (self.input_dim > 0) is not self.words
        need(sized, "sizes must be positive, and the input-dim of words 0")
        check_pooling(f"'{self.name}'", self.pooling)
        need(0 <= self.named <= self.input_dim, f"named must be of the {self.input_dim} columns")
        kernel = self.centres >= 0 and (self.components > 0) is (self.centres > 0) and self.components >= 0
        need(kernel, "centres and components must both be positive, or both 0")
        need(not self.named or self.pooling[0] == "mean", "named columns need mean pooling first")
        plain = not self.centres and not self.learns
        at_names = self.start != "names" or (self.named > 0 and plain)
        need(at_names, "to start at names, columns need names, and no centres and learnt pooling")
        if self.words:
            fixed = self.start == "identity" and plain and self.text != NO_TEXT
            need(fixed, "words start as identity, with a text side, no centres or learnt pooling")
        elif self.start == "identity":
            columns = f"its {self.pooled_dim} pooled columns must be as many as its embed-dim {self.embed_dim}"
            need(self.pooled_dim == self.embed_dim, f"to start as identity, {columns}")
            kept = not self.standardise or self.text == NO_TEXT
            need(kept, "standardise would undo the start as identity")
            need(bool(self.text), "a start as identity needs the text tower it is aligned to")

    @property
    def pooled_dim(self) -> int:
        """Size of the pooled stream."""
        return pooled_size(self.pooling, self.input_dim) if self.input_dim else self.embed_dim

    @property
    def learns(self) -> bool:
        """Whether its pooling has parameters."""
        return any(kind not in PLAIN for kind in self.pooling)

    @property
    def feature_dim(self) -> int:
        """Size of the pooled stream without named columns, 0 at a start there; where all are named, they stay."""
        if self.start == "names" or self.words:
            return 0
        return pooled_size(self.pooling, self.input_dim - self.named or self.input_dim)

    @property
    def own_tower(self) -> bool:
        """Whether it has a text tower of its own."""
        return self.text not in ("", NO_TEXT)


def tower_settings(tower: str) -> TextConfig:
    """Settings of an expert's own text tower: a hub id or a directory."""
    return TextConfig(encoder=tower)


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """All that is needed to rebuild the model, apart from its weights and its text encoders' vocabularies."""

    __pydantic_config__: ClassVar[dict[str, str]] = _STRICT
    experts: tuple[ExpertConfig, ...]  # their order is the M axis, everywhere
    text: TextConfig = field(default_factory=TextConfig)
    gate: int = 0  # units of the hidden layer between a sentence and its mixture logits; 0: none
    missing: Missing = "evidence"  # what a missing stream means for a score, see mee.scoring
    weights: Weights = "learned"
    bank: tuple[str, ...] = ()  # general sentences, which weights that stand out are measured with; (): ours
    dropout: float = 0.3  # on pooled streams and on text vectors, before the gated units

    def __post_init__(self) -> None:
        names = [expert.name for expert in self.experts]
        require(len(names) > 0 and len(set(names)) == len(names), f"experts must be named, each once, got {names}")
        require(not set(names) & set(SCHEMES), f"no expert may be called {', '.join(SCHEMES)}")
        asked = any(expert.text != NO_TEXT for expert in self.experts)
        require(asked, "no expert has a text side, so that no sentence can find anything")
        require(self.gate >= 0, f"gate cannot be negative, got {self.gate}")
        require(0 <= self.dropout < 1, f"dropout must be in [0, 1), got {self.dropout}")
