"""Figures of ranks, their bootstrap intervals over queries, and how far two systems differ over the same queries.

    rank(q) = 1 + #{j not in P(q): S_qj > s+} + 1/2 #{j not in P(q): S_qj = s+},    s+ = max of S_qj over P(q)

P(q): the right answers of q. This is the expected rank under ties (mee.ranking): a constant score never earns a
perfect R@1.

    R@K = 100 * mean[rank <= K]     Geom = (R@1 * R@5 * R@10)^(1/3)     MRR = 100 * mean[1 / rank]
    multiple choice: accuracy = 100 * mean over questions of [s_answer = max] / #{sentences that share the maximum}

MedR and MeanR are the median and the mean rank. The accuracy is the expected one under ties, too: of five
sentences, a constant score answers one in five. A new figure is a line in `retrieval_metrics` and in `_figures`,
and if it is a mean over queries, in `query_values`.

Intervals (Efron, 1979; the percentile method):

    resample    N of N values, drawn with replacement
    interval    from the 2.5 % to the 97.5 % quantile of a figure over the resamples

A resample is drawn as multinomial counts of the distinct ranks: a tenth of the time of resampled ranks (and of
scipy.stats.bootstrap).

Paired comparison, with captions of one clip as one cluster:

    d_q = b_q - a_q,    D = mean over the N queries of d_q
    s.e.(D)^2 = C / (C - 1) * sum over the C clusters c of (sum over q in c of (d_q - D))^2 / N^2

Captions of one clip find the same clip among the same others, so their ranks are not independent: a standard error
over queries would be too small. D is a ratio of two sums over clusters, of d_q and of 1, and this is the usual
variance of a ratio estimator (Cochran, Sampling Techniques, 1977, chapter 6), equal to the cluster-robust one of
Liang and Zeger (Biometrika, 1986). With one caption a clip it is the standard error of a mean of N differences.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import nan, sqrt
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mee.errors import require
from mee.evaluation.result import Choice, Direction

if TYPE_CHECKING:
    from torch import Tensor

KS = (1, 5, 10, 50)
MEAN = "mR"  # mean of R@1, R@5 and R@10
LEVEL = 0.95
CHUNK = 2**22  # counts held at a time
DRAWS_A_COUNT = 32  # values that are drawn in the time of one multinomial count


def retrieval_metrics(ranks: Tensor, gains: Tensor | None = None) -> dict[str, float]:
    """Every figure of (Q,) ranks, and nDCG@10 of (Q,) gains; shares in percent."""
    require(len(ranks) > 0, "no query was ranked")
    ranks = ranks.double()
    found = {f"R@{k}": 100 * (ranks <= k).double().mean().item() for k in KS}
    return {
        **found,
        "MedR": float(np.median(ranks.cpu().numpy())),
        "MeanR": ranks.mean().item(),
        MEAN: (found["R@1"] + found["R@5"] + found["R@10"]) / 3,
        "Geom": float(np.cbrt(found["R@1"] * found["R@5"] * found["R@10"])),
        "MRR": 100 * (1 / ranks).mean().item(),
        **({} if gains is None else {"nDCG@10": 100 * gains.double().mean().item()}),
    }


def query_values(rank: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
    """(N,) ranks -> (N,) values of each query, whose mean is the figure of that name."""
    found = {f"R@{k}": np.where(rank <= k, 100.0, 0.0) for k in KS}
    mean = (found["R@1"] + found["R@5"] + found["R@10"]) / 3
    return {**found, "MeanR": rank, MEAN: mean, "MRR": 100 / rank}


def bootstrap_intervals(
    ranks: Tensor, gains: Tensor, *, resamples: int = 1000, seed: int = 0
) -> dict[str, tuple[float, float]]:
    """95 % intervals of every figure of `retrieval_metrics`, of (N,) expected ranks and nDCG@10, N at least 1.

    None for 0 resamples; `seed` is that of the draws.
    """
    if not resamples:
        return {}
    rank, counts = np.unique(ranks.double().cpu().numpy(), return_counts=True)
    drawn: dict[str, list[NDArray[np.float64]]] = {}
    for weights in _resampled(counts, resamples, seed):
        for name, figures in _figures(weights, rank).items():
            drawn.setdefault(name, []).append(figures)
    return {
        **{name: _ends(np.concatenate(parts)) for name, parts in drawn.items()},
        "nDCG@10": mean_interval(100 * gains.double().cpu().numpy(), resamples=resamples, seed=seed),
    }


def mean_interval(values: NDArray[np.float64], *, resamples: int, seed: int) -> tuple[float, float]:
    """95 % interval of the mean of (N,) values, N at least 1."""
    distinct, counts = np.unique(values, return_counts=True)
    means = [weights @ distinct / len(values) for weights in _resampled(counts, resamples, seed)]
    return _ends(np.concatenate(means))


def _resampled(counts: NDArray[np.int64], resamples: int, seed: int) -> Iterator[NDArray[np.int64]]:
    """How often each of U distinct values is drawn, (B, U) at a time; `counts` says how often it is there."""
    generator = np.random.default_rng(seed)
    total, chunk = int(counts.sum()), max(1, CHUNK // len(counts))
    few = len(counts) * DRAWS_A_COUNT <= total
    value_of = np.repeat(np.arange(len(counts), dtype=np.int32), 0 if few else counts)
    for start in range(0, resamples, chunk):
        size = min(chunk, resamples - start)
        if few:
            yield generator.multinomial(total, counts / total, size=size)
        else:
            draws = (value_of[generator.integers(total, size=total)] for _ in range(size))
            yield np.stack([np.bincount(each, minlength=len(counts)) for each in draws])


def _figures(weights: NDArray[np.int64], rank: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
    """(B,) of each figure, for (B, U) counts of U ranks that rise."""
    up_to = weights.cumsum(1)
    total = int(up_to[0, -1])
    places = {k: int(np.searchsorted(rank, k, side="right")) for k in KS}
    none = np.zeros(len(weights))
    found = {f"R@{k}": 100 * (up_to[:, n - 1] / total) if n else none for k, n in places.items()}
    middle = [rank[(up_to > place).argmax(1)] for place in ((total - 1) // 2, total // 2)]
    return {
        **found,
        "MedR": (middle[0] + middle[1]) / 2,
        "MeanR": weights @ rank / total,
        MEAN: (found["R@1"] + found["R@5"] + found["R@10"]) / 3,
        "Geom": np.cbrt(found["R@1"] * found["R@5"] * found["R@10"]),
        "MRR": 100 * (weights @ (1 / rank)) / total,
    }


def _ends(figures: NDArray[np.float64]) -> tuple[float, float]:
    low, high = np.quantile(figures, ((1 - LEVEL) / 2, (1 + LEVEL) / 2))
    return float(low), float(high)


def choice_accuracy(scores: Tensor, answer: Tensor, *, resamples: int = 1000, seed: int = 0) -> Choice:
    """Answer every question by the best of its sentences' (N, C) scores, no NaN.

    `answer`: (N,) int64 number of the right one, from 0; `resamples` over questions, 0: no interval.
    """
    require(len(scores) > 0, "there is no question to answer")
    nan, known = int(scores.isnan().sum()), (answer >= 0) & (answer < scores.shape[1])
    require(not nan, f"{nan} scores are NaN, and NaN is no answer")
    require(bool(known.all()), f"an answer is the number of a sentence, 0 to {scores.shape[1] - 1}")
    best = scores == scores.amax(1, keepdim=True)
    right = best.gather(1, answer.to(best.device)[:, None]).squeeze(1)
    credit = right.double().cpu() / best.sum(1).cpu()
    interval = mean_interval(100 * credit.numpy(), resamples=resamples, seed=seed) if resamples else None
    return Choice(questions=len(credit), accuracy=100 * float(credit.mean()), interval=interval)


def paired_difference(a: ArrayLike, b: ArrayLike, cluster: ArrayLike) -> tuple[float, float]:
    """The mean of b - a over paired queries, and its standard error, clustered.

    Args:
        a: (N,) a value for each query, such as 100 * (rank <= 1) for R@1 in percent, or a mean of it over seeds.
        b: (N,) values of the same queries in the same order.
        cluster: (N,) of any kind that can be sorted, such as clip ids: queries of one clip have equal values.

    Returns:
        The difference and its standard error, in the unit of the values; NaN for the error of a single cluster.

    Raises:
        ValueError: there is no query, the lengths differ, or a value is not finite.
    """
    a, b, groups = np.asarray(a, np.float64), np.asarray(b, np.float64), np.asarray(cluster)
    shapes = f"values and clusters must be vectors of one length, not 0, got {a.shape}, {b.shape}, {groups.shape}"
    require(b.ndim == 1 and a.shape == b.shape == groups.shape and len(b) > 0, shapes)
    each = b - a
    require(bool(np.isfinite(each).all()), "values must be finite")
    difference = float(each.mean())
    _, place = np.unique(groups, return_inverse=True)
    sums = np.bincount(place, each - difference)
    count = len(sums)
    return difference, sqrt(count / (count - 1) * float(sums @ sums)) / len(each) if count > 1 else nan


def clustered_errors(a: Sequence[Direction], b: Sequence[Direction]) -> dict[str, float]:
    """The standard errors of how far b's figures are from a's, of all that are means over queries.

    a and b are one direction of two systems over the same captions, each measured with one or more seeds. Their
    means are compared: the error is that over clips, not that of another training. {} where ranks are not kept, or
    are not of the same clips, two at least.
    """
    clips = {tuple(map(len, part.ranks)) for part in (*a, *b)}
    sizes = clips.pop()
    if clips or len(sizes) < 2:
        return {}

    def means(side: Sequence[Direction]) -> dict[str, NDArray[np.float64]]:
        seeds = [query_values(np.concatenate(part.ranks)) for part in side]
        return {name: np.mean([seed[name] for seed in seeds], axis=0) for name in seeds[0]}

    old, new, cluster = means(a), means(b), np.repeat(np.arange(len(sizes)), sizes)
    return {name: paired_difference(old[name], new[name], cluster)[1] for name in old}
