"""Scores and right pairs -> ranks, figures, and each query's first answers: for training, models and score files.

    recall      (K, R@K) at K = 1, 2, 3, 5, 7, 10, 20, 30, 50, 70, 100, … up to all candidates
    histogram   queries by rank: 1, 2, 3-4, 5-8, 9-16, … up to all candidates

An expected rank between two whole ones counts as the later one. The rank file has a row a query, .csv or .parquet:

    query_id, rank, right_clip_id, top_1, …, top_10, score_1, …, score_10

rank            expected rank of the best-scored right clip; halves where it ties with wrong ones
right_clip_id   that clip
top_k, score_k  the k-th answer and its score; empty where the gallery has fewer clips

In .csv a score is the shortest number that gives back the same float, of the type that was compared.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from mee.evaluation.metrics import bootstrap_intervals, retrieval_metrics
from mee.evaluation.result import Answer, Direction, Query
from mee.files import whole_file
from mee.ranking import Convention, Positives, Ranking, Ranks, Scores, Top, rank_queries

if TYPE_CHECKING:
    import pandas as pd

STEPS = (1, 2, 3, 5, 7)  # of the recall curve, times 1, 10, 100, …
EXAMPLES = 6  # best queries, and worst
ANSWERS = 10  # that are kept of each query
Floats = tuple[tuple[float, ...], ...]


@dataclass(frozen=True)
class Names:
    """Names of queries and candidates."""

    query_ids: Sequence[str]  # (Q,)
    captions: Sequence[str] | None  # (Q,)
    clip_ids: Sequence[str]  # (G,)
    clips: pd.DataFrame | None = None  # index clip_id; columns video, start_s, end_s


@dataclass(frozen=True)
class Answers:
    """The first answers to N ranked queries, text to video."""

    names: Names
    rank: Tensor  # (N,) float64
    top: Top
    right: Tensor  # (N,) int64: the right candidate of each query, the best-scored one
    right_scores: Tensor  # (N,)

    @property
    def query_ids(self) -> list[str]:
        """Of the ranked queries."""
        return [self.names.query_ids[query] for query in self.top.query.tolist()]

    def examples(self, *, descending: bool) -> tuple[Query, ...]:
        """The queries with the best ranks, or in descending order the worst; of equals, those that come first."""
        order = self.rank.argsort(stable=True, descending=descending)
        return tuple(self._query(row) for row in order[:EXAMPLES].tolist())

    def _query(self, row: int) -> Query:
        query, captions = int(self.top.query[row]), self.names.captions
        answers = zip(self.top.candidate[row].tolist(), self.top.score[row].tolist())
        return Query(
            query_id=self.names.query_ids[query],
            caption=None if captions is None else captions[query],
            rank=float(self.rank[row]),
            right=self._answer(int(self.right[row]), float(self.right_scores[row])),
            top=tuple(self._answer(candidate, score) for candidate, score in answers),
        )

    def _answer(self, candidate: int, score: float) -> Answer:
        clip_id, clips = self.names.clip_ids[candidate], self.names.clips
        place: Mapping[str, Any] = {}
        if clips is not None and clip_id in clips.index:
            row = clips.loc[[clip_id], ["video", "start_s", "end_s"]].to_dict("records")[0]
            place = {"video": str(row["video"]), "start_s": float(row["start_s"]), "end_s": float(row["end_s"])}
        return Answer(clip_id=clip_id, score=score, **place)


@dataclass(frozen=True)
class Measured:
    """One ranking, summed up."""

    ranking: Ranking
    t2v: Direction
    v2t: Direction
    answers: Answers | None  # None where no names were given
    digest: str = ""  # of the ranked captions, where names were given
    judgments: int = 0  # right pairs
    shared: int = 0  # captions whose text is right for other clips, too, where names were given


def measure_scores(
    scores: Scores,
    positives: Positives,
    names: Names | None = None,
    *,
    v2t: Convention = "closest",
    resamples: int = 0,
) -> Measured:
    """Rank both ways, and sum up.

    With names, each query's first answers are kept; `resamples` are the bootstrap's, 0: no intervals.
    """
    ranking = rank_queries(scores, positives, v2t=v2t, top=ANSWERS if names else 0)
    ways = [direction_of(ranks, resamples=resamples) for ranks in (ranking.t2v, ranking.v2t)]
    answers, digest, shared = None, "", 0
    if names and ranking.top:
        shared = shared_captions(names.captions or names.query_ids, positives)
        answers = Answers(names, ranking.t2v.rank.cpu(), ranking.top, *_best_right(scores, positives))
        digest, *kept = _by_clip(ranking, positives, names)
        ways = [way.model_copy(update={"ranks": ranks}) for way, ranks in zip(ways, kept)]
    return Measured(ranking, ways[0], ways[1], answers, digest, len(positives), shared)


def shared_captions(captions: Sequence[str], positives: Positives) -> int:
    """The captions whose text is right for clips, too, that they are not right for themselves."""
    right: dict[int, set[int]] = {}
    of_text: dict[str, set[int]] = {}
    for query, clip in zip(positives.query.tolist(), positives.candidate.tolist()):
        right.setdefault(query, set()).add(clip)
        of_text.setdefault(captions[query], set()).add(clip)
    return sum(clips != of_text[captions[query]] for query, clips in right.items())


def _by_clip(ranking: Ranking, positives: Positives, names: Names) -> tuple[str, Floats, Floats]:
    """A digest of the ranked captions; and the ranks both ways by clip, clips by the least id of their captions.

    So the order depends on the captions alone, and is the same for every store and every file of scores.
    """
    ids, least, own = names.query_ids, dict[int, str](), dict[int, str]()
    pairs = list(zip(positives.query.tolist(), positives.candidate.tolist()))
    for query, clip in pairs:
        least[clip] = min(least.get(clip, ids[query]), ids[query])
    for query, clip in pairs:
        own[query] = min(own.get(query, least[clip]), least[clip])

    def grouped(ranks: Ranks, keys: Sequence[tuple[str, ...]]) -> Floats:
        rows = groupby(sorted(zip(keys, ranks.rank.tolist())), lambda row: row[0][0])
        return tuple(tuple(rank for _, rank in group) for _, group in rows)

    words = names.captions or [""] * len(ids)
    asked = [(own[query], ids[query], words[query]) for query in ranking.t2v.query.tolist()]
    digest = sha256(json.dumps(sorted(asked)).encode()).hexdigest()
    clips = [(least[clip],) for clip in ranking.v2t.query.tolist()]
    return digest, grouped(ranking.t2v, asked), grouped(ranking.v2t, clips)


def _best_right(scores: Scores, positives: Positives) -> tuple[Tensor, Tensor]:
    """The best-scored right candidate of each query that has one, by query, and its score."""
    query, candidate = positives.query.to(scores.device), positives.candidate.to(scores.device)
    values = scores.pairs(query, candidate)
    order = values.argsort(descending=True, stable=True)
    order = order[query[order].argsort(stable=True)]
    first = torch.ones(len(order), dtype=torch.bool, device=order.device)
    first[1:] = query[order][1:] != query[order][:-1]
    return candidate[order][first].cpu(), values[order][first].cpu()


def direction_of(ranks: Ranks, *, resamples: int) -> Direction:
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
    ascending = ranks.rank.sort().values
    found = torch.searchsorted(ascending, torch.tensor(depths).to(ascending), right=True)
    return tuple(zip(depths, (100 * (found.double() / len(ascending))).tolist()))  # in float64, as R@K is


def _histogram(ranks: Ranks) -> tuple[tuple[str, int], ...]:
    """A bin holds the ranks that, less 1, have the same number of binary digits."""
    before = np.ceil(ranks.rank.cpu().numpy()).astype(np.int64) - 1
    counts = np.bincount(np.frexp(before)[1], minlength=(ranks.candidates - 1).bit_length() + 1)
    ends = [(2**digits // 2 + 1, min(2**digits, ranks.candidates)) for digits in range(len(counts))]
    names = (str(low) if low == high else f"{low}-{high}" for low, high in ends)
    return tuple(zip(names, counts.tolist()))


def write_ranks(path: Path, answers: Answers) -> None:
    """Write the rank file atomically.

    Raises:
        InputError: the path cannot be written to.
    """
    import pandas as pd

    top, names = answers.top, np.array(answers.names.clip_ids, dtype=object)
    count, found = top.candidate.shape
    ids, scores = np.full((count, ANSWERS), None), np.full((count, ANSWERS), np.nan, top.score.numpy().dtype)
    ids[:, :found], scores[:, :found] = names[top.candidate.numpy()], top.score.numpy()
    texts = {"query_id": answers.query_ids, "right_clip_id": names[answers.right.numpy()]}
    texts |= {f"top_{k + 1}": ids[:, k] for k in range(ANSWERS)}
    with whole_file(path, "ranks") as aside:
        table = pd.DataFrame(texts, dtype="string")
        table.insert(1, "rank", answers.rank.numpy())
        table = table.assign(**{f"score_{k + 1}": scores[:, k] for k in range(ANSWERS)})
        if path.suffix.lower() == ".csv":
            table.to_csv(aside, index=False, lineterminator="\r\n")  # RFC 4180: a lone \r in a name is quoted, too
        else:
            table.to_parquet(aside, index=False)
