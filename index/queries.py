"""Queries: weighted mixtures of sentences and clips, and their vectors for each availability pattern.

    s(q, v) = sum over t of a_t(q) sum over m in A(v) of w_tm (<t_tm(q), x_m(v)> - o_tm(q)),   sum of |a_t| = 1
    evidence:     w_t(q)    = softmax of l_t(q) over the experts that the term has
    renormalise:  w_t(q, A) = softmax of l_t(q) over those of them that are in A(v)

A term is a sentence, or a clip that others should be like, with o = 0, or what marks of clips add, whose vectors
are shorter (index/request/feedback.py); a_t < 0 means "not this". With one term it is the score of mee.scoring.
A logit of -inf excludes an expert from that term. Where a clip has none of a term's experts, the query does not
cover the clip, and never finds it.

Within a pattern A the score is an inner product of the clip's packed vector with one vector of the query, plus a
constant of the query: what the offsets of the experts in A take. An expert of words has several vectors x_mr of a
clip, none of them packed, and <t_tm, x_m> is the largest of <t_tm, x_mr>: these are added for each term.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from itertools import accumulate, compress
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from index.scanners import LARGEST_NORM, TINY, Coding, Floats, Partition, Rotated, Rows, gamma
from mee.config import Missing
from mee.layout import Layout, Pattern, Scale

if TYPE_CHECKING:
    from mee.model import TextEmbedding, VideoEmbedding

Doubles = NDArray[np.float64]
FIELDS = ("packed", "logits", "offsets", "share")
FEW = 16  # queries whose exact vectors are kept; those of more are computed when they are needed


@dataclass(frozen=True)
class Queries:
    """Q queries of T terms each; a term that a query does not have has the share 0."""

    packed: Floats  # (Q, T, E), of norm 1 for each expert that is not excluded; of marks at most 1
    logits: Doubles  # (Q, T, M)
    offsets: Doubles  # (Q, T, M) taken from each similarity
    share: Doubles  # (Q, T) a_t; of each query the absolute values add up to 1
    held: dict[Coding, Rotated] = field(default_factory=dict, init=False, repr=False)  # packed, as codings have it

    def __len__(self) -> int:
        return len(self.packed)

    @classmethod
    def of(cls, text: TextEmbedding) -> Queries:
        """A query for each sentence."""
        packed = text.packed.detach().cpu().float().numpy()
        logits, offsets = (part.detach().cpu().double().numpy() for part in (text.logits, text.offsets))
        return cls(packed[:, None], logits[:, None], offsets[:, None], np.ones((len(packed), 1)))

    @classmethod
    def of_clips(cls, video: VideoEmbedding, layout: Layout) -> Queries:
        """One query for what is like some clips: the mean of their vectors, equal weights for what they have."""
        vectors, there = video.packed.detach().cpu().double().numpy(), video.available.cpu().numpy()
        packed = np.zeros(layout.total, np.float32)
        for name, columns, own in zip(layout.names, layout.slices, there.T):
            rows = (
                video.words[name].values.cpu().double().numpy() if name in layout.words else vectors[own, columns]
            )
            if own.any():
                mean = rows.mean(0)
                packed[columns] = mean / max(float(np.linalg.norm(mean)), TINY)
        logits = np.where(there.any(0), 0.0, -np.inf)[None, None]
        return cls(packed[None, None], logits, np.zeros_like(logits), np.ones((1, 1)))

    @classmethod
    def mixture(cls, terms: Sequence[tuple[float, Queries]]) -> Queries:
        """One query of several single ones, each with its weight (below 0: not this).

        Raises:
            ValueError: there is no term, a term is not a single query, or the weights are all 0 or not finite.
        """
        if not terms or any(len(term) != 1 for _, term in terms):
            raise ValueError("a mixture is made of single queries, one at least")
        total = sum(abs(weight) for weight, _ in terms)
        if not 0 < total < np.inf:
            raise ValueError(f"the weights of terms must be finite and not all 0, got {[w for w, _ in terms]}")
        shared = [replace(term, share=weight / total * term.share) for weight, term in terms]
        return cls(*(np.concatenate([getattr(term, name) for term in shared], axis=1) for name in FIELDS))

    @classmethod
    def stacked(cls, queries: Sequence[Queries]) -> Queries:
        """The queries of several, one after another; those with fewer terms are padded with terms of share 0."""
        terms = max(query.share.shape[1] for query in queries)
        columns = []
        for name in FIELDS:
            arrays = [getattr(query, name) for query in queries]
            made = np.zeros((sum(map(len, arrays)), terms, *arrays[0].shape[2:]), arrays[0].dtype)
            for start, array in zip(accumulate(map(len, arrays), initial=0), arrays):
                made[start : start + len(array), : array.shape[1]] = array
            columns.append(made)
        return cls(*columns)

    def only(self, kept: Sequence[bool]) -> Queries:
        """The same, with some experts only."""
        return replace(self, logits=np.where(np.asarray(kept), self.logits, -np.inf))

    def weighted(self, weights: Mapping[str, float], layout: Layout) -> Queries:
        """The same with the user's weights in place of the model's; an expert without one has weight 0.

        Raises:
            ValueError: an expert is unknown, or the weights are negative, not finite or all 0.
        """
        unknown = set(weights) - set(layout.names)
        if unknown:
            raise ValueError(f"there is no expert '{min(unknown)}'; there are {', '.join(layout.names)}")
        values = np.array([weights.get(name, 0.0) for name in layout.names], dtype=np.float64)
        if not np.isfinite(values).all() or values.min() < 0 or not values.any():
            raise ValueError(f"weights must be finite, at least 0, and one of them positive, got {dict(weights)}")
        with np.errstate(divide="ignore"):
            logits = np.where(np.isneginf(self.logits), -np.inf, np.log(values))  # what a clip lacks stays out
        return replace(self, logits=logits)

    def scaled(self, scale: Scale, best: Doubles) -> Queries:
        """Sentences on one scale (mee.layout); best: (Q, M) their best similarities, -inf: no clip has it."""
        logits = self.logits + scale.logits(best)[:, None]
        return replace(self, logits=logits, offsets=self.offsets + np.array(scale.mean))

    def each_expert(self) -> Queries:
        """(Q * M) queries for each of one term: it by one expert alone, without an offset."""
        queries, _, experts = self.logits.shape
        apart = np.where(np.eye(experts, dtype=bool), self.logits, -np.inf).reshape(-1, 1, experts)
        return Queries(
            np.repeat(self.packed, experts, axis=0), apart, np.zeros_like(apart), np.ones((queries * experts, 1))
        )

    def part(self, rows: slice | Rows) -> Queries:
        """Some of them."""
        return Queries(*(getattr(self, name)[rows] for name in FIELDS))

    def factors(self, patterns: NDArray[np.bool_], missing: Missing) -> Doubles:
        """(…, Q, T, M) weights for clips of (…, M) patterns, times the terms' shares; 0 for what clips lack."""
        there = patterns[..., None, None, :]
        logits = self.logits if missing == "evidence" else np.where(there, self.logits, -np.inf)
        largest = logits.max(-1, keepdims=True)
        raised = np.exp(logits - np.where(np.isfinite(largest), largest, 0.0))
        total = raised.sum(-1, keepdims=True)
        weights = np.divide(raised, total, out=np.zeros_like(raised), where=total > 0)
        return np.where(there, weights, 0.0) * self.share[..., None]


@dataclass(frozen=True)
class ExpertColumns:
    """Columns of one expert of a pattern."""

    expert: int
    packed: slice  # of a packed vector
    row: slice  # of a row of the partition; words have none there


@dataclass(frozen=True)
class PatternVectors:
    """The vectors of Q queries for clips of one pattern."""

    queries: Queries
    factors: Doubles  # (Q, T, M) weight of each term's experts, times its share
    constant: Doubles  # (Q,) added to the inner products: less what the experts' offsets take
    covers: NDArray[np.bool_]  # (Q,) whether clips of the pattern have an expert of every term
    offset: float | None  # -1 where clips' offsets are subtracted, else 0; None: clips have none
    experts: tuple[ExpertColumns, ...]  # whose vectors are packed
    words: tuple[ExpertColumns, ...] = ()  # the others

    @property
    def width(self) -> int:
        """W."""
        packed = self.experts[-1].row.stop if self.experts else 0
        return int(packed) + (self.offset is not None)

    @cached_property
    def count_words(self) -> bool:
        """Whether words count for any of the queries, or are all that clips have."""
        alone = bool(self.words) and not self.experts
        return alone or any(self.factors[..., each.expert].any() for each in self.words)

    def added_by_words(self, partition: Partition, rows: Rows, query: slice = slice(None)) -> Doubles:
        """(Q, n) what words add to the scores of some clips, rising, by products in float32."""
        factors, added = self.factors[query], np.zeros((len(self.factors[query]), len(rows)))
        for each in self.words:
            vectors, places = partition.words[each.expert]
            number, term = factors[..., each.expert].nonzero()
            if len(number):
                best = vectors.best(self.queries.packed[query][number, term, each.packed], places[rows])
                weighted = factors[number, term, each.expert, None] * best
                for one in range(factors.shape[1]):
                    added[number[term == one]] += weighted[term == one]
        return added

    def exactly_added_by_words(self, partition: Partition, query: Rows, rows: Rows) -> Doubles:
        """(N,) what words add to the score of each pair of a query and a clip, in float64."""
        added = np.zeros(len(rows))
        for each in self.words:
            vectors, places = partition.words[each.expert]
            for term in range(self.factors.shape[1]):
                factor = self.factors[query, term, each.expert]
                some = np.flatnonzero(factor)
                packed = self.queries.packed[query[some], term, each.packed]
                added[some] += factor[some] * vectors.exact(packed, places[rows[some]])
        return added

    @cached_property
    def norms(self) -> Doubles:
        """(Q,) at least the sum over the experts of the norms of their parts of the queries."""
        norms = self.added_norms(self.rounded)
        for each in self.words:
            lengths = np.linalg.norm(self.queries.packed[..., each.packed].astype(np.float64), axis=-1)  # (Q, T)
            norms += (np.abs(self.factors[..., each.expert]) * lengths).sum(1) * (1 + gamma(1))
        return norms

    def size(self, partition: Partition) -> Doubles:
        """(Q,) above the sizes of all parts of a product with a clip of a partition, added up."""
        offset = float(np.abs(partition.vectors[:, -1]).max()) if self.offset else 0.0
        return np.asarray(LARGEST_NORM * self.norms + offset)

    @property
    def terms(self) -> int:
        """Of the longest inner products that a score is made of, added up."""
        return self.width + max((each.packed.stop - each.packed.start for each in self.words), default=0)

    def rotated(self, coding: Coding) -> Rotated:
        """The queries as a coding has them, for all of their patterns."""
        held = self.queries.held
        if coding not in held:
            held[coding] = coding.rotated(self.queries.packed)
        return held[coding]

    def added_norms(self, vectors: Floats) -> Doubles:
        """(Q,) at least the sum over the packed experts of the norms of their parts of (Q, W) vectors."""
        parts = (vectors[:, expert.row] for expert in self.experts)
        norms = sum(np.sqrt(np.einsum("qd,qd->q", part, part).astype(np.float64)) for part in parts)
        return np.asarray(norms * (1 + gamma(self.width))) + np.zeros(len(vectors))

    @cached_property
    def rounded(self) -> Floats:
        """(Q, W) float32, contiguous, for scans."""
        if len(self.queries) <= FEW:
            return self._few.astype(np.float32)
        if self.factors.shape[1] > 1:
            return self.exact(np.arange(len(self.queries))).astype(np.float32)
        vectors = np.empty((len(self.queries), self.width), dtype=np.float32)
        factors = self.factors[:, 0].astype(np.float32)
        for expert in self.experts:
            packed = self.queries.packed[:, 0, expert.packed]
            np.multiply(packed, factors[:, expert.expert, None], out=vectors[:, expert.row])
        if self.offset is not None:
            vectors[:, -1] = self.offset
        return vectors

    def exact(self, query: Rows) -> Doubles:
        """(N, W) float64 of some queries; of few queries they are computed once."""
        return self._few[query] if len(self.queries) <= FEW else self._exact(query)

    @cached_property
    def _few(self) -> Doubles:
        return self._exact(slice(None))

    def _exact(self, query: slice | Rows) -> Doubles:
        packed, factors = self.queries.packed[query], self.factors[query]
        vectors = np.empty((len(packed), self.width))
        for expert in self.experts:
            out, m = vectors[:, expert.row], expert.expert
            np.multiply(packed[:, 0, expert.packed], factors[:, 0, m, None], out=out)
            for term in range(1, factors.shape[1]):
                out += packed[:, term, expert.packed] * factors[:, term, m, None]
        if self.offset is not None:
            vectors[:, -1] = self.offset
        return vectors


Vectors = Mapping[Pattern, PatternVectors]


def pattern_vectors(
    queries: Queries, layout: Layout, partitions: Sequence[Partition], *, subtract: bool
) -> dict[Pattern, PatternVectors]:
    """The vectors of queries for each pattern of some partitions, of which all have offsets, or none has.

    subtract: whether clips' offsets are subtracted from their scores.
    """
    offset = -float(subtract) if partitions[0].scanner.shape.offset else None
    patterns = list(dict.fromkeys(partition.pattern for partition in partitions))
    factors = queries.factors(np.array(patterns), layout.missing)  # (P, Q, T, M)
    shared = np.array(patterns)[:, None, None] & ~np.isneginf(queries.logits)
    covers, constant = (shared.any(-1) | (queries.share == 0)).all(-1), np.zeros(factors.shape[:2])  # (P, Q)
    for term, m in np.argwhere(queries.offsets.any(0)):  # one by one: the same to the bit in any company
        constant -= factors[:, :, term, m] * queries.offsets[:, term, m]
    vectors = {}
    for n, pattern in enumerate(patterns):
        vectors[pattern] = PatternVectors(
            queries, factors[n], constant[n], covers[n], offset, *_columns(layout, pattern)
        )
    return vectors


@lru_cache(maxsize=1024)
def _columns(layout: Layout, pattern: Pattern) -> tuple[tuple[ExpertColumns, ...], tuple[ExpertColumns, ...]]:
    """Of the experts of a pattern, those whose vectors are packed and those of words."""
    packed, words, end = [], [], 0
    for m, (name, columns) in compress(enumerate(zip(layout.names, layout.slices)), pattern):
        if name in layout.words:
            words.append(ExpertColumns(m, columns, slice(0, 0)))
        else:
            start, end = end, end + layout.sizes[m]
            packed.append(ExpertColumns(m, columns, slice(start, end)))
    return tuple(packed), tuple(words)
