"""How an evaluation measures. Nothing here imports torch: command lines are made from these fields."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

from mee.errors import InputError, require
from mee.evaluation.result import Normalisation
from mee.protocols import FOLDER

if TYPE_CHECKING:
    from mee.ranking import ClipOffsets, Scores

Method = Literal["none", "qb-norm", "nnn", "dsl"]


@dataclass(frozen=True, kw_only=True)
class NormaliseConfig:
    """Test-time normalisation (mee.ranking.normalise)."""

    method: Method = "none"  # dsl looks at all test queries together
    beta: float = 20.0  # inverse temperature of qb-norm and dsl
    neighbours: int = 128  # captions of the bank that nnn takes the mean of, for each clip
    alpha: float = 0.75  # weight of that mean

    def __post_init__(self) -> None:
        methods = get_args(Method)
        require(self.method in methods, f"method must be one of {', '.join(methods)}, got {self.method!r}")
        require(0 < self.beta < inf, f"beta must be positive and finite, got {self.beta}")
        require(self.neighbours >= 1, f"neighbours must be at least 1, got {self.neighbours}")
        require(0 <= self.alpha < inf, f"alpha must be finite and at least 0, got {self.alpha}")

    @property
    def needs_bank(self) -> bool:
        """Whether scores of a bank of training captions are needed."""
        return self.method in ("qb-norm", "nnn")

    def facts(self, bank: str | None, size: int) -> Normalisation:
        """The normalisation as a result records it; `bank` in words, of `size` captions."""
        used = {"qb-norm": ("beta",), "nnn": ("neighbours", "alpha"), "dsl": ("beta",)}.get(self.method, ())
        parameters = {name: float(getattr(self, name)) for name in used}
        if "neighbours" in parameters:
            parameters["neighbours"] = float(min(self.neighbours, size))
        return Normalisation(
            method=self.method,
            bank=bank if self.needs_bank else None,
            parameters=parameters,
            uses_test_queries=self.method == "dsl",
        )

    def offsets(self, bank: Scores | None) -> ClipOffsets | None:
        """Each clip's offset, from the scores of a bank of training captions; None where the method has none.

        Raises:
            InputError: the method needs a bank, and there is none.
        """
        from mee.ranking import nnn, qb_norm

        if not self.needs_bank:
            return None
        if bank is None or not bank.queries:
            raise InputError(
                f"{self.method} needs a bank of training captions, and there are none here: add captions of split "
                "'train' (or name a file with --bank, where --scores are ranked), or go without --normalise.method"
            )
        return qb_norm(bank, self.beta) if self.method == "qb-norm" else nnn(bank, self.neighbours, self.alpha)

    def apply(self, scores: Scores, offsets: ClipOffsets | None) -> Scores:
        """The normalised scores."""
        from mee.ranking import DualSoftmaxScores, ShiftedScores

        if offsets is not None:
            return ShiftedScores(scores, offsets)
        return DualSoftmaxScores(scores, self.beta) if self.method == "dsl" else scores


@dataclass(frozen=True, kw_only=True)
class EvaluateConfig:
    """How to measure a model, or another system's scores."""

    captions: Path  # table of captions, or the protocol's annotation files
    protocol: str = FOLDER  # whose captions: folder, a table of your own, or a benchmark: msrvtt-1ka, lsmdc, …
    partial: bool = False  # go on where files or scores fall short of the protocol; the result says so
    v2t: Literal["closest", "video", "each"] = "closest"  # how video to text is ranked, see docs/evaluation.md
    normalise: NormaliseConfig = field(default_factory=NormaliseConfig)
    bootstrap: int = 1000  # resamples of the 95 % intervals; 0: none
    name: str | None = None  # of the system, in tables; default: the model's directory, or the score file

    def __post_init__(self) -> None:
        require(self.bootstrap >= 0, f"bootstrap cannot be negative, got {self.bootstrap}")


@dataclass(frozen=True, kw_only=True)
class EvaluateModelConfig(EvaluateConfig):
    """Which model to measure, and on what."""

    model: Path  # made by mee train
    split: Literal["test", "val"] | None = None  # default: test, or val where the captions name no split
    ablation: bool = False  # also each expert alone, uniform weights, missing streams as zeros, each one removed


@dataclass(frozen=True, kw_only=True)
class EvaluateScoresConfig(EvaluateConfig):
    """Another system's scores."""

    scores: Path  # score matrix, or two embedding tables: .npy, .npz, .safetensors
    video: Path | None = None  # the clips' table, where --scores is the queries' alone
    query_ids: Path | None = None  # ids of rows, one a line, where the score file has none
    clip_ids: Path | None = None  # ids of columns, one a line
    unit_norm: bool = False  # divide embeddings by their length: cosine similarity
    bank: Path | None = None  # scores of training captions and the same clips, with ids, for qb-norm and nnn
    trained_on: Path | None = None  # the videos that the system was trained on, for the check against the test's
    seed: int | None = None  # of the system's training, for mean and deviation over seeds
