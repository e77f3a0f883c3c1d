"""Which test-time normalisation an evaluation uses, and what its result says of it. Flags are made of it."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from typing import TYPE_CHECKING, Literal, get_args

from mee.errors import InputError
from mee.evaluation.result import Normalisation

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
        if self.method not in get_args(Method):
            raise ValueError(f"method must be one of {', '.join(get_args(Method))}, got {self.method!r}")
        if not 0 < self.beta < inf:
            raise ValueError(f"beta must be positive and finite, got {self.beta}")
        if self.neighbours < 1:
            raise ValueError(f"neighbours must be at least 1, got {self.neighbours}")
        if not 0 <= self.alpha < inf:
            raise ValueError(f"alpha must be finite and at least 0, got {self.alpha}")

    @property
    def needs_bank(self) -> bool:
        """Whether scores of a bank of training captions are needed."""
        return self.method in ("qb-norm", "nnn")

    def facts(self, bank: str | None, size: int) -> Normalisation:
        """What a result says; `bank` in words, `size` captions in it."""
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
        """What is taken from each clip; None where the method has no such offsets."""
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
