"""A case as its sides share it: the clips by pattern, the queries, what ranks and merges."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from benchmarks.index_data import Floats, Part, Sentences
from benchmarks.index_timing import Numbers
from benchmarks.index_truth import BEST
from mee.layout import Layout


@dataclass(frozen=True)
class Case:
    """What every side is given."""

    parts: list[Part]
    sentences: Sentences
    layout: Layout
    clips: int

    @cached_property
    def prepared(self) -> list[Floats]:
        """(Q, W) weighted query vectors of every part."""
        return [self.sentences.vectors(part.pattern, self.layout).astype(np.float32) for part in self.parts]

    @property
    def size(self) -> int:
        """Bytes of the clips' vectors."""
        return sum(part.vectors.nbytes for part in self.parts)

    @cached_property
    def available(self) -> NDArray[np.bool_]:
        """(G, M)."""
        flags = np.zeros((self.clips, len(self.layout.names)), bool)
        for part in self.parts:
            flags[part.rows] = part.pattern
        return flags

    @cached_property
    def place(self) -> Numbers:
        """(G,) where a clip lies in its part."""
        place = np.zeros(self.clips, np.int64)
        for part in self.parts:
            place[part.rows] = np.arange(len(part.rows))
        return place

    def dense(self) -> Floats:
        """(G, E), zeros where a stream is missing."""
        packed = np.zeros((self.clips, self.layout.total), np.float32)
        for part in self.parts:
            packed[np.ix_(part.rows, np.flatnonzero(np.repeat(part.pattern, self.layout.sizes)))] = part.vectors
        return packed

    def rerank(self, query: int, clips: Numbers) -> Numbers:
        """The best of these clips by their score."""
        scores = np.full(len(clips), -np.inf, np.float32)
        flags = self.available[clips]
        for part, vectors in zip(self.parts, self.prepared):
            its = np.flatnonzero((flags == part.pattern).all(1))
            scores[its] = part.vectors[self.place[clips[its]]] @ vectors[query]
        return clips[best(scores)]


def best(scores: Floats) -> Numbers:
    """Where the ten highest scores stand, best first."""
    count = min(BEST, len(scores))
    top = np.argpartition(scores, len(scores) - count)[len(scores) - count :]
    return top[np.argsort(-scores[top], kind="stable")]


def merged(case: Case, search: Callable[[int], tuple[Floats, Numbers]]) -> Numbers:
    """(Q, 10) of what `search` finds in every part."""
    found = [search(number) for number in range(len(case.parts))]
    scores = np.concatenate([scores for scores, _ in found], 1)
    rows = np.concatenate([np.where(at < 0, -1, part.rows[at]) for part, (_, at) in zip(case.parts, found)], 1)
    order = np.argsort(-scores, axis=1, kind="stable")[:, :BEST]
    return np.take_along_axis(rows, order, 1)
