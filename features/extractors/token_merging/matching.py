"""Merging alike tokens of a transformer: Bolya et al. 2023, Token Merging (arXiv 2210.09461), section 3.

    A = tokens at even positions, B = tokens at odd ones; the first `protected` tokens are in neither
    each a in A:   best(a) = max over b in B of cos(metric_a, metric_b)
    the r tokens of A with the highest best(a) join their b:    x_b = sum s_i x_i / sum s_i,    s_b = sum s_i
    output:  protected tokens | the rest of A | B        N - r of them

s, the size, is how many patches a token holds; metric is the mean over heads of the keys. The rest of A stands in
its order, or, where nothing is protected, in descending best(a). Of equals, the first counts. Tokens are moved by
flat index_select, many times faster than gather, and summed by a matrix product: a GPU adds it up in one order.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce

import torch
from torch import Tensor
from torch.nn import functional


@dataclass(frozen=True, eq=False)
class Matching:
    """Which of N tokens merge, r of them away."""

    kept: Tensor  # (B, N - r) int64: where each token of the output stood
    merged: Tensor  # (B, r) int64: where the tokens that join another stood
    into: Tensor  # (B, r) int64: the token of the output that each joins
    joinable: int  # how many tokens, the last of the output, can be joined

    @property
    def places(self) -> Tensor:
        """(B, N) int64: the token of the output that holds each token."""
        size, after = self.kept.shape
        places = self.kept.new_empty(size, after + self.merged.shape[1])
        places.scatter_(1, self.kept, torch.arange(after, device=self.kept.device).expand(size, after))
        return places.scatter_(1, self.merged, self.into)


def match(metric: Tensor, r: int, protected: int = 0) -> Matching:
    """Choose the r tokens that merge away, by an (B, N, C) metric of any length; zeros are alike to nothing.

    Less where fewer than twice as many may merge, none if r is 0 or negative; the first, ``protected``, never do.
    """
    size, tokens, _ = metric.shape
    r = max(0, min(r, (tokens - protected) // 2))
    positions = torch.arange(tokens, device=metric.device)
    if r == 0:
        nothing = positions.new_empty(size, 0)
        return Matching(positions.expand(size, tokens), nothing, nothing, 0)
    even, odd = protected + protected % 2, protected + 1 - protected % 2  # the first that may merge
    unit = functional.normalize(metric if metric.dtype == torch.float64 else metric.float(), dim=-1)
    best, partner = (unit[:, even::2] @ unit[:, odd::2].mT).max(-1)
    order = best.argsort(dim=-1, descending=True, stable=True)
    moving, staying = order[:, :r], order[:, r:]
    if protected:
        staying = staying.sort(-1).values
    joinable = len(positions[odd::2])
    first, last = positions[:protected].expand(size, -1), positions[odd::2].expand(size, -1)
    kept = torch.cat([first, even + 2 * staying, last], 1)
    into = tokens - r - joinable + partner.gather(1, moving)
    return Matching(kept, even + 2 * moving, into, joinable)


def merge_mean(tokens: Tensor, matching: Matching, sizes: Tensor) -> tuple[Tensor, Tensor]:
    """Means of the tokens that merge, each weighted with its size; times their sizes, the sums.

    (B, N, C) tokens and their (B, N) sizes above 0, float32 or float64 (16 bits cannot count) -> N - r of both.
    """
    before = sizes.gather(1, matching.kept)
    moving = sizes.gather(1, matching.merged)
    after = before.scatter_add(1, matching.into, moving)
    out = take_rows(tokens, matching.kept)
    if not matching.joinable:
        return out, after
    start = out.shape[1] - matching.joinable
    joined = out[:, start:]
    joined.mul_((before / after)[:, start:, None].to(out.dtype))
    shares = joined.new_zeros(len(out), matching.joinable, moving.shape[1])  # of each token that joins
    weights = moving / after.gather(1, matching.into)
    shares.scatter_(1, (matching.into - start)[:, None], weights[:, None].to(out.dtype))
    joined.baddbmm_(shares, take_rows(tokens, matching.merged))
    return out, after


def take_rows(tokens: Tensor, places: Tensor) -> Tensor:
    """(B, K, C): of (B, N, C) tokens those at (B, K) places.

    With the groups of `grouped` for places, merged tokens are spread out to where their patches were.
    """
    size, count, width = tokens.shape
    flat = (places + count * torch.arange(size, device=places.device)[:, None]).flatten()
    return tokens.reshape(-1, width).index_select(0, flat).view(size, -1, width)


def grouped(matchings: Sequence[Matching]) -> Tensor:
    """(B, N) int64: the token, after these matchings (one or more) in turn, that holds each token at the start."""
    return reduce(lambda groups, places: places.gather(1, groups), (matching.places for matching in matchings))


def size_bias(sizes: Tensor) -> Tensor:
    """(B, 1, 1, N) log sizes, for the attention logits of each key: proportional attention, section 3."""
    return sizes.log()[:, None, None]


def mean_token(states: Tensor, sizes: Tensor | None, first: int = 0) -> Tensor:
    """(B, D) float32, the mean of a layer's (B, N, D) states in which each token counts as often as its size.

        mean = sum over n of s_n x_n / sum over n of s_n,   s_n = 1 where ``sizes`` is None: nothing is merged

    ``first``: tokens at the start that are not patches, such as class and register tokens.
    """
    patches = states[:, first:].float()
    if sizes is None:
        return patches.mean(1)
    weights = sizes[:, first:, None].float()
    return (patches * weights).sum(1) / weights.sum(1)
