"""Expected ranks, both ways, from scores in blocks.

    rank(q) = 1 + #{j not in P(q): S_qj > s+} + 1/2 #{j not in P(q): S_qj = s+},    s+ = max of S_qj over P(q)

P(q): the right answers of q. Text to video, every caption is a query. Video to text, every candidate that has
captions is a query, under one of three conventions:

closest   its rank is that of its closest own caption among all captions that are not its own
video     captions of one video compete as one, by their maximum: the rank of the own video among all videos
each      every own caption in turn is the only right one, and its other own captions are wrong

One pass over the blocks serves both directions. The thresholds s+ are known before it from `Scores.pairs`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor

from mee.errors import InputError
from mee.ranking.counts import Counts, GroupCounts, Ranks, Side, group_bounds
from mee.ranking.scores import Positives, Scores, query_parts
from mee.ranking.top import Top, top_of_block

Convention = Literal["closest", "video", "each"]
CONVENTIONS: dict[Convention, str] = {
    "closest": "closest own caption among all captions",
    "video": "best caption of each video, videos ranked",
    "each": "every own caption in turn the only right one",
}


@dataclass(frozen=True)
class Ranking:
    """Both directions."""

    t2v: Ranks
    v2t: Ranks
    top: Top | None  # first answers of every query that has a right one


@torch.no_grad()
def rank_queries(scores: Scores, positives: Positives, *, v2t: Convention = "closest", top: int = 0) -> Ranking:
    """Rank every query that has a right answer.

    Args:
        scores: of Q queries and G candidates.
        positives: at least one; queries without any are wrong answers of the other direction all the same.
        v2t: the convention of the other direction. "video" wants captions of the same video side by side.
        top: how many answers to keep of each query.

    Raises:
        InputError: a score is NaN.
        ValueError: there is nothing to rank.
    """
    if not len(positives):
        raise ValueError("no query has a right answer among the candidates")
    positives = positives.to(scores.device).by_query()
    right = scores.pairs(positives.query, positives.candidate)
    _refuse_nan(right)
    forth, back = Side.of(positives, right), Side.of(positives.flipped, right)
    bounds = group_bounds(positives) if v2t == "video" else None
    rows = Counts(forth.thresholds, scores)
    columns: Counts | GroupCounts
    if bounds is not None:
        columns = GroupCounts(back.thresholds[:, 0], scores, bounds)
    else:
        columns = Counts(back.thresholds if v2t == "each" else back.thresholds[:, :1], scores)
    tops = []
    for part in _parts(scores, bounds):
        block = scores.block(part)
        if block.amax().isnan():  # much cheaper than isnan
            _refuse_nan(block)
        if top:
            tops.append(top_of_block(scores, block, part, top))
        mine = slice(
            *torch.searchsorted(positives.query, positives.query.new_tensor([part.start, part.stop])).tolist()
        )
        block[positives.query[mine] - part.start, positives.candidate[mine]] = -torch.inf
        rows.by_row(block, part)
        columns.by_column(block, part)
    t2v = forth.best(rows.above, rows.level)
    if v2t == "each":
        other = back.each(columns.above, columns.level)
    else:
        other = back.closest(columns.above, columns.level, columns.competitors)
    return Ranking(t2v, other, Top.joined(tops).of(t2v.query.cpu()) if top else None)


def _refuse_nan(scores: Tensor) -> None:
    if count := int(scores.isnan().sum()):
        raise InputError(f"{count:,} scores are NaN, and NaN has no rank; the model or its streams are spoilt")


def _parts(scores: Scores, bounds: Tensor | None) -> Iterator[slice]:
    """The queries, a block's worth at a time; with bounds, no group of them is divided."""
    parts = query_parts(scores.queries, scores.candidates)
    if bounds is None:
        return parts
    cuts = bounds[torch.searchsorted(bounds, torch.tensor([0, *(part.stop for part in parts)]))].unique()
    return (slice(start, stop) for start, stop in pairwise(cuts.tolist()))
