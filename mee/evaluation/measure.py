"""Scores and right answers -> what a result says of both directions, and what a rank file says of each query.

    recall      (K, R@K) at K = 1, 2, 3, 5, 7, 10, 20, 30, 50, 70, 100, … up to all candidates
    histogram   queries by rank: 1, 2, 3-4, 5-8, 9-16, … up to all candidates

An expected rank between two whole ones counts as the later one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from mee.evaluation.metrics import LEVEL, bootstrap_intervals, retrieval_metrics
from mee.evaluation.result import Answer, Direction, Normalisation, ProtocolFacts, Query, Rules
from mee.protocols import Benchmark, file_stamp
from mee.ranking import CONVENTIONS, Convention, Positives, Ranking, Ranks, Scores, Top, rank_queries

if TYPE_CHECKING:
    import pandas as pd


STEPS = (1, 2, 3, 5, 7)  # of the recall curve, times 1, 10, 100, …


def direction_of(ranks: Ranks, *, resamples: int) -> Direction:
    """Sum up the ranks of one direction; `resamples` of the bootstrap, 0: no intervals."""
    return Direction(
        queries=len(ranks.rank),
        candidates=ranks.candidates,
        metrics=retrieval_metrics(ranks.rank, ranks.gain),
        intervals=bootstrap_intervals(ranks.rank, ranks.gain, resamples=resamples),
        recall=_recall(ranks),
        histogram=_histogram(ranks),
    )


def _recall(ranks: Ranks) -> tuple[tuple[int, float], ...]:
    rounds = [step * 10**decade for decade in range(len(str(ranks.candidates))) for step in STEPS]
    depths = [*(depth for depth in rounds if depth < ranks.candidates), ranks.candidates]
    risen = ranks.rank.sort().values
    found = torch.searchsorted(risen, torch.tensor(depths).to(risen), right=True)
    return tuple(zip(depths, (100 * (found.double() / len(risen))).tolist()))  # as R@K is computed: in float64


def _histogram(ranks: Ranks) -> tuple[tuple[str, int], ...]:
    behind_first = np.ceil(ranks.rank.cpu().numpy()).astype(np.int64) - 1
    counts = np.bincount(np.frexp(behind_first)[1], minlength=(ranks.candidates - 1).bit_length() + 1)
    return tuple((_bin(number, ranks.candidates), int(count)) for number, count in enumerate(counts))


def _bin(number: int, candidates: int) -> str:
    """What the ranks are called that, less 1, have so many binary digits."""
    low, high = 2**number // 2 + 1, min(2**number, candidates)
    return str(low) if low == high else f"{low}-{high}"


EXAMPLES = 6  # best queries, and worst
ANSWERS = 10  # that are kept of each query


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


def measure_scores(
    scores: Scores,
    positives: Positives,
    names: Names,
    *,
    v2t: Convention = "closest",
    resamples: int = 1000,
) -> Measured:
    """Rank both ways, and sum up; arguments as those of `rank` and `direction_of`."""
    ranking = rank_queries(scores, positives, v2t=v2t, top=ANSWERS)
    assert ranking.top
    right, right_scores = _best_right(scores, positives)
    return Measured(
        names,
        ranking,
        ranking.top,
        right,
        right_scores,
        direction_of(ranking.t2v, resamples=resamples),
        direction_of(ranking.v2t, resamples=resamples),
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


def rules_of(v2t: Convention, normalisation: Normalisation, resamples: int) -> Rules:
    """How it was measured."""
    how = f"{100 * LEVEL:g} % bootstrap over queries, {resamples:,} resamples, seed 0"
    return Rules(v2t=CONVENTIONS[v2t], normalisation=normalisation, intervals=how if resamples else "")


def protocol_facts(
    benchmark: Benchmark,
    *,
    split: str,
    queries: int,
    gallery: int,
    missing: Sequence[str] = (),
    left_out: Sequence[str] = (),
    **others: Any,
) -> ProtocolFacts:
    """What was asked; partial where anything falls short of the protocol, counts that nobody explained included.

    Arguments are as ProtocolFacts has them; `missing` and the benchmark's shortfalls become one.
    """
    protocol, test = benchmark.protocol, split == "test"
    short = (*(benchmark.shortfalls if test else ()), *missing)
    if test and not short and not left_out:
        counts = (("queries", queries, protocol.queries), ("clips", gallery, protocol.gallery))
        short = tuple(
            f"{count:,} {what}, and {protocol.name} has {expected:,}"
            for what, count, expected in counts
            if expected is not None and count != expected
        )
    return ProtocolFacts(
        name=protocol.name,
        title=protocol.title,
        split=split,
        query_rule=protocol.query_rule,
        queries=queries,
        gallery=gallery,
        expected_queries=protocol.queries if test else None,
        expected_gallery=protocol.gallery if test else None,
        partial=bool(short or left_out),
        missing=short,
        left_out=tuple(left_out),
        files={role: file_stamp(file) for role, file in benchmark.files.items()},
        **others,
    )
