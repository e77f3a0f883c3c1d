"""How a query scores a clip.

    evidence:     s(q, v) = sum over m in A(v) of w_m(q) (<t_m(q), x_m(v)> - o_m(q))
                  w(q) = softmax over all m of l(q)[m]
    renormalise:  s(q, v) = sum over m in A(v) of w_m(q, A(v)) (<t_m(q), x_m(v)> - o_m(q))
                  w(q, A) = softmax over m in A of l(q)[m]

q: query, v: clip, A(v): the experts that v has, l: mixture logits, o: offsets; t and x are unit-norm for each
expert. With evidence, the default, a missing stream adds nothing. Offsets, one learned for each expert, then make
zero the right value for "nothing known" where the experts' similarities differ in mean. Renormalised weights are
those of Miech, Laptev, Sivic (arXiv 1804.02516, section 3), with o = 0: a clip is judged by the experts that it
has. Either way the score is one inner product, with zeros in place of what the clip lacks:

    s(q, v) = <[w_1 t_1 | w_2 t_2 | ... | -w_1 o_1 | -w_2 o_2 | ...], [x_1 | x_2 | ... | 1 | 1 | ...]>

An expert of words has several unit vectors of a clip, x_m1, x_m2, …: an utterance each, and the best one counts,
<t_m(q), x_m(v)> = max over r of <t_m(q), x_mr(v)>. It is added to the inner product, where x_m is zeros.

An expert without a text side has l_m = -inf, so that w_m = 0; a clip that has no other expert scores 0 here, and
comes last in evaluation (mee.ranking), where no search finds it.

With evidence one vector of a query serves all clips: one matrix product. Renormalised weights are shared by clips
with the same pattern A: one product for each of at most 2^M - 1 patterns. Never is there a (Q, G, M) tensor.
Training, evaluation and the index all go through here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from mee.config import Missing
from mee.layers import pool_rows
from mee.layout import Layout, Pattern
from mee.streams import Ragged


def mixture_weights(logits: Tensor, available: Tensor, missing: Missing) -> Tensor:
    """(…, M) weights of the experts, exactly 0 where one is absent, and where a clip has none at all.

    From (…, M) mixture logits, finite or -inf, and (…, M) bool of clips; the two are broadcast together.
    """
    chosen = logits if missing == "evidence" else torch.where(available, logits, -torch.inf)
    nothing = (chosen == -torch.inf).all(-1, keepdim=True)  # their softmax would be NaN
    return torch.where(available & ~nothing, chosen.masked_fill(nothing, 0).softmax(-1), 0)


def group_by_pattern(available: Tensor) -> Iterator[tuple[Pattern, Tensor]]:
    """Each pattern that occurs in (G, M) bool, with the (G_A,) ascending rows of the clips that have it."""
    patterns, group = torch.unique(available, dim=0, return_inverse=True)
    for number, pattern in enumerate(patterns.tolist()):
        yield tuple(pattern), (group == number).nonzero().squeeze(1)


def mee_scores(
    text: Tensor,
    video: Tensor,
    logits: Tensor,
    available: Tensor,
    layout: Layout,
    offsets: Tensor | None = None,
    words: Mapping[str, Ragged] | None = None,
) -> Tensor:
    """(Q, G) scores of every query against every clip; without offsets they are in [-1, 1].

    Args:
        text: (Q, E) packed, unit-norm for each expert.
        video: (G, E) packed, unit-norm for each present expert; a missing slot is never read.
        logits: (Q, M) mixture logits.
        available: (G, M) bool, at least one True in each row.
        layout: of the packed vectors, E in total, and what a missing stream means.
        offsets: (Q, M) taken from each similarity; none: 0.
        words: of each expert of `layout.words`, G streams of unit-norm rows (n, E_m).

    Raises:
        ValueError: a clip has no stream at all.
    """
    if not available.any(1).all():
        raise ValueError("a clip without any stream has no score; leave it out of the gallery")
    offsets = torch.zeros_like(logits) if offsets is None else offsets
    clips = torch.cat([torch.where(layout.spread(available), video, 0), available.to(video)], dim=1)
    whole = [((True,) * len(layout.names), ...)]
    parts = dict(zip(layout.names, layout.slices))
    best = {name: best_rows(text[:, parts[name]], its) for name, its in (words or {}).items()}
    scores = text.new_empty(text.shape[0], video.shape[0])
    for pattern, rows in whole if layout.missing == "evidence" else group_by_pattern(available):
        weights = mixture_weights(logits, torch.tensor(pattern, device=logits.device), layout.missing)
        query = torch.cat([text * layout.spread(weights), -weights * offsets], dim=1)
        part = query @ clips[rows].T
        for name, similarity in best.items():
            part = part + weights[..., layout.names.index(name), None] * similarity[:, rows]
        scores[:, rows] = part
    return scores


def best_rows(text: Tensor, rows: Ragged) -> Tensor:
    """(Q, E_m), G streams of (n, E_m) rows -> (Q, G): the largest inner product; 0 where a stream is missing."""
    return pool_rows(rows.values.to(text) @ text.T, rows.offsets.diff().to(text.device), "max").T
