"""Request: all options of a search.

    query = sentence + sum of weight * sentence of `also` (below 0: not this) + a clip that others should be like
            + an example, made of a file from outside

Marks of clips (`good`, `bad`, `closer`) move the query and the weights of its experts. With `then`, what comes
first, what comes next, and so on, are looked for in one video.
Without anything that is scored, `said` and `written` list the clips that have these words.

A new option is a field here, and what it does is in index/searcher.py.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Literal, get_args

from mee.errors import InputError

LARGEST = 1e6  # weight of a sentence
STREAMS = {"said": "speech", "written": "text"}  # fields, and the streams of words that they look into
CHAIN = 4  # moments of a sequence, at most
MARKS = 128  # clips that are marked, at most: ten rounds of ten, and more
Sort = Literal["score", "date", "length", "name"]
QUERY = ("sentence", "also", "only", "weights")  # fields that may differ between requests that are ranked together


@dataclass(frozen=True, kw_only=True)
class Request:
    """One search; an InputError is raised where its fields make no sense."""

    sentence: str | None = None  # what to find, in words; its weight is 1
    also: tuple[tuple[float, str], ...] = ()  # more sentences with their weights; below 0: not this
    then: tuple[str, ...] = ()  # what comes next in the same video, one after another; finds videos
    within: float = 60.0  # seconds at most from the end of one moment to the start of the next, with `then`
    like: str | None = None  # id of a clip, or a video: find clips like it, but not itself; its weight is 1
    example: str | None = None  # name of an example (Meaning.examples): find clips like it; its weight is 1
    good: tuple[str, ...] = ()  # ids of clips that fit
    bad: tuple[str, ...] = ()  # ids of clips that do not; they are not found
    # pairs of clips: the first is closer to what is meant; the other is not found
    closer: tuple[tuple[str, str], ...] = ()
    only: tuple[str, ...] = ()  # compare by these experts only; default: all
    weights: Mapping[str, float] = field(default_factory=dict)  # of experts, in place of the model's; others get 0
    where: str | None = None  # only clips for which this filter is true (index/filter.py)
    video: str | None = None  # only clips of this video
    said: str | None = None  # only clips in which somebody says these words, side by side
    written: str | None = None  # only clips in whose picture these words are written, side by side
    top: int = 10  # how many hits, or videos
    offset: int = 0  # how many of the best are passed over
    sort: Sort = "score"  # how the best are shown: the newest first, the shortest first, or by name and time
    fold: bool = False  # show of clips that look and sound alike only the best one, with their number
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
        if self.then and not self.asks:
            raise InputError("--then says what comes next; write what comes first, too")
        if len(self.then) >= CHAIN:
            raise InputError(f"a sequence has at most {CHAIN} moments, got {1 + len(self.then)}")
        if not 0 <= self.within < math.inf:
            raise InputError(f"--within is a number of seconds from 0, got {self.within:g}")
        marks = {*self.good, *self.bad, *(clip for pair in self.closer for clip in pair)}
        if len(marks) > MARKS:
            raise InputError(f"at most {MARKS} clips can be marked, got {len(marks)}")
        if marks and not self.asks:
            raise InputError("--bad and --closer change a search; write what to look for, too")
        if twice := {*self.good} & {*self.bad}:
            raise InputError(f"clip {min(twice)!r} is marked good and bad; take one of the marks away")
        if self.offset < 0:
            raise InputError(f"offset must be at least 0, got {self.offset}")
        if self.sort not in get_args(Sort):
            raise InputError(f"sort is one of {', '.join(get_args(Sort))}, got {self.sort!r}")
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
        ways = self.also or self.good
        return bool(ways) or any(each is not None for each in (self.sentence, self.like, self.example))

    @property
    def parts(self) -> tuple[Request, ...]:
        """A request for each moment of a sequence: the first has all that is not a sentence of `then`."""
        if not self.then:
            return (self,)
        alone = Request(sentence=self.then[0], only=self.only, weights=self.weights)
        return (replace(self, then=()), *(replace(alone, sentence=sentence) for sentence in self.then))

    @property
    def finds_videos(self) -> bool:
        """Whether videos are found, each with moments, and not single clips."""
        return self.by_video or bool(self.then)

    @property
    def words(self) -> dict[str, str]:
        """What clips must have been said or have written in them."""
        return {name: words for name in STREAMS if (words := getattr(self, name)) is not None}

    @property
    def refused(self) -> list[str]:
        """Ids of clips that are not found: bad ones, and those that another is closer than, but no good ones."""
        return sorted({*self.bad, *(far for _, far in self.closer)} - {*self.good})

    @property
    def sentences(self) -> tuple[str, ...]:
        """All that the model has to encode."""
        first = () if self.sentence is None else (self.sentence,)
        return (*first, *(sentence for _, sentence in self.also), *self.then)

    @property
    def shared(self) -> tuple[object, ...]:
        """Equal for requests that can be ranked together: they find the same clips in the same way."""
        return tuple(getattr(self, each.name) for each in fields(self) if each.name not in QUERY)
