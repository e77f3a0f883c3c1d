"""How a query scores a clip.

    s(q, v) = sum over m in A(v) of w_m(q, A(v)) <t_m(q), x_m(v)>
    w(q, A) = softmax over m in A of l(q)[m]

q: query, v: clip, A(v): the experts that v has, l: mixture logits; t and x are unit-norm for each
expert. This is the score of Miech, Laptev, Sivic (arXiv 1804.02516, section 3), its weights renormalised over what
the *candidate* has. Clips with the same pattern A share their weights, so that within a pattern the score
is the inner product of the clip's packed vector with one weighted query vector: a single matrix product for each
of at most 2^M - 1 patterns, and never a (Q, G, M) tensor. Training, evaluation and the index all go through here.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import compress

import torch
from torch import Tensor

from mee.layout import Layout

Pattern = tuple[bool, ...]


def mixture_weights(logits: Tensor, pattern: Pattern) -> Tensor:
    """(Q, M) weights for clips that have exactly the experts of `pattern`, M flags, at least one True.

    Of (Q, M) finite mixture logits; each row sums to 1, and is exactly 0 where an expert is absent.
    """
    if not any(pattern):
        raise ValueError("a clip without any stream has no score; leave it out of the gallery")
    absent = ~torch.tensor(pattern, device=logits.device)
    return logits.masked_fill(absent, -torch.inf).softmax(-1)


def weighted_query(text: Tensor, logits: Tensor, pattern: Pattern, layout: Layout) -> Tensor:
    """The vectors whose inner product with a clip of this pattern is the score; see `mee_scores`.

    (Q, E_A): the present experts' columns, each scaled by its weight; goes with `layout.take(video, pattern)`.
    """
    weights = mixture_weights(logits, pattern)
    parts = [text[:, columns] * weights[:, m, None] for m, columns in enumerate(layout.slices)]
    return torch.cat(list(compress(parts, pattern)), dim=1)


def group_by_pattern(available: Tensor) -> Iterator[tuple[Pattern, Tensor]]:
    """Each pattern that occurs in (G, M) bool, with the (G_A,) ascending rows of the clips that have it."""
    patterns, group = torch.unique(available, dim=0, return_inverse=True)
    for number, pattern in enumerate(patterns.tolist()):
        yield tuple(pattern), (group == number).nonzero().squeeze(1)


def mee_scores(text: Tensor, video: Tensor, logits: Tensor, available: Tensor, layout: Layout) -> Tensor:
    """(Q, G) scores of every query against every clip, in [-1, 1].

    Args:
        text: (Q, E) packed, unit-norm for each expert.
        video: (G, E) packed, unit-norm for each present expert; a missing slot is never read.
        logits: (Q, M) mixture logits.
        available: (G, M) bool, at least one True in each row.
        layout: of the packed vectors, E in total.

    Raises:
        ValueError: a clip has no stream at all.
    """
    scores = text.new_empty(text.shape[0], video.shape[0])
    for pattern, rows in group_by_pattern(available):
        query = weighted_query(text, logits, pattern, layout)
        scores[:, rows] = query @ layout.take(video[rows], pattern).T
    return scores
