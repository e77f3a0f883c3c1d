"""Request: all that a search can be asked for, as a user says it.

    query = sentence + sum of weight * sentence of `also` (below 0: not this) + a clip that others should be like

What it is allowed to find: `where` (index/request/filter.py), one `video`. What it listens to: `only` some
experts, or the user's `weights` in the place of the model's.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from mee.errors import InputError

LARGEST = 1e6  # weight of a sentence


@dataclass(frozen=True, kw_only=True)
class Request:
    """One question; bad ones are refused with an InputError."""

    sentence: str | None = None  # counts 1
    also: tuple[tuple[float, str], ...] = ()  # further sentences and what each counts; below 0: not this
    like: str | None = None  # id of a clip that others should be like; counts 1, and is not found itself
    only: tuple[str, ...] = ()  # experts that are listened to; none named: all
    weights: Mapping[str, float] = field(default_factory=dict)  # by expert, without one 0; {}: the model's
    where: str | None = None  # a filter
    video: str | None = None  # whose clips only
    top: int = 10  # number of hits: clips, or videos
    by_video: bool = False  # find videos instead of clips, each with its best moments
    moments: int = 3  # moments shown of each video, at most
    plain: bool = False  # score without the clips' offsets, if the index has them
    exact: bool = False  # read every vector, also where the index is approximate

    def __post_init__(self) -> None:
        if self.sentence is None and self.like is None and not self.also:
            raise InputError("nothing to look for: give a sentence, or a clip that others should be like")
        for sentence in (self.sentence, *(sentence for _, sentence in self.also)):
            if sentence is not None and not sentence.strip():
                raise InputError("a sentence is empty; write what to look for")
        for weight, sentence in self.also:
            if not 0 < abs(weight) <= LARGEST:
                raise InputError(f"what {sentence!r} counts must lie in ±{LARGEST:g} and not be 0, got {weight}")
        for expert, weight in self.weights.items():
            if not math.isfinite(weight) or weight < 0:
                raise InputError(f"the weight of expert {expert!r} must be a number from 0 on, got {weight}")
            if self.only and weight and expert not in self.only:
                raise InputError(f"expert {expert!r} is given a weight, but is not among those listened to only")
        if self.weights and not any(self.weights.values()):
            raise InputError("no expert is given a weight above 0; one of them has to count")
        if self.top < 1:
            raise InputError(f"top must be at least 1, got {self.top}")
        if self.moments < 1:
            raise InputError(f"moments must be at least 1, got {self.moments}")
        if self.where is not None:
            from index.request.filter import Filter

            Filter.parse(self.where)  # before a model is loaded

    @property
    def sentences(self) -> tuple[str, ...]:
        """All that has to be read by the model."""
        first = () if self.sentence is None else (self.sentence,)
        return (*first, *(sentence for _, sentence in self.also))
