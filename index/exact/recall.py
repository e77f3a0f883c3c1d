"""Recall of kinds that prove nothing: measured against exact answers, and the search set to reach a target.

    recall@10 = mean over queries of |found, first 10  and  exact, first 10| / |exact, first 10|

Half of the queries, drawn with a fixed seed, chooses the cheapest parameters that reach the target; the other
half, which they were not chosen for, says what they reach. Where that is less, the next dearer ones are taken.
Parameters stand in one line, each a quarter dearer than the one before: as many rows are in sight of a search as
are re-ranked.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from math import ceil
from typing import Any, Final, Self, final

import numpy as np
from numpy.typing import NDArray

from index.queries import Queries

AT: Final = 10  # answers that count
CHEAPEST: Final = 10  # rows re-ranked
DEARER: Final = 1.25  # times more, from one choice to the next
DEAREST: Final = 5_000  # from here on a scan that proves its answer costs less
CLOSE: Final = 1e-6  # scores this near are the same

Ids = Sequence[Sequence[str]]
Answers = (
    Ids | tuple[NDArray[np.float32], Ids]
)  # of each query, best first; with exact scores, ties count as found


@final
@dataclass(frozen=True)
class SearchParameters:
    """How hard to look."""

    rerank: int  # candidates over all units that are scored exactly, for the best 10
    effort: int  # rows that a graph's search keeps in sight

    def __post_init__(self) -> None:
        if self.rerank < 1 or self.effort < 0:
            raise ValueError(
                f"rerank must be at least 1 and effort at least 0, got {self.rerank} and {self.effort}"
            )


@final
@dataclass(frozen=True)
class Measured:
    """What was reached, with what, and how that is known."""

    target: float
    reached: float  # below the target where that is out of reach
    tuned_on: int  # queries that the parameters were chosen with
    measured_on: int  # queries that `reached` is the mean of
    source: str  # what the queries are
    parameters: SearchParameters
    clips: int  # in the index then
    at: int = AT

    def __post_init__(self) -> None:
        if not (0 < self.target <= 1 and 0 <= self.reached <= 1):
            raise ValueError(f"recall lies between 0 and 1, got target {self.target} and reached {self.reached}")

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it."""
        return asdict(self)

    @classmethod
    def from_dict(cls, facts: Mapping[str, Any]) -> Self:
        """What `to_dict` gave.

        Raises:
            ValueError: something is missing, not known here, or nonsense.
        """
        try:
            return cls(**{**facts, "parameters": SearchParameters(**facts["parameters"])})
        except (KeyError, TypeError) as error:
            raise ValueError(f"this is no measurement of recall: {error}") from error


def ladder(clips: int) -> list[SearchParameters]:
    """Choices, cheapest first; the last re-ranks everything where there are few clips."""
    rungs = [CHEAPEST]
    while rungs[-1] < min(clips, DEAREST):
        rungs.append(min(ceil(rungs[-1] * DEARER), DEAREST))
    return [SearchParameters(rung, rung) for rung in rungs]


def recall(found: Answers, exact: Answers) -> float:
    """Of the exact answers' first 10, how many are among the first 10 found; 1 where there are none.

    Args:
        found: of Q queries, best first; with scores, one as good as the last exact answer is right too.
        exact: what there is to find.
    """
    scores, ids = _parts(found)
    best_scores, best_ids = _parts(exact)
    parts = []
    for query, (its, best) in enumerate(zip(ids, best_ids)):
        wanted = list(best[:AT])
        if not wanted:
            continue
        given = list(its[:AT])
        right = set(given) & set(wanted)
        if scores is not None and best_scores is not None:
            least = best_scores[query, len(wanted) - 1] - CLOSE
            right |= {name for name, score in zip(given, scores[query]) if score >= least}
        parts.append(min(len(right), len(wanted)) / len(wanted))
    return float(np.mean(parts)) if parts else 1.0


def tune(
    search: Callable[[Queries, int, SearchParameters], Answers],
    exact: Callable[[Queries, int], Answers],
    queries: Queries,
    target: float,
    source: str,
    clips: int,
) -> Measured:
    """Choose the cheapest parameters that reach a recall.

    Args:
        search: answers some queries with some parameters.
        exact: answers them all right.
        queries: held out, two at least to be of use; one is both chosen and measured with.
        target: recall@10 to reach, above 0 and at most 1.
        source: what the queries are, in words.
        clips: how many the index has.

    Raises:
        ValueError: there is no query, or the target is nonsense.
    """
    if not len(queries):
        raise ValueError("recall is measured with queries: give one at least, better a few hundred")
    if not 0 < target <= 1:
        raise ValueError(f"recall must be above 0 and at most 1, got {target}")
    order = np.random.default_rng(0).permutation(len(queries))
    mixed = Queries(queries.packed[order], queries.logits[order], queries.share[order])
    middle = len(mixed) // 2
    some = mixed.part(slice(0, max(1, middle)))
    others = mixed.part(slice(middle, len(mixed)))
    right, others_right = exact(some, AT), exact(others, AT)
    rungs = ladder(clips)

    @cache
    def with_some(place: int) -> float:
        return recall(search(some, AT, rungs[place]), right)

    last = len(rungs) - 1
    first = bisect_left(range(last), True, key=lambda place: with_some(place) >= target - CLOSE)
    if first == last and with_some(last) < target - CLOSE:  # out of reach: what does as well as the dearest
        first = bisect_left(range(last), True, key=lambda place: with_some(place) >= with_some(last) - CLOSE)
        last = first
    best = (-1.0, first)
    for place in range(first, last + 1):
        reached = recall(search(others, AT, rungs[place]), others_right)
        if reached > best[0]:
            best = (reached, place)
        if reached >= target - CLOSE:
            break
    reached, place = best
    return Measured(target, reached, len(some), len(others), source, rungs[place], clips)


def _parts(answers: Answers) -> tuple[NDArray[np.float32] | None, Ids]:
    return answers if isinstance(answers, tuple) else (None, answers)
