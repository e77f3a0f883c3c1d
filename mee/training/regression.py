"""One expert's ridge regression, from its stream to whitened text.

    text:    t' = P' (t - mean),   P whitens the captions (mee.training.whitening)
    target:  y_i = mean t' of the captions of clip i
    named:   b_i = P' (n_i - mean),   n_i the meaning of the named columns (mee.layers.normalise)
    video:   x' = k b + c f(z),   k = sum of <b_i, y_i> / sum of |b_i|^2,   f the regression from z to y - k b

    kernel:  f(z) = sum over i of a_i exp(-|z - z_i|^2 / (2 w^2 d)),   a = (K + r I)^(-1) (y - k b)
    linear:  f(z) = M W' (z - mean),   W = V (l + s * mean(l))^(-1/2) of the streams' covariance V l V'
             M = 1/n * sum over i of (y_i - k b_i) (W' z_i)'

z is a pooled stream, standardised, for the kernel its leading COMPONENTS directions; d is the mean of all |z_i
- z_j|^2, K the kernel's matrix, s the shrinkage towards the mean eigenvalue (as in Ledoit and Wolf, A well-
conditioned estimator for large-dimensional covariance matrices, 2004, with a given weight). The kernel has all
training clips as centres, if they are not too many; else the regression is linear. An expert with named columns
starts at what they say, and the regression learns the rest: of C captions, c = C / (C + PRIOR), so that few
captions cannot talk the names down.

A part S of the clips is predicted by the regression without it; for the kernel that takes one inverse (the
residuals are G_SS^(-1) (G y)_S, with G = (K + r I)^(-1)). Clips are read block by block, once for every sum over
them; only a kernel has all of its clips in memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from mee.layers import Kernel
from mee.model import MEE
from mee.streams import Ragged
from mee.training.data import TrainingData
from mee.training.whitening import Side, leading, mean_of

COMPONENTS = 256  # of a stream's covariance that are kept, at most
WIDTH, PENALTY = 0.5, 1.0  # w and r of the kernel
PRIOR = 200  # captions: fewer say less than names do, and than a text space in which all directions are alike
LEAST_SHARE = 1e-3  # of k: names may be all that is known of a clip
PARTS = 5  # into which the videos are divided
SCORED = 256  # clips of a part that are scored, at most
LARGEST = 1e3  # scale of a kernel's directions: those of equal rows stay finite
BLOCK = 1024


@dataclass(frozen=True)
class Regression:
    """One expert's regression to whitened text."""

    mean: Tensor  # (I,) that is taken off what the gated unit sees
    map: Tensor  # (K', I)
    square: Tensor  # (K',) mean squares of the predictions
    held_out: Callable[[Tensor], Tensor]  # (n,) clips of one part -> predictions without that part, (n, K')


@dataclass(frozen=True)
class Seen:
    """What one expert's regression is fitted to, by (n,) clips that have the stream."""

    model: MEE
    data: TrainingData
    name: str
    clips: Tensor  # (n,) int64, all of them; one without the stream, where none has it
    captions: Ragged  # of each clip: numbers
    text: Ragged  # one vector a caption
    side: Side  # of the text

    def inputs(self, clips: Tensor) -> tuple[Tensor, Tensor]:
        """Features and meaning."""
        expert = self.model.expert(self.name)
        pooled = pooled_of(self.model, self.data, self.name, clips)
        if not len(pooled):  # any map will do
            pooled = F.pad(pooled, (0, 0, 0, len(clips)))
        pooled = pooled.to(self.model.device)
        return expert.features(pooled).cpu(), expert.meaning(pooled).cpu()

    def target(self, clips: Tensor) -> Tensor:
        """(n, K') mean of the whitened captions."""
        own = self.captions.only(clips)
        sizes = own.offsets.diff()
        white = self.side(self.text.only(own.values).values)
        total = white.new_zeros(len(clips), white.shape[1])
        return total.index_add_(0, torch.arange(len(clips)).repeat_interleave(sizes), white) / sizes[:, None]

    def blocks(self) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Clips, their features and their meaning."""
        return ((clips, *self.inputs(clips)) for clips in self.clips.split(BLOCK))

    def features(self) -> Iterator[Tensor]:
        """Of all clips, block by block."""
        return (features for _, features, _ in self.blocks())


def pooled_of(model: MEE, data: TrainingData, modality: str, clips: Tensor) -> Tensor:
    """(n, pooled_dim) of those of some clips that have the stream."""
    return model.expert(modality).pooled(data.streams[modality].take(clips).to(model.device)).cpu()


def fit_regression(seen: Seen, part: Tensor, shrinkage: float) -> Regression:
    """Fit one expert to the captions; sets its kernel's tables. `part`: of each clip, as `parts` gives it."""
    expert, side = seen.model.expert(seen.name), seen.side
    usual, share, strength = torch.zeros(0), torch.zeros(()), 1.0
    if expert.names is not None:
        strength = len(seen.text) / (len(seen.text) + PRIOR)
        usual = mean_of(lambda: (meaning for *_, meaning in seen.blocks()))[1]
        both = [torch.zeros(()), torch.zeros(())]
        for clips, _, meaning in seen.blocks():
            named = (meaning - usual) @ side.whiten
            both[0] += (named * seen.target(clips)).sum()
            both[1] += named.square().sum()
        share = (both[0] / both[1].clamp(min=1e-12)).clamp(min=LEAST_SHARE)

    def said(meaning: Tensor) -> Tensor:
        """What the names predict."""
        return (
            share * ((meaning - usual) @ side.whiten)
            if expert.names
            else meaning.new_zeros(len(meaning), side.whiten.shape[1])
        )

    if expert.kernel is None:
        fit = _linear(seen, said, part, shrinkage)
    else:
        fit = _kernel(seen, said, part, expert.kernel)
    mean = torch.cat([fit.mean, usual])
    rows = torch.cat([strength * fit.map, share * side.whiten.T[:, : len(usual)]], dim=1)

    def held_out(clips: Tensor) -> Tensor:
        return strength * fit.held_out(clips) + said(seen.inputs(clips)[1])

    def squares() -> Iterator[Tensor]:
        for _, features, meaning in seen.blocks():
            inputs = expert.kernel(features) if expert.kernel else features
            yield ((torch.cat([inputs, meaning], dim=1) - mean) @ rows.T).square()

    return Regression(mean, rows, mean_of(squares)[1], held_out)


class Fit(NamedTuple):
    """The regression to what the names leave; fields as of `Regression`."""

    mean: Tensor
    map: Tensor
    held_out: Callable[[Tensor], Tensor]


def _linear(seen: Seen, said: Callable[[Tensor], Tensor], part: Tensor, shrinkage: float) -> Fit:
    video = Side.of(seen.features, COMPONENTS, shrinkage)
    total = torch.zeros(PARTS, seen.side.whiten.shape[1], video.whiten.shape[1])
    for clips, features, meaning in seen.blocks():
        rest, white, own = seen.target(clips) - said(meaning), video(features), part[clips]
        for number in own.unique():
            total[number].addmm_(rest[own == number].T, white[own == number])
    counts = torch.bincount(part[seen.clips], minlength=PARTS)

    def held_out(clips: Tensor) -> Tensor:
        left = part[clips[0]]
        fit = (total.sum(0) - total[left]) / (len(seen.clips) - counts[left]).clamp(min=1)
        return video(seen.inputs(clips)[0]) @ fit.T

    return Fit(video.mean, total.sum(0) / len(seen.clips) @ video.whiten.T, held_out)


def _kernel(seen: Seen, said: Callable[[Tensor], Tensor], part: Tensor, kernel: Kernel) -> Fit:
    """Set the kernel's tables, and fit."""
    _, features, meaning = map(torch.cat, zip(*seen.blocks()))
    rest, own = torch.cat([*map(seen.target, seen.clips.split(BLOCK))]) - said(meaning), part[seen.clips]
    _, _, variance, directions, _ = leading(lambda: [features], kernel.directions.shape[1])
    distance = 2 * variance.sum() * len(features) / max(1, len(features) - 1)  # the mean of all squares
    scale = (2 * WIDTH**2 * distance).rsqrt().clamp(max=LARGEST)
    kernel.directions.zero_()[:, : directions.shape[1]] = directions * scale
    kernel.centres.copy_(features @ kernel.directions.to(features))
    inputs = kernel(features)
    inverse = torch.linalg.inv(inputs.double() + PENALTY * torch.eye(len(inputs), dtype=torch.float64))
    coefficients = inverse @ rest.double()
    residual = torch.empty_like(coefficients)
    for number in own.unique():
        rows = (own == number).nonzero().squeeze(1)
        residual[rows] = torch.linalg.solve(inverse[rows][:, rows], coefficients[rows])
    held_out, places = rest - residual.float(), partial(torch.searchsorted, seen.clips)
    return Fit(torch.zeros(len(inputs)), coefficients.T.float(), lambda clips: held_out[places(clips)])


def scored_parts(part: Tensor, clips: Tensor) -> Iterator[Tensor]:
    """Of each part at most SCORED of these clips; parts of a single clip are left out."""
    for number in range(PARTS):
        scored = clips[part[clips] == number]
        scored = scored[torch.randperm(len(scored), generator=torch.Generator().manual_seed(number))[:SCORED]]
        if len(scored) > 1:
            yield scored
