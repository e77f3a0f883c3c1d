"""Queries: what is looked for, as weighted mixtures of sentences and clips.

    s(q, v) = sum over t of a_t(q) sum over m in A(v) of w_tm(q, A(v)) <t_tm(q), x_m(v)>,   sum of |a_t| = 1
    w_t(q, A) = softmax over m in A of l_t(q)[m]

A term is a sentence, or a clip that others should be like; a_t < 0 says "not this". With one term it is the score
of mee.scoring. A logit of -inf shuts an expert out for that term: the weights of the others are renormalised.
Where a term is left without any expert of a clip, the query says nothing about the clip, and never finds it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import compress

import numpy as np
from numpy.typing import NDArray

from mee.layout import Layout
from mee.model import TextEmbedding
from mee.scoring import Pattern

Doubles = NDArray[np.float64]


@dataclass(frozen=True)
class Queries:
    """Q queries of T terms each; a term that a query does not have counts 0."""

    packed: NDArray[np.float32]  # (Q, T, E), unit-norm for each expert that is listened to
    logits: Doubles  # (Q, T, M)
    share: Doubles  # (Q, T) a_t; of each query the absolute values add up to 1

    def __len__(self) -> int:
        return len(self.packed)

    @classmethod
    def of(cls, text: TextEmbedding) -> Queries:
        """Each sentence a query."""
        packed = text.packed.detach().cpu().float().numpy()
        logits = text.logits.detach().cpu().double().numpy()
        return cls(packed[:, None], logits[:, None], np.ones((len(packed), 1)))

    @classmethod
    def mixture(cls, terms: Sequence[tuple[float, Queries]]) -> Queries:
        """One query of several: each term is a single query, with how much it counts (below 0: not this)."""
        if not terms or any(len(part) != 1 for _, part in terms):
            raise ValueError("a mixture is made of single queries, one at least")
        total = sum(abs(share) for share, _ in terms)
        if not 0 < total < np.inf:
            raise ValueError(f"what the terms count must be finite and not all 0, got {[s for s, _ in terms]}")
        return cls(
            np.concatenate([part.packed for _, part in terms], axis=1),
            np.concatenate([part.logits for _, part in terms], axis=1),
            np.concatenate([share / total * part.share for share, part in terms], axis=1),
        )

    def only(self, kept: Sequence[bool]) -> Queries:
        """The same, listening to some experts only."""
        return replace(self, logits=np.where(np.asarray(kept), self.logits, -np.inf))

    def weighted(self, weights: Mapping[str, float], layout: Layout) -> Queries:
        """The same with the user's weights in the place of the model's; an expert without one counts 0."""
        unknown = set(weights) - set(layout.names)
        if unknown:
            raise ValueError(f"there is no expert '{min(unknown)}'; there are {', '.join(layout.names)}")
        values = np.array([weights.get(name, 0.0) for name in layout.names], dtype=np.float64)
        if not np.isfinite(values).all() or values.min() < 0 or not values.any():
            raise ValueError(f"weights must be finite, at least 0, and one of them positive, got {dict(weights)}")
        with np.errstate(divide="ignore"):
            logits = np.where(np.isneginf(self.logits), -np.inf, np.log(values))  # what a clip lacks stays out
        return replace(self, logits=logits)

    def part(self, rows: slice) -> Queries:
        """Some of them."""
        return Queries(self.packed[rows], self.logits[rows], self.share[rows])

    def weights(self, patterns: NDArray[np.bool_]) -> Doubles:
        """(…, Q, T, M) mixture weights for clips of (…, M) patterns; zeros where a term has no expert left."""
        logits = np.where(patterns[..., None, None, :], self.logits, -np.inf)
        largest = logits.max(-1, keepdims=True)
        raised = np.exp(logits - np.where(np.isfinite(largest), largest, 0.0))
        total = raised.sum(-1, keepdims=True)
        return np.asarray(np.divide(raised, total, out=np.zeros_like(raised), where=total > 0))

    def shares(
        self, pattern: Pattern, layout: Layout, query: int, vector: Doubles
    ) -> dict[str, tuple[float, float]]:
        """Why a clip scores as it does, by expert of the pattern: (weight, similarity), whose product is the part.

        Args:
            pattern: of the clip.
            layout: of the packed vectors.
            query: which.
            vector: (E_A,) of the clip.

        Returns:
            With one term, its weight and <t_m, x_m>. With several, weight is the sum of |a_t| w_tm, and similarity
            the mean of what the terms say, weighed by that, so that it stays in [-1, 1].
        """
        part = self.part(slice(query, query + 1))
        factors = (part.weights(np.array(pattern))[0] * part.share[0, :, None])[:, np.array(pattern)]
        shares, end = {}, 0
        for number, (name, columns) in enumerate(compress(zip(layout.names, layout.slices), pattern)):
            start, end = end, end + columns.stop - columns.start
            said = self.packed[query, :, columns].astype(np.float64) @ vector[start:end]  # (T,)
            weight = float(np.abs(factors[:, number]).sum())
            if weight:
                similarity = float((factors[:, number] * said).sum() / weight)
            else:  # nobody listens
                similarity = float(said[0]) if np.isfinite(said[0]) else 0.0
            shares[name] = (weight, similarity)
        return shares
