"""Feedback: what marks of clips make of a query. They add a term, and move the weights of its experts.

Marks are choices of a *near* clip before *far* ones: of every good clip before the bad ones, and, of the pairs
of `closer`, of each first clip before those that it is closer than. With x_m(v) the unit vector of a clip by
expert m, and k_u the sum over choices of 1 for the near clip and -1 / n for each of n far ones (bad clips
without a good one: -1 / n each), the term scores a clip v

    sum over m in A(v) of e_m / s_m * sum over marked u that have m of k_u (<x_m(u), x_m(v)> - c_m)
                        + STREAMS / n * sum over marked u of k_u ([u has m] - p_m)

one step of logistic regression on the choices, from no opinion (choices as in Cox et al., PicHunter, IEEE Trans.
Image Processing 9, 2000; the step is that of Rocchio, in Salton, The SMART Retrieval System, 1971, chapter 14).
c_m and s_m are mean and standard deviation of the similarity of two clips, p_m is the share of clips that have
m, n the norm of p_m (1 - p_m), all over a bank of the gallery's clips. So experts count alike whatever their
scale; by a stream that one of two clips lacks they are neither alike nor unlike; and that clips have a stream,
or lack it, is one more thing that near ones may have in common. What one choice adds spreads SHARE times as much
as the query's scores.

The weights w_m of the query, and the equal ones e_m of the term, of norm 1, become those of a posterior
(comparisons as of Bradley and Terry, Biometrika 39, 1952):

    w'_m ~ w_m exp(L_m),   e_m ~ exp(L_m),   L_m = MOST tanh(R_m / MOST)
    R_m = sum over choices of the mean over far clips of log(2 sigmoid(z_m(near) - z_m(far)))

z_m(v) is the mean of v's similarity to the query and of that to each near clip of other choices, by expert m,
each in its standard deviations. So an expert that puts near clips before far ones gains; where a clip lacks m,
nothing is said of m. Marks change the ratio of two weights by a factor of at most exp(2 MOST), and never make
one 0. All are sums over sets of marks, so their order changes nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import chain
from typing import TYPE_CHECKING, final

import numpy as np

from index.queries import Doubles, Queries
from index.request.request import Request
from mee.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from index.video_index import VideoIndex

BANK = 256  # clips, at most
SMALL = 1e-6  # norms and deviations below it are 0
SHARE, STREAMS, MOST = 0.5, 0.6, 1.0


@final
class Clips:
    """Some clips of an index; of words, the mean of their vectors."""

    def __init__(self, video_index: VideoIndex, places: Sequence[tuple[int, int]]) -> None:
        """places: segments' numbers and rows of their tables."""
        packed, self.there = video_index.snapshot.vectors(places)  # (N, E), (N, M)
        self.layout, self.packed = video_index.layout, packed.astype(np.float64)

    def similarities(self, packed: NDArray[np.floating]) -> Doubles:
        """(T, E) vectors -> (N, T, M); 0 where a clip lacks the expert."""
        parts = [self.packed[:, its] @ packed[:, its].T.astype(np.float64) for its in self.layout.slices]
        return np.where(self.there[:, None], np.stack(parts, axis=-1), 0.0)


@final
class Bank:
    """Clips with a stream, some of an index by chance, by which similarities are measured."""

    def __init__(self, video_index: VideoIndex) -> None:
        places = video_index.snapshot.sample[:BANK]
        self.clips = clips = Clips(video_index, places)
        self.having = clips.there.mean(0) if places else np.zeros(len(video_index.layout.names))  # (M,) p
        two = clips.there[:, None] & clips.there & ~np.eye(len(places), dtype=bool)[..., None]
        self.mean, self.deviation = _moments(clips.similarities(clips.packed), two, axis=(0, 1))  # (M,) c, s

    def deviations(self, packed: NDArray[np.floating]) -> Doubles:
        """(T, E) vectors -> (T, M) standard deviations of clips' similarities to them."""
        return _moments(self.clips.similarities(packed), self.clips.there[:, None], axis=(0,))[1]


def _moments(values: Doubles, counted: NDArray[np.bool_], axis: tuple[int, ...]) -> tuple[Doubles, Doubles]:
    """Means, and standard deviations, 1 where they are 0, of the values that are counted."""
    count = np.maximum(counted.sum(axis), 1)
    mean = np.where(counted, values, 0.0).sum(axis) / count
    deviation = np.sqrt((np.where(counted, values - mean, 0.0) ** 2).sum(axis) / count)
    return mean, np.where(deviation > SMALL, deviation, 1.0)


def with_marks(query: Queries | None, request: Request, video_index: VideoIndex, bank: Bank) -> Queries:
    """A single query as the marks of a request change it; None: the marks are the query, and one is good.

    It covers the clips that the query covers; marks alone cover those that share an expert with a good one. The
    experts of the request's `only` stay the only ones, and its `weights` are not moved.

    Raises:
        InputError: a marked clip is not there, or has no stream; or the good ones have no expert that is used.
    """
    layout = video_index.layout
    names = sorted({*request.good, *request.bad, *chain.from_iterable(request.closer)})
    marked, row = Clips(video_index, [*map(video_index.find, names)]), {name: n for n, name in enumerate(names)}
    if not marked.there.any(1).all():
        name = names[int(marked.there.any(1).argmin())]
        raise InputError(f"clip {name!r} has no stream, so nothing can be like it")
    good, bad = ({row[name] for name in its} for its in (request.good, request.bad))
    choices = [(near, sorted(bad)) for near in sorted(good)]
    pairs = sorted({(row[near], row[far]) for near, far in request.closer})
    choices += [(near, [far for one, far in pairs if one == near]) for near in sorted({near for near, _ in pairs})]
    counts = np.zeros(len(names))  # k
    for near, far in choices:
        counts[near] += 1
        counts[far] -= 1 / max(1, len(far))
    if bad and not good:
        counts[sorted(bad)] -= 1 / len(bad)

    used = np.array([name in (request.only or layout.names) for name in layout.names])
    said = np.zeros(len(used)) if request.weights else _said(query, marked, bank, choices)
    if request.weights:
        weights = np.array([request.weights.get(name, 0.0) for name in layout.names])
    else:
        weights = np.where(used, np.exp(said) / bank.deviation, 0.0)
    if query is None:
        weights = np.where(marked.there[sorted(good)].any(0), weights, 0.0)
        if not weights.any():
            words = "has none of the experts that the search uses, so nothing can be like it"
            raise InputError(f"clip {min(request.good)!r} {words}")
        return _term(marked, counts, weights, bank)[0]
    query = replace(query, logits=query.logits + said)
    shares = np.abs(query.factors(np.ones((1, len(used)), bool), layout.missing)[0, 0])  # (T, M)
    spread = np.linalg.norm((shares * bank.deviations(query.packed[0])).sum(0))
    term, size = _term(marked, counts, weights, bank)
    return Queries.mixture([(1.0, query), (SHARE * float(spread) * size, term)])


def _term(marked: Clips, counts: Doubles, weights: Doubles, bank: Bank) -> tuple[Queries, float]:
    """The term with (M,) weights, and by what its scores are to be multiplied."""
    weights = weights / weights.sum()
    of_experts = counts[:, None] * marked.there  # (N, M)
    parts = [of_experts[:, m] @ marked.packed[:, its] for m, its in enumerate(marked.layout.slices)]
    longest = max(float(np.linalg.norm(part)) for part in parts)
    longest = longest if longest > SMALL else 1.0
    norm = float(np.linalg.norm(weights * bank.deviation))
    spread = float(np.linalg.norm(bank.having * (1 - bank.having)))
    having = counts @ (marked.there - bank.having) * (STREAMS / spread if spread > SMALL else 0.0)
    added = np.divide(having * norm, weights, out=np.zeros_like(weights), where=weights > 0)
    offsets = (bank.mean * of_experts.sum(0) - added) / longest
    with np.errstate(divide="ignore"):
        logits = np.log(weights)
    packed = (np.concatenate(parts) / longest).astype(np.float32)
    return Queries(packed[None, None], logits[None, None], offsets[None, None], np.ones((1, 1))), longest / norm


def _said(
    query: Queries | None, marked: Clips, bank: Bank, choices: Sequence[tuple[int, Sequence[int]]]
) -> Doubles:
    """(M,) what choices of near and far clips say about the experts: L."""
    like = marked.similarities(marked.packed) / bank.deviation  # (N, N, M), of each clip to each
    known = marked.there[:, None] & marked.there
    if query is not None:
        signs = query.share[0][:, None] * np.isfinite(query.logits[0])  # (T, M)
        ours, theirs = ((its.similarities(query.packed[0]) * signs).sum(1) for its in (marked, bank.clips))
        deviation = _moments(theirs, bank.clips.there, axis=(0,))[1]
        like = np.concatenate([like, (ours / deviation)[:, None]], axis=1)
        known = np.concatenate([known, (marked.there & signs.any(0))[:, None]], axis=1)
    total, nears = np.zeros(like.shape[-1]), {near for near, _ in choices}
    for near, far in choices:
        others = [*sorted(nears - {near, *far}), *range(len(like), like.shape[1])]  # the last is the query
        if others and far:
            both = known[near, others] & known[far][:, others]  # (F, O, M): a far clip, and what it is compared to
            z = like[near, others] - like[far][:, others]
            z = np.where(both, z, 0.0).sum(1) / np.maximum(both.sum(1), 1)
            counted = both.any(1)
            said = np.where(counted, np.log(2) - np.logaddexp(0, -z), 0.0)
            total += said.sum(0) / np.maximum(counted.sum(0), 1)
    return np.asarray(MOST * np.tanh(total / MOST))
