"""How an evaluation measures. Nothing here imports torch: command lines are made from these fields."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from itertools import product
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast, get_args

from mee.errors import InputError, require
from mee.evaluation.result import Normalisation
from mee.protocols import FOLDER

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import ArrayLike, NDArray

    from mee.ranking import ClipOffsets, Scores

Method = Literal["none", "qb-norm", "nnn", "dsl"]
BETAS = (2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0)
GRID: dict[str, dict[str, tuple[float, ...]]] = {  # each method's parameters
    "qb-norm": {"beta": BETAS},
    "nnn": {"alpha": (0.1, 0.25, 0.5, 0.75, 1.0), "neighbours": (512, 64, 8)},
    "dsl": {"beta": BETAS[:5]},  # a larger one takes minutes: most scores are then too close for float32 products
}


@dataclass(frozen=True, kw_only=True)
class NormaliseConfig:
    """Test-time normalisation (mee.ranking.normalise). What is not given is fitted on validation captions."""

    method: Method = "none"  # dsl looks at all test queries together
    beta: float | None = None  # inverse temperature of qb-norm and dsl; default: fitted
    neighbours: int | None = None  # captions of the bank that nnn takes the mean of for a clip; default: fitted
    alpha: float | None = None  # weight of that mean; default: fitted

    def __post_init__(self) -> None:
        methods = get_args(Method)
        require(self.method in methods, f"method must be one of {', '.join(methods)}, got {self.method!r}")
        beta, neighbours, alpha = self.beta, self.neighbours, self.alpha
        require(beta is None or 0 < beta < inf, f"beta must be positive and finite, got {beta}")
        require(neighbours is None or neighbours >= 1, f"neighbours must be at least 1, got {neighbours}")
        require(alpha is None or 0 <= alpha < inf, f"alpha must be finite and at least 0, got {alpha}")

    @property
    def needs_bank(self) -> bool:
        """Whether scores of a bank of training captions are needed."""
        return self.method in ("qb-norm", "nnn")

    @property
    def unknown(self) -> tuple[str, ...]:
        """The method's parameters that are not given."""
        return tuple(name for name in GRID.get(self.method, ()) if getattr(self, name) is None)

    def fitted(self, ranks: Callable[[NormaliseConfig], NDArray[np.float64]], clips: ArrayLike) -> NormaliseConfig:
        """With the parameters of GRID that rank held-out captions best, in place of those that are not given.

        Best by mean reciprocal rank; method "none" where nothing gains more than the standard error of its gain.

        Args:
            ranks: the (N,) text-to-video ranks of the held-out captions by a normalisation without unknowns.
            clips: (N,) the clip of each caption, for the standard error (mee.evaluation.metrics).
        """
        from mee.evaluation.metrics import paired_difference

        best, most = replace(self, method="none"), 0.0
        plain = 1 / ranks(best)
        for values in product(*(GRID[self.method][name] for name in self.unknown)):
            config = replace(self, **dict[str, Any](zip(self.unknown, values)))
            gain, error = paired_difference(plain, 1 / ranks(config), clips)
            if gain > most and gain > error:
                best, most = config, gain
        return best

    def facts(self, bank: str | None, size: int, fitted_on: str | None = None) -> Normalisation:
        """The normalisation as a result records it; `bank` in words, of `size` captions."""
        parameters = {name: float(getattr(self, name)) for name in GRID.get(self.method, ())}
        if "neighbours" in parameters:
            parameters["neighbours"] = min(parameters["neighbours"], float(size))
        return Normalisation(
            method=self.method,
            bank=bank if self.needs_bank else None,
            parameters=parameters,
            fitted_on=fitted_on,
            uses_test_queries=self.method == "dsl",
        )

    def offsets(self, bank: Scores | None) -> ClipOffsets | None:
        """Each clip's offset, from the scores of a bank of training captions; None where the method has none.

        Raises:
            InputError: the method needs a bank, and there is none; or a parameter was neither given nor fitted.
        """
        from mee.ranking import nnn, qb_norm

        if self.needs_bank and (bank is None or not bank.queries):
            raise InputError(
                f"{self.method} needs a bank of training captions, and there are none here: add captions of split "
                "'train' (or name a file with --bank, where --scores are ranked), or go without --normalise.method"
            )
        if self.unknown:
            flags = " and ".join(f"--normalise.{name}" for name in self.unknown)
            raise InputError(
                f"{self.method} has no validation captions here to fit its parameters on: add captions of split "
                f"'val' whose videos are in the store, give {flags}, or go without --normalise.method"
            )
        if bank is None or not self.needs_bank:
            return None
        if self.method == "qb-norm":
            return qb_norm(bank, cast(float, self.beta))
        return nnn(bank, cast(int, self.neighbours), cast(float, self.alpha))

    def apply(self, scores: Scores, offsets: ClipOffsets | None) -> Scores:
        """The normalised scores."""
        from mee.ranking import DualSoftmaxScores, ShiftedScores

        if offsets is not None:
            return ShiftedScores(scores, offsets)
        return DualSoftmaxScores(scores, cast(float, self.beta)) if self.method == "dsl" else scores


@dataclass(frozen=True, kw_only=True)
class EvaluateConfig:
    """How to measure a model, or another system's scores."""

    captions: Path  # table of captions, or the protocol's annotation files
    protocol: str = FOLDER  # whose captions: folder, a table of your own, or a benchmark: msrvtt-1ka, lsmdc, …
    columns: Mapping[str, str] = field(default_factory=dict)  # of your own table, where they have other names
    judgments: Path | None = None  # right videos of your own table's queries, several perhaps: qrels of TREC
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
    ablation: bool = False  # also each expert alone, uniform weights, the other rule of missing, each one removed


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
