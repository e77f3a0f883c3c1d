"""A closed-form start: experts from ridge regression, before any gradient step.

    text:    t' = P' (t - mean),   P = U (a + s * mean(a))^(-1/2)     of the captions' covariance U a U'
    target:  y_i = mean t' of the captions of clip i
    named:   b_i = P' (n_i - mean),   n_i the meaning of the named columns (mee.layers.normalise)
    video:   x' = k b + f(z),   k = sum of <b_i, y_i> / sum of |b_i|^2,   f the regression from z to y - k b

    kernel:  f(z) = sum over i of a_i exp(-|z - z_i|^2 / (2 w^2 d)),   a = (K + r I)^(-1) (y - k b)
    linear:  f(z) = M W' (z - mean),   W = V (l + s * mean(l))^(-1/2) of the streams' covariance V l V'
             M = 1/n * sum over i of (y_i - k b_i) (W' z_i)'

z is a pooled stream, standardised, for the kernel its leading COMPONENTS directions; d is the mean of all |z_i
- z_j|^2, K the kernel's matrix, s the shrinkage towards the mean eigenvalue (as in Ledoit and Wolf, A well-
conditioned estimator for large-dimensional covariance matrices, 2004, with a given weight). The kernel has all
training clips as centres, if they are not too many; else the regression is linear. An expert with named columns
starts at what they say, and the regression learns the rest. x' and t', scaled to unit mean square, are the
first layers of its two gated units, whose gates start open (mee.layers.normalise); an expert alone then ranks
as the regression does.

The weights of the mixture are found on clips that the regression has not seen (mee.training.gate): fitted on
four fifths of the videos, it predicts the last, each fifth in turn. For the kernel that takes one inverse (the
residuals of a left-out part S are G_SS^(-1) (G y)_S, with G = (K + r I)^(-1)).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mee.config import ModelConfig
from mee.data import FeatureSource
from mee.encode import load_streams
from mee.layers import GatedEmbeddingUnit, Kernel
from mee.model import MAIN, MEE
from mee.streams import Ragged
from mee.text import TextEncoder
from mee.training.config import TrainConfig
from mee.training.data import TrainingData
from mee.training.gate import NEVER, HeldOut, fit_gate

COMPONENTS = 256  # of a stream's covariance that are kept, at most
WIDTH, PENALTY = 0.5, 1.0  # w and r of the kernel
PARTS = 5  # into which the videos are divided for the gate
SCORED = 256  # clips of a part that are scored, at most
EQUAL = 1e-12  # variance of equal rows, relative to their mean square
LARGEST = 1e3  # scale of a kernel's directions: those of equal rows stay finite
SPARE = 0.1  # scale of the columns of the joint space beyond the regression's; they can learn
BLOCK = 1024
PROMPTS = {"audio": ("{}", "the sound of {}")}  # for the names of columns
PICTURED = ("{}", "a video of a {}")


@dataclass(frozen=True)
class Side:
    """Input of one side of an expert, centred, and the map that whitens it softly."""

    mean: Tensor  # (D,)
    whiten: Tensor  # (D, K)

    @classmethod
    def of(cls, rows: Tensor, components: int, shrinkage: float) -> Side:
        """Mean and at most `components` leading directions of (n, D) rows."""
        mean, variance, directions = leading(rows, components)
        level = (variance + shrinkage * variance.mean()).clamp(min=torch.finfo(rows.dtype).tiny)
        differ = variance[0] > EQUAL * rows.square().mean()  # else the map would be infinite
        return cls(mean, directions * (level.rsqrt() * differ))

    def __call__(self, rows: Tensor) -> Tensor:
        """(n, D) -> (n, K)."""
        return (rows - self.mean) @ self.whiten


def leading(rows: Tensor, components: int) -> tuple[Tensor, Tensor, Tensor]:
    """Mean (D,), variances (K,) and directions (D, K) of (n, D) rows, the largest first, K at least 1."""
    mean = rows.mean(0)
    centred = rows - mean
    if len(rows) > rows.shape[1]:
        spread, directions = torch.linalg.eigh(centred.T @ centred / len(rows))
        variance, directions = spread.flip(0).clamp(min=0)[:components], directions.flip(1)[:, :components]
    else:
        _, scale, transposed = torch.linalg.svd(centred, full_matrices=False)
        variance, directions = (scale.square() / len(rows))[:components], transposed.T[:, :components]
    rank = max(1, int((variance > 1e-6 * variance[0]).sum()))  # below is rounding
    return mean, variance[:rank], directions[:, :rank]


@dataclass(frozen=True)
class Regression:
    """One expert: n clips that have the stream, and their regression to whitened text."""

    clips: Tensor  # (n,) int64
    text: Side
    fit: Fit  # of what the gated unit sees


class Fit(NamedTuple):
    """A regression to (n, K') targets."""

    inputs: Tensor  # (n, I)
    mean: Tensor  # (I,) that is taken off them
    map: Tensor  # (K', I)
    held_out: Tensor  # (n, K') predictions by regressions that were not fitted on the row's part

    @property
    def output(self) -> Tensor:
        """(n, K') predictions."""
        return (self.inputs - self.mean) @ self.map.T


def informative(encoder: TextEncoder) -> bool:
    """Whether its text vectors are meaningful before any training: it has no parameters to train."""
    return not any(parameter.requires_grad for parameter in encoder.parameters())


def with_inputs(
    config: ModelConfig, data: TrainingData, columns: Mapping[str, Sequence[str]], most: int
) -> ModelConfig:
    """The settings with named columns, and with kernels where clips are not more than `most`.

    columns: names of the columns of each modality that has some, see `mee.data.FeatureSource`.
    """
    experts = []
    clips = data.matches()[1].unique()
    for expert in config.experts:
        named = sum(name != "" for name in columns.get(expert.name, ()))
        count = int(data.streams[expert.name].present[clips].sum())
        free = expert.start != "identity" and not expert.learns
        expert = replace(expert, named=named if free and expert.pooling[0] == "mean" else 0)
        if free and 1 < count <= most:
            components = min(COMPONENTS, expert.feature_dim, count)
            expert = replace(expert, centres=count, components=components)
        experts.append(expert)
    return replace(config, experts=tuple(experts))


@torch.no_grad()
def start_closed_form(
    model: MEE, data: TrainingData, config: TrainConfig, columns: Mapping[str, Sequence[str]]
) -> float | None:
    """Set the inputs and first linear maps of every expert that does not start as the identity, and the gate.

    The text encoder must be `informative`, the training data prepared, the model's settings by `with_inputs`.
    Returns the temperature that fits the scores, if there are clips enough to fit the gate.
    """
    was_training = model.training
    model.eval()
    towers = {tower: _text_vectors(model, data, tower) for tower in model.all_towers}
    text = {name: towers.get(name, towers[MAIN]) for name in model.modalities}
    part = _parts(data, config.seed)
    regressions = {}
    for expert in model.config.experts:
        name = expert.name
        if expert.start == "identity":
            continue
        if (named := model.expert(name).names) is not None:
            named.vectors.copy_(name_vectors(model, name, [column for column in columns[name] if column]))
        regressions[name] = regression = _regression(model, data, name, text[name], part, config.shrinkage)
        _set(model.expert(name).unit, regression.fit.mean, regression.fit.map, regression.fit.output)
        _set(model.text_unit(name), regression.text.mean, regression.text.whiten.T, regression.text(text[name]))
    for parameter in model.mixture.parameters():
        nn.init.zeros_(parameter)  # of very few videos, where nothing can be held out
    temperature, several = None, len(model.modalities) > 1
    if several and (parts := list(_held_out(model, data, regressions, text, towers[MAIN], part))):
        gate = fit_gate(parts, model.config.missing, config.seed)
        model.set_gate(gate.folded().to(model.device))
        model.offset.copy_(gate.offset)
        temperature = float(gate.log_temperature.exp())
    model.train(was_training)
    return temperature


@torch.no_grad()
def start_at_names(
    model: MEE, source: FeatureSource, clip_ids: Sequence[str], shrinkage: float = TrainConfig.shrinkage
) -> None:
    """Set every expert with named columns without any caption; the others get no weight.

    What is usual, and taken off, is the mean over the clips of a gallery, and over the names themselves.
    """
    was_training = model.training
    model.eval()
    streams = load_streams(model, source, clip_ids)
    gate = nn.Linear(model.text_encoder.dim, len(model.modalities))
    nn.init.zeros_(gate.weight)
    gate.bias.copy_(torch.tensor([0.0 if expert.named else NEVER for expert in model.config.experts]))
    model.set_gate(gate.to(model.device))
    for name in model.modalities:
        expert = model.expert(name)
        if expert.names is None:
            continue
        expert.fit(streams[name].only(streams[name].present.nonzero().squeeze(1)))
        vectors = name_vectors(model, name, [column for column in source.columns[name] if column])
        expert.names.vectors.copy_(vectors)
        meaning = expert.meaning(expert.pooled(streams[name].all().to(model.device))).cpu()
        side = Side.of(vectors, expert.embed_dim, shrinkage)
        mean = torch.cat([torch.zeros(expert.unit.linear.in_features - meaning.shape[1]), meaning.mean(0)])
        rows = F.pad(side.whiten.T, (len(mean) - meaning.shape[1], 0))
        _set(expert.unit, mean, rows, (meaning - meaning.mean(0)) @ side.whiten)
        _set(model.text_unit(name), side.mean, side.whiten.T, side(vectors))
    model.train(was_training)


@torch.no_grad()
def name_vectors(model: MEE, expert: str, names: Sequence[str]) -> Tensor:
    """(C, D) unit-norm vectors of names by the expert's text tower: the mean over some prompts."""
    tower = model.tower_of(expert)
    total = torch.zeros(len(names), tower.dim)
    for prompt in PROMPTS.get(expert, PICTURED):
        prompted = [prompt.format(name) for name in names]
        for first in range(0, len(names), BLOCK):
            tokens = tower.tokenize(prompted[first : first + BLOCK])
            streams = Ragged.of(tokens, tower.like).all().to(model.device)
            total[first : first + BLOCK] += F.normalize(tower(streams.padded, streams.lengths), dim=1).cpu()
    return F.normalize(total, dim=1)


def _set(unit: GatedEmbeddingUnit, mean: Tensor, rows: Tensor, output: Tensor) -> None:
    """Give a unit the map rows (K, D) of centred input, scaled to unit mean square of `output`; open its gate."""
    kept = min(len(rows), unit.linear.out_features)
    scale = output[:, :kept].square().mean().sqrt().clamp(min=1e-12)
    unit.linear.weight *= SPARE
    unit.linear.weight[:kept] = (rows[:kept] / scale).to(unit.linear.weight)
    unit.linear.bias.copy_(-unit.linear.weight @ mean.to(unit.linear.weight))
    unit.open_gate()


def _text_vectors(model: MEE, data: TrainingData, tower: str) -> Tensor:
    """(N, D) text vectors of the training captions, in eval mode."""
    encoder = model.all_towers[tower]
    parts = []
    for numbers in torch.arange(len(data)).split(BLOCK):
        streams = data.sentences(numbers)[tower].to(model.device)
        parts.append(encoder(streams.padded, streams.lengths).cpu())
    return torch.cat(parts)


def _parts(data: TrainingData, seed: int) -> Tensor:
    """(clips,) which part of the videos each captioned clip belongs to; -1 without a caption."""
    captions, owners = data.matches()
    videos = data.video.unique()
    part_of_video = torch.randperm(len(videos), generator=torch.Generator().manual_seed(seed)) % PARTS
    part = torch.full((int(owners.max()) + 1,), -1)
    part[owners] = part_of_video[torch.searchsorted(videos, data.video[captions])]
    return part


def _pooled(model: MEE, data: TrainingData, modality: str, clips: Tensor) -> Tensor:
    """(n, pooled_dim) of clips that have the stream."""
    expert, size = model.expert(modality), model.config.experts[model.modalities.index(modality)].pooled_dim
    blocks = (expert.pooled(data.clips(rows)[modality].to(model.device)).cpu() for rows in clips.split(BLOCK))
    return torch.cat([torch.empty(0, size), *blocks])


def _regression(
    model: MEE, data: TrainingData, modality: str, text: Tensor, part: Tensor, shrinkage: float
) -> Regression:
    expert = model.expert(modality)
    captions, owners = data.matches()
    clips = owners.unique()
    clips = clips[data.streams[modality].present[clips]]
    pooled = _pooled(model, data, modality, clips)
    if not len(pooled):  # without data, any map will do
        pooled, clips = torch.zeros(1, pooled.shape[1]), owners[:1]
    side = Side.of(text, expert.embed_dim, shrinkage)
    target = torch.zeros(len(part), side.whiten.shape[1]).index_add_(0, owners, side(text)[captions])
    target = (target / torch.bincount(owners, minlength=len(part)).clamp(min=1)[:, None])[clips]
    features, meaning = (to(pooled.to(model.device)).cpu() for to in (expert.features, expert.meaning))
    named = (meaning - meaning.mean(0)) @ side.whiten if expert.names else torch.zeros_like(target)
    share = (named * target).sum() / named.square().sum().clamp(min=1e-12)
    rest, own = target - share * named, part[clips]
    if expert.kernel is None:
        fit = _linear(features, rest, own, shrinkage)
    else:
        fit = _kernel(expert.kernel, features, rest, own)
    inputs, mean = torch.cat([fit.inputs, meaning], dim=1), torch.cat([fit.mean, meaning.mean(0)])
    whole = torch.cat([fit.map, share * side.whiten.T[:, : meaning.shape[1]]], dim=1)
    return Regression(clips, side, Fit(inputs, mean, whole, fit.held_out + share * named))


def _linear(features: Tensor, rest: Tensor, part: Tensor, shrinkage: float) -> Fit:
    video = Side.of(features, COMPONENTS, shrinkage)
    white = video(features)

    def fit(kept: Tensor) -> Tensor:
        return rest[kept].T @ white[kept] / max(1, int(kept.sum()))

    held_out = torch.zeros_like(rest)
    for number in part.unique():
        held_out[part == number] = white[part == number] @ fit(part != number).T
    whole = fit(torch.ones_like(part, dtype=torch.bool))
    return Fit(features, video.mean, whole @ video.whiten.T, held_out)


def _kernel(kernel: Kernel, features: Tensor, rest: Tensor, part: Tensor) -> Fit:
    """Set the kernel's tables, and fit."""
    _, variance, directions = leading(features, kernel.directions.shape[1])
    distance = 2 * variance.sum() * len(features) / max(1, len(features) - 1)  # the mean of all squares
    scale = (2 * WIDTH**2 * distance).rsqrt().clamp(max=LARGEST)
    kernel.directions.zero_()[:, : directions.shape[1]] = directions * scale
    kernel.centres.copy_(features @ kernel.directions.to(features))
    inputs = kernel(features)
    inverse = torch.linalg.inv(inputs.double() + PENALTY * torch.eye(len(inputs), dtype=torch.float64))
    coefficients = inverse @ rest.double()
    residual = torch.empty_like(coefficients)
    for number in part.unique():
        rows = (part == number).nonzero().squeeze(1)
        residual[rows] = torch.linalg.solve(inverse[rows][:, rows], coefficients[rows])
    return Fit(inputs, torch.zeros(len(inputs)), coefficients.T.float(), rest - residual.float())


def _held_out(
    model: MEE,
    data: TrainingData,
    regressions: Mapping[str, Regression],
    text: Mapping[str, Tensor],
    h: Tensor,
    part: Tensor,
) -> Iterator[HeldOut]:
    """The parts of clips, of each at most SCORED, with their captions; parts of a single clip are left out."""
    captions, owners = data.matches()
    there = [data.streams[name].present[: len(part)] for name in model.modalities]
    clips = []
    for name, present in zip(model.modalities, there):
        found = present.nonzero().squeeze(1)
        if name in regressions:
            found, vectors = regressions[name].clips, regressions[name].fit.held_out
        else:  # aligned: nothing was fitted
            vectors = _pooled(model, data, name, found)
        clips.append(torch.zeros(len(part), vectors.shape[1]).index_copy_(0, found, F.normalize(vectors, dim=1)))

    def words(name: str, chosen: Tensor) -> Tensor:
        vectors = text[name][chosen]
        return F.normalize(regressions[name].text(vectors) if name in regressions else vectors, dim=1)

    available = torch.stack(there, dim=1)
    by_clip = owners.argsort(stable=True)
    counts = torch.bincount(owners, minlength=len(part))
    starts = counts.cumsum(0) - counts
    for number in range(PARTS):
        scored = ((part == number) & available.any(1)).nonzero().squeeze(1)
        scored = scored[torch.randperm(len(scored), generator=torch.Generator().manual_seed(number))[:SCORED]]
        if len(scored) < 2:
            continue
        count = counts[scored]
        spans = zip(starts[scored].tolist(), count.tolist())
        chosen = captions[torch.cat([by_clip[start : start + length] for start, length in spans])]
        first = count.cumsum(0) - count
        yield HeldOut(
            torch.stack([words(name, chosen) @ clip[scored].T for name, clip in zip(model.modalities, clips)], 2),
            h[chosen],
            available[scored],
            first,
            count,
            data.video[chosen[first]],
        )
