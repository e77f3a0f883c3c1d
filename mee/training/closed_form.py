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

Clips are read block by block, once for every sum over them; only a kernel has all of its clips in memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mee.config import NO_TEXT, ModelConfig
from mee.layers import GatedEmbeddingUnit, Kernel
from mee.model import MAIN, MEE
from mee.scoring import best_rows
from mee.streams import Ragged
from mee.text import TextEncoder
from mee.training.config import TrainConfig
from mee.training.data import TrainingData
from mee.training.gate import HeldOut, fit_gate
from mee.training.whitening import Side, leading, mean_of
from mee.zero_shot import name_vectors

COMPONENTS = 256  # of a stream's covariance that are kept, at most
WIDTH, PENALTY = 0.5, 1.0  # w and r of the kernel
PARTS = 5  # into which the videos are divided for the gate
SCORED = 256  # clips of a part that are scored, at most
LARGEST = 1e3  # scale of a kernel's directions: those of equal rows stay finite
SPARE = 0.1  # scale of the columns of the joint space beyond the regression's; they can learn
BLOCK = 1024


@dataclass(frozen=True)
class Regression:
    """One expert's regression to whitened text."""

    text: Side
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
        free = expert.start != "identity" and expert.text != NO_TEXT and not expert.learns
        if free:  # the regression starts at names, and learns from the other columns too
            expert = replace(expert, start="random", named=named if expert.pooling[0] == "mean" else 0)
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
    part, captions = _parts(data, config.seed), _captions(data)
    regressions = {}
    for expert in model.config.experts:
        name = expert.name
        if expert.start == "identity" or expert.text == NO_TEXT:
            continue
        if (named := model.expert(name).names) is not None:
            named.vectors.copy_(name_vectors(model, name, [column for column in columns[name] if column]))
        side = Side.of(partial(_vectors, text[name]), expert.embed_dim, config.shrinkage)
        clips = (captions.present & data.streams[name].present[: len(captions)]).nonzero().squeeze(1)
        clips = clips if len(clips) else captions.present.nonzero()[0]
        seen = Seen(model, data, name, clips, captions, text[name], side)
        regressions[name] = regression = fit_regression(seen, part, config.shrinkage)
        _set(model.expert(name).unit, regression.mean, regression.map, regression.square)
        _set(model.text_unit(name), side.mean, side.whiten.T, side.square)
    for parameter in model.mixture.parameters():
        nn.init.zeros_(parameter)  # of very few videos, where nothing can be held out
    temperature, several = None, len(model.modalities) > 1
    if several and (parts := list(_held_out(model, data, regressions, text, towers[MAIN], captions, part))):
        gate = fit_gate(parts, model.config.missing, config.seed)
        model.set_gate(gate.folded().to(model.device))
        model.offset.copy_(gate.offset)
        temperature = float(gate.log_temperature.exp())
    model.train(was_training)
    return temperature


def _set(unit: GatedEmbeddingUnit, mean: Tensor, rows: Tensor, square: Tensor) -> None:
    """Give a unit the map rows (K, D) of centred input, scaled to unit mean of `square` (K,); open its gate."""
    kept = min(len(rows), unit.linear.out_features)
    scale = square[:kept].mean().sqrt().clamp(min=1e-12)
    unit.linear.weight *= SPARE
    unit.linear.weight[:kept] = (rows[:kept] / scale).to(unit.linear.weight)
    unit.linear.bias.copy_(-unit.linear.weight @ mean.to(unit.linear.weight))
    unit.open_gate()


def _text_vectors(model: MEE, data: TrainingData, tower: str) -> Ragged:
    """One text vector a training caption, in eval mode."""
    encoder = model.all_towers[tower]

    def encoded(numbers: Tensor) -> Ragged:
        streams = data.sentences(numbers)[tower].to(model.device)
        return Ragged.of([encoder(streams.padded, streams.lengths).cpu()], torch.empty(0, encoder.dim))

    blocks = map(encoded, torch.arange(len(data)).split(BLOCK))
    whole = Ragged.gather(blocks, data.folder)
    return replace(whole, offsets=torch.arange(1 + len(data)))


def _vectors(text: Ragged) -> Iterator[Tensor]:
    """Text vectors of all captions, block by block."""
    return (block.values for block in text.blocks(torch.arange(len(text))))


def _captions(data: TrainingData) -> Ragged:
    """The numbers of the captions of each clip, up to the last one that has any."""
    captions, owners = data.matches()
    offsets = F.pad(torch.bincount(owners).cumsum(0), (1, 0))
    return Ragged(captions[owners.argsort(stable=True)], offsets)


def _parts(data: TrainingData, seed: int) -> Tensor:
    """(clips,) which part of the videos each captioned clip belongs to; -1 without a caption."""
    captions, owners = data.matches()
    videos = data.video.unique()
    part_of_video = torch.randperm(len(videos), generator=torch.Generator().manual_seed(seed)) % PARTS
    part = torch.full((int(owners.max()) + 1,), -1)
    part[owners] = part_of_video[torch.searchsorted(videos, data.video[captions])]
    return part


def pooled_of(model: MEE, data: TrainingData, modality: str, clips: Tensor) -> Tensor:
    """(n, pooled_dim) of those of some clips that have the stream."""
    return model.expert(modality).pooled(data.streams[modality].take(clips).to(model.device)).cpu()


def fit_regression(seen: Seen, part: Tensor, shrinkage: float) -> Regression:
    """Fit one expert to the captions; sets its kernel's tables. `part`: of each clip, as `_parts` gives it."""
    expert, side = seen.model.expert(seen.name), seen.side
    usual, share = torch.zeros(0), torch.zeros(())
    if expert.names is not None:
        usual = mean_of(lambda: (meaning for *_, meaning in seen.blocks()))[1]
        both = [torch.zeros(()), torch.zeros(())]
        for clips, _, meaning in seen.blocks():
            named = (meaning - usual) @ side.whiten
            both[0] += (named * seen.target(clips)).sum()
            both[1] += named.square().sum()
        share = both[0] / both[1].clamp(min=1e-12)

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
    rows = share * side.whiten.T[:, : len(usual)]
    return replace(fit, mean=torch.cat([fit.mean, usual]), map=torch.cat([fit.map, rows], dim=1))


def _linear(seen: Seen, said: Callable[[Tensor], Tensor], part: Tensor, shrinkage: float) -> Regression:
    video = Side.of(seen.features, COMPONENTS, shrinkage)
    total = torch.zeros(PARTS, seen.side.whiten.shape[1], video.whiten.shape[1])
    for clips, features, meaning in seen.blocks():
        rest, white, own = seen.target(clips) - said(meaning), video(features), part[clips]
        for number in own.unique():
            total[number].addmm_(rest[own == number].T, white[own == number])
    counts = torch.bincount(part[seen.clips], minlength=PARTS)
    whole = total.sum(0) / len(seen.clips)

    def predicted(features: Tensor, meaning: Tensor, fit: Tensor) -> Tensor:
        return video(features) @ fit.T + said(meaning)

    def held_out(clips: Tensor) -> Tensor:
        left = part[clips[0]]
        fit = (total.sum(0) - total[left]) / (len(seen.clips) - counts[left]).clamp(min=1)
        return predicted(*seen.inputs(clips), fit)

    squares = (predicted(features, meaning, whole).square() for _, features, meaning in seen.blocks())
    return Regression(seen.side, video.mean, whole @ video.whiten.T, mean_of(lambda: squares)[1], held_out)


def _kernel(seen: Seen, said: Callable[[Tensor], Tensor], part: Tensor, kernel: Kernel) -> Regression:
    """Set the kernel's tables, and fit."""
    _, features, meaning = map(torch.cat, zip(*seen.blocks()))
    named = said(meaning)
    rest, own = torch.cat([*map(seen.target, seen.clips.split(BLOCK))]) - named, part[seen.clips]
    _, variance, directions, _ = leading(lambda: [features], kernel.directions.shape[1])
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
    held_out, rows = rest - residual.float() + named, coefficients.T.float()
    square = (inputs @ rows.T + named).square().mean(0)
    places = partial(torch.searchsorted, seen.clips)
    return Regression(seen.side, torch.zeros(len(inputs)), rows, square, lambda clips: held_out[places(clips)])


def _held_out(
    model: MEE,
    data: TrainingData,
    regressions: Mapping[str, Regression],
    text: Mapping[str, Ragged],
    h: Ragged,
    captions: Ragged,
    part: Tensor,
) -> Iterator[HeldOut]:
    """The parts of clips, of each at most SCORED, with their captions; parts of a single clip are left out."""
    available = data.available[: len(part)]

    def similarity(name: str, numbers: Tensor, clips: Tensor) -> Tensor:
        """(C, G) of captions and clips; zeros where the stream is missing."""
        words, there = text[name].only(numbers).values, available[clips, model.modalities.index(name)]
        if name in model.layout.words:
            rows = data.streams[name].only(clips)
            return best_rows(F.normalize(words, dim=1), replace(rows, values=F.normalize(rows.values, dim=1)))
        if name in regressions:
            words, vectors = regressions[name].text(words), regressions[name].held_out
        else:  # aligned: nothing was fitted
            vectors = partial(pooled_of, model, data, name)
        result = torch.zeros(len(numbers), len(clips))
        if there.any():
            result[:, there] = F.normalize(words, dim=1) @ F.normalize(vectors(clips[there]), dim=1).T
        return result

    for number in range(PARTS):
        scored = ((part == number) & available.any(1)).nonzero().squeeze(1)
        scored = scored[torch.randperm(len(scored), generator=torch.Generator().manual_seed(number))[:SCORED]]
        if len(scored) < 2:
            continue
        own = captions.only(scored)
        chosen, first = own.values, own.offsets[:-1]
        yield HeldOut(
            torch.stack([similarity(name, chosen, scored) for name in model.modalities], 2),
            h.only(chosen).values,
            available[scored],
            first,
            own.offsets.diff(),
            data.video[chosen[first]],
        )
