"""One direction of a result, made of ranks: figures, intervals, the recall curve and the histogram of ranks.

    recall      (K, R@K) at K = 1, 2, 3, 5, 7, 10, 20, 30, 50, 70, 100, … up to all candidates
    histogram   queries by rank: 1, 2, 3-4, 5-8, 9-16, … up to all candidates

An expected rank between two whole ones counts as the later one.
"""

from __future__ import annotations

import numpy as np
import torch

from mee.bootstrap import bootstrap_intervals
from mee.metrics import retrieval_metrics
from mee.ranking.sides import Ranks
from mee.result import Direction

STEPS = (1, 2, 3, 5, 7)  # of the recall curve, times 1, 10, 100, …


def direction_of(ranks: Ranks, *, resamples: int, seed: int) -> Direction:
    """Sum up the ranks of one direction.

    Args:
        ranks: of at least one query.
        resamples: of the bootstrap; 0: no intervals.
        seed: of the bootstrap.
    """
    return Direction(
        queries=len(ranks.rank),
        candidates=ranks.candidates,
        metrics=retrieval_metrics(ranks.rank, ranks.gain),
        intervals=bootstrap_intervals(ranks.rank, ranks.gain, resamples=resamples, seed=seed),
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
