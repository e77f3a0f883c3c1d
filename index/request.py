"""Request: all options of a search.

    query = sentence + sum of weight * sentence of `also` (below 0: not this) + a clip that others should be like

Without any of them, `said` and `written` list the clips that have these words.

A new option is a field here, and what it does is in index/searcher.py.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields

from mee.errors import InputError

LARGEST = 1e6  # weight of a sentence
STREAMS = {"said": "speech", "written": "text"}  # fields, and the streams of words that they look into
QUERY = ("sentence", "also", "only", "weights")  # fields that may differ between requests that are ranked together


@dataclass(frozen=True, kw_only=True)
class Request:
    """One search; an InputError is raised where its fields make no sense."""

    sentence: str | None = None  # what to find, in words; its weight is 1
    also: tuple[tuple[float, str], ...] = ()  # more sentences with their weights; below 0: not this
    like: str | None = None  # id of a clip: find clips like it, but not the clip itself; its weight is 1
    only: tuple[str, ...] = ()  # compare by these experts only; default: all
    weights: Mapping[str, float] = field(default_factory=dict)  # of experts, in place of the model's; others get 0
    where: str | None = None  # only clips for which this filter is true (index/filter.py)
    video: str | None = None  # only clips of this video
    said: str | None = None  # only clips in which somebody says these words, side by side
    written: str | None = None  # only clips in whose picture these words are written, side by side
    top: int = 10  # how many hits, or videos
    min_score: float | None = None  # only hits that score so much or more; scores of two models do not compare
    by_video: bool = False  # find videos: each once, with its best moments
    moments: int = 3  # how many moments of each video, at most
    plain: bool = False  # do not subtract the clips' offsets of test-time normalisation, if the index has them
    exact: bool = False  # give exact results also where the kind of the index may miss a clip

    def __post_init__(self) -> None:
        if not self.asks and not self.words:
            raise InputError("nothing to look for: give a sentence, or a clip that others should be like")
        for name, words in self.words.items():
            from index.storage import folded

            if not folded(words).strip():
                raise InputError(f"--{name} {words!r} has no words; write what is to be found")
        if not all(sentence.strip() for sentence in self.sentences):
            raise InputError("a sentence is empty; write what to look for")
        for weight, sentence in self.also:
            if not 0 < abs(weight) <= LARGEST:
                raise InputError(f"the weight of {sentence!r} must be within ±{LARGEST:g} and not 0, got {weight}")
        for expert, weight in self.weights.items():
            if not math.isfinite(weight) or weight < 0:
                raise InputError(f"the weight of expert {expert!r} must be finite and at least 0, got {weight}")
            if self.only and weight and expert not in self.only:
                raise InputError(
                    f"expert {expert!r} has a weight, but is not among the only experts to compare by"
                )
        if self.weights and not any(self.weights.values()):
            raise InputError("no expert has a weight above 0; at least one needs it")
        if self.min_score is not None and not (self.asks and math.isfinite(self.min_score)):
            raise InputError("--min-score is a number, for what is scored: with a sentence, or a clip to be like")
        if self.top < 1:
            raise InputError(f"top must be at least 1, got {self.top}")
        if self.moments < 1:
            raise InputError(f"moments must be at least 1, got {self.moments}")
        if self.where is not None:
            from index.filter import Filter

            Filter.parse(self.where)  # before a model is loaded

    @property
    def asks(self) -> bool:
        """Whether clips are scored, and not only listed."""
        return self.sentence is not None or self.like is not None or bool(self.also)

    @property
    def words(self) -> dict[str, str]:
        """What clips must have been said or have written in them."""
        return {name: words for name in STREAMS if (words := getattr(self, name)) is not None}

    @property
    def sentences(self) -> tuple[str, ...]:
        """All that the model has to encode."""
        first = () if self.sentence is None else (self.sentence,)
        return (*first, *(sentence for _, sentence in self.also))

    @property
    def shared(self) -> tuple[object, ...]:
        """Equal for requests that can be ranked together: they find the same clips in the same way."""
        return tuple(getattr(self, each.name) for each in fields(self) if each.name not in QUERY)
