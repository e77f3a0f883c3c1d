"""Feedback: what marks of clips make of a query. They add a term, and move the weights of its experts.

With x_m(v) the unit vector of a marked clip by expert m, G the good clips, B the bad ones, and P the pairs (near,
far) of `closer`, as far as they have m, the term is, for each expert alone (Rocchio, in Salton, The SMART
Retrieval System, 1971, chapter 14):

    u_m = mean over G of x_m - BAD * mean over B of x_m + CLOSER * mean over P of (x_m(near) - x_m(far))
    t_m = u_m / |u_m|,   0 where the marks say nothing

Every good clip beside every bad one, and every pair of `closer`, says something about the experts, too: one that
puts near clips before far ones tells what is meant. Their weights become those of a posterior (comparisons as of
Bradley and Terry, Biometrika 39, 1952; pairs that share their near clip are one observation):

    w'_m ~ w_m exp(L_m),   L_m = MOST tanh(R_m / MOST)
    R_m = sum over near clips of the mean over their far clips of log(2 sigmoid(SLOPE * (z_m(near) - z_m(far))))

z_m(v) is the similarity of v and the query by expert m, in standard deviations over a bank of the gallery's clips.
Where a clip of a pair lacks m, the pair says nothing: its part is 0. So marks change the ratio of two weights by a
factor of at most exp(2 MOST), and never make one 0.

The term's own weights are the mean of w' and equal ones; its scores spread over the bank SHARE times as much as
those of the query. Its similarities count from their mean over the bank, so that a missing stream, 0, is no
evidence. Marks alone are a query that is this term. Everything is a sum over sets of marks, so their order changes
nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import chain, product
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
SHARE, BAD, CLOSER = 0.7, 0.25, 0.25
SLOPE, MOST = 0.5, 1.0
EVEN = 0.5  # how much the equal weights count in the term's own


@final
class Clips:
    """Some clips of an index as queries; of words, the mean of their vectors."""

    def __init__(self, video_index: VideoIndex, names: Sequence[str]) -> None:
        """Raises InputError: a clip is not there, or has no stream."""
        queries = [video_index.clip_query(name) for name in names]
        self.layout, self.row = video_index.layout, {name: row for row, name in enumerate(names)}
        size = (len(names), self.layout.total)
        self.packed = np.concatenate([q.packed[0] for q in queries] or [np.empty((0, size[1]))]).astype(np.float64)
        self.there = np.concatenate([np.isfinite(q.logits[0]) for q in queries] or [np.empty((0, 0), bool)])

    @classmethod
    def bank(cls, video_index: VideoIndex) -> Clips:
        """Clips with a stream, evenly spaced over the index, the same for the same state of it."""
        partitions = video_index.partitions(None)
        ends = np.cumsum([partition.count for partition in partitions])
        chosen = np.unique(np.linspace(0, ends[-1] - 1, BANK).astype(np.int64)) if len(ends) else np.empty(0, int)
        names: list[str] = []
        for partition, end in zip(partitions, ends):
            first = end - partition.count
            names += partition.ids(partition.found[chosen[(first <= chosen) & (chosen < end)] - first])
        return cls(video_index, names)

    def similarities(self, packed: NDArray[np.floating]) -> Doubles:
        """(T, E) vectors of terms -> (N, T, M); 0 where a clip lacks the expert."""
        parts = [self.packed[:, its] @ packed[:, its].T.astype(np.float64) for its in self.layout.slices]
        return np.where(self.there[:, None], np.stack(parts, axis=-1), 0.0)

    def spread(self, similarities: Doubles) -> tuple[Doubles, Doubles]:
        """Of (N, T, M): (T, M) means and standard deviations over the clips that have the expert; none: 0."""
        there = self.there[:, None]
        count = np.maximum(there.sum(0), 1)
        mean = similarities.sum(0) / count
        return mean, np.sqrt((np.where(there, similarities - mean, 0.0) ** 2).sum(0) / count)


def with_marks(query: Queries | None, request: Request, video_index: VideoIndex, bank: Clips) -> Queries:
    """A single query as the marks of a request change it; None: the marks are the query, and one is good.

    It covers the clips that the query covers; marks alone cover those that share an expert with a good one. The
    experts of the request's `only` stay the only ones, and its `weights` are not moved.

    Raises:
        InputError: a marked clip is not there, or has no stream; or the good ones have no expert that is used.
    """
    layout, names = video_index.layout, {*request.good, *request.bad, *chain.from_iterable(request.closer)}
    marked = Clips(video_index, sorted(names))
    good, bad = (sorted(marked.row[name] for name in {*its}) for its in (request.good, request.bad))
    closer = sorted({(marked.row[near], marked.row[far]) for near, far in request.closer})
    given = [request.weights.get(name, 0.0) if request.weights else 1.0 for name in layout.names]
    prior = np.where([name in (request.only or layout.names) for name in layout.names], given, 0.0)
    like = _like(marked, good, bad, closer)
    mean, spread = bank.spread(bank.similarities(like))  # (1, M)

    def term(weights: Doubles) -> Queries:
        with np.errstate(divide="ignore"):
            return Queries(like[None].astype(np.float32), np.log(weights)[None, None], mean[None], np.ones((1, 1)))

    alone = query is None
    if query is None:
        query = term(prior * marked.there[good].any(0))
        if not np.isfinite(query.logits).any():
            words = "has none of the experts that the search uses, so nothing can be like it"
            raise InputError(f"clip {min(request.good)!r} {words}")
    pairs = sorted({*product(good, bad), *closer})
    said = _said(query, marked, bank, pairs) if pairs and not request.weights else np.zeros(len(prior))
    query = replace(query, logits=query.logits + said)
    if alone:
        return query
    even = prior * np.exp(said)
    shares = np.abs(query.factors(np.ones((1, len(prior)), bool), layout.missing)[0, 0])  # (T, M)
    part = 1.0 if request.weights else EVEN
    weights = (1 - part) * shares.sum(0) + part * even / even.sum()
    of_query = np.linalg.norm((shares * bank.spread(bank.similarities(query.packed[0]))[1]).sum(0))
    of_term = np.linalg.norm(weights * spread)
    share = SHARE * (1.0 if good or closer else BAD) * of_query / of_term if of_term > SMALL else 0.0
    return Queries.mixture([(1.0, query), (float(share), term(weights))])


def _like(marked: Clips, good: Sequence[int], bad: Sequence[int], closer: Sequence[tuple[int, int]]) -> Doubles:
    """(1, E) the term's vectors."""
    there, shares = marked.there.astype(np.float64), np.zeros(marked.there.shape)  # (N, M) of each clip in u_m
    for rows, share in ((good, 1.0), (bad, -BAD)):
        shares[rows] += share * there[rows] / np.maximum(there[rows].sum(0), 1)
    pairs = np.array(closer, np.int64).reshape(-1, 2)
    both = there[pairs].prod(1)  # (P, M)
    for side, share in enumerate((CLOSER, -CLOSER)):
        np.add.at(shares, pairs[:, side], share * both / np.maximum(both.sum(0), 1))
    parts = [shares[:, m] @ marked.packed[:, its] for m, its in enumerate(marked.layout.slices)]
    norms = [float(np.linalg.norm(part)) for part in parts]
    return np.concatenate([part / n if n > SMALL else 0 * part for part, n in zip(parts, norms)])[None]


def _said(query: Queries, marked: Clips, bank: Clips, pairs: Sequence[tuple[int, int]]) -> Doubles:
    """(M,) what pairs of marked clips, near and far, say about the experts of a query: L."""
    signs = query.share[0][:, None] * np.isfinite(query.logits[0])  # (T, M)
    own = (marked.similarities(query.packed[0]) * signs).sum(1)  # (N, M)
    spread = bank.spread((bank.similarities(query.packed[0]) * signs).sum(1, keepdims=True))[1]
    z = np.divide(own, spread, out=np.zeros_like(own), where=spread > SMALL)
    near, far = np.array(pairs).T
    both = marked.there[near] & marked.there[far]  # (P, M)
    counts = np.zeros(own.shape)
    np.add.at(counts, near, both)
    said = np.where(both, np.log(2) - np.logaddexp(0, SLOPE * (z[far] - z[near])), 0.0)
    return np.asarray(MOST * np.tanh((said / np.maximum(counts[near], 1)).sum(0) / MOST))
