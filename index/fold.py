"""Fold: of hits that look and sound alike only the best is shown.

    alike(a, b)   a and b are clips of two videos, have the same streams, and of each of them
                  cosine of x_a - c and x_b - c >= ALIKE

x: a clip's vector by one expert; c: about the mean of all clips, which does not tell them apart (Snapshot.centre).
Clips of one video are not folded: they are moments of it, which grouping by video gathers.

In the order of the ranking, a hit goes to the one shown before it that it is most alike, or else is shown itself:
which ones are shown does not depend on how many are looked at.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, final

import numpy as np
from numpy.typing import NDArray

from index.hit import WIDENED, first_count

if TYPE_CHECKING:
    from index.hit import Hit
    from index.storage import Snapshot

ALIKE = 0.95
BLOCK = 256  # hits that are compared at a time


@final
class Folds:
    """Hits that are shown, each with those that are folded under it."""

    def __init__(self, snapshot: Snapshot) -> None:
        self.snapshot, self.shown, self.copies = snapshot, list["Hit"](), list[list[str]]()
        layout = snapshot.layout
        self._vectors = np.empty((0, layout.total), np.float32)  # of those that are shown, centred, norms of 1
        self._there = np.empty((0, len(layout.names)), np.bool_)

    def add(self, hits: Sequence[Hit]) -> None:
        """Fold the hits that follow, in the order of the ranking."""
        for start in range(0, len(hits), BLOCK):
            self._add(hits[start : start + BLOCK])

    def _add(self, hits: Sequence[Hit]) -> None:
        vectors, there = self.snapshot.vectors_of([hit.clip_id for hit in hits])
        vectors -= self.snapshot.centre
        for its in self.snapshot.layout.slices:
            norms = np.linalg.norm(vectors[:, its], axis=1, keepdims=True)
            np.divide(vectors[:, its], norms, out=vectors[:, its], where=norms > 0)
        before = len(self.shown)
        vectors, there = np.concatenate([self._vectors, vectors]), np.concatenate([self._there, there])
        nearest = self._nearest(vectors[before:], there[before:], vectors, there)
        rows = [*range(before)]  # of those that are shown
        for row, hit in enumerate(hits, before):
            of_others = np.array([shown.video != hit.video for shown in self.shown], dtype=bool)
            near = np.where(of_others, nearest[row - before, rows], -1.0)
            if len(near) and near.max() >= ALIKE:
                self.copies[int(near.argmax())].append(hit.clip_id)
                continue
            self.shown.append(hit)
            self.copies.append([])
            rows.append(row)
        self._vectors, self._there = vectors[rows], there[rows]

    def _nearest(
        self,
        vectors: NDArray[np.float32],
        there: NDArray[np.bool_],
        others: NDArray[np.float32],
        theirs: NDArray[np.bool_],
    ) -> NDArray[np.float32]:
        """(N, O) the least cosine of the streams of clips that have the same ones; -1: they have not."""
        least = np.where((there[:, None] == theirs).all(-1), np.float32(1), np.float32(-1))
        for m, its in enumerate(self.snapshot.layout.slices):
            some, them = np.flatnonzero(there[:, m]), np.flatnonzero(theirs[:, m])
            at = np.ix_(some, them)
            least[at] = np.minimum(least[at], vectors[some, its] @ others[them, its].T)
        return least


def folded(hits: Sequence[Hit], search: Callable[[int], Sequence[Hit]], snapshot: Snapshot, top: int) -> list[Hit]:
    """The `top` best of hits that are not alike, each with the others; fewer where no more can be found.

    hits: the best `first_count(top)`; search: finds as many as it is given, the same ones first.
    """
    folds, count, done = Folds(snapshot), first_count(top), 0
    while True:
        folds.add(hits[done:])
        if len(folds.shown) >= top or len(hits) < count:
            break
        count, done = count * WIDENED, len(hits)
        hits = search(count)
    both = zip(folds.shown[:top], folds.copies)
    return [replace(hit, rank=rank, copies=tuple(copies)) for rank, (hit, copies) in enumerate(both, 1)]
