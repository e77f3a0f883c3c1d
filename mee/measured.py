"""Scores and right answers -> what a result says of both directions, and what a rank file says of each query."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from mee.direction import direction_of
from mee.ranking.positives import Positives
from mee.ranking.rank import Convention, Ranking, rank
from mee.ranking.scores import Scores
from mee.ranking.top import Top
from mee.result import Answer, Direction, Query
from mee.score_files.rank_file import ANSWERS

if TYPE_CHECKING:
    import pandas as pd

EXAMPLES = 6  # best queries, and worst


@dataclass(frozen=True)
class Names:
    """What queries and candidates are called."""

    query_ids: Sequence[str]  # (Q,)
    captions: Sequence[str] | None  # (Q,)
    clip_ids: Sequence[str]  # (G,)
    clips: pd.DataFrame | None = None  # index clip_id; columns video, start_s, end_s


@dataclass(frozen=True)
class Measured:
    """One ranking with everything that is made of it."""

    names: Names
    ranking: Ranking
    top: Top  # the first answers of every ranked query
    right: Tensor  # (N,) int64: the right candidate of each ranked query, the best-scored one
    right_scores: Tensor  # (N,)
    t2v: Direction
    v2t: Direction

    @property
    def query_ids(self) -> list[str]:
        """Of the ranked queries."""
        return [self.names.query_ids[query] for query in self.top.query.tolist()]

    @property
    def best(self) -> tuple[Query, ...]:
        """The queries that were ranked best; of equals, those that come first."""
        return self._examples(descending=False)

    @property
    def worst(self) -> tuple[Query, ...]:
        """The queries that were ranked worst; of equals, those that come first."""
        return self._examples(descending=True)

    def _examples(self, *, descending: bool) -> tuple[Query, ...]:
        order = self.ranking.t2v.rank.cpu().argsort(stable=True, descending=descending)
        return tuple(self._query(row) for row in order[:EXAMPLES].tolist())

    def _query(self, row: int) -> Query:
        query, names = int(self.top.query[row]), self.names
        answers = zip(self.top.candidate[row].tolist(), self.top.score[row].tolist())
        return Query(
            query_id=names.query_ids[query],
            caption=None if names.captions is None else names.captions[query],
            rank=float(self.ranking.t2v.rank[row]),
            right=self._answer(int(self.right[row]), float(self.right_scores[row])),
            top=tuple(self._answer(candidate, score) for candidate, score in answers),
        )

    def _answer(self, candidate: int, score: float) -> Answer:
        clip_id, clips = self.names.clip_ids[candidate], self.names.clips
        where: Mapping[str, Any] = {}
        if clips is not None and clip_id in clips.index:
            row = clips.loc[[clip_id], ["video", "start_s", "end_s"]].to_dict("records")[0]
            where = {"video": str(row["video"]), "start_s": float(row["start_s"]), "end_s": float(row["end_s"])}
        return Answer(clip_id=clip_id, score=score, **where)


def measure(
    scores: Scores,
    positives: Positives,
    names: Names,
    *,
    v2t: Convention = "closest",
    resamples: int = 1000,
    seed: int = 0,
    shared: bool = False,
) -> Measured:
    """Rank both ways, and sum up.

    Args:
        scores: of Q queries and G candidates.
        positives: their right pairs.
        names: of both.
        v2t: see mee.ranking.rank.
        resamples: of the bootstrap; 0: no intervals.
        seed: of the bootstrap.
        shared: see mee.ranking.rank.
    """
    ranking = rank(scores, positives, v2t=v2t, top=ANSWERS, shared=shared)
    assert ranking.top
    right, right_scores = _best_right(scores, positives)
    return Measured(
        names,
        ranking,
        ranking.top,
        right,
        right_scores,
        direction_of(ranking.t2v, resamples=resamples, seed=seed),
        direction_of(ranking.v2t, resamples=resamples, seed=seed),
    )


def _best_right(scores: Scores, positives: Positives) -> tuple[Tensor, Tensor]:
    """The best-scored right candidate of each query that has one, by query, and its score."""
    query, candidate = positives.query.to(scores.device), positives.candidate.to(scores.device)
    values = scores.pairs(query, candidate)
    order = values.argsort(descending=True, stable=True)
    order = order[query[order].argsort(stable=True)]
    first = torch.ones(len(order), dtype=torch.bool, device=order.device)
    first[1:] = query[order][1:] != query[order][:-1]
    return candidate[order][first].cpu(), values[order][first].cpu()
