"""A closed-form start: experts from ridge regression, before any gradient step.

    text:   t' = P' (t - mean),      P = U (a + s * mean(a))^(-1/2)      of the captions' covariance U a U'
    video:  x' = M W' (z - mean),    W = V (l + s * mean(l))^(-1/2)      of the streams' covariance V l V'
            M  = 1/n * sum over clips i of (mean t' of its captions) (W' z_i)'

z is a pooled stream, standardised; s is the shrinkage towards the mean eigenvalue (as in Ledoit and Wolf, A
well-conditioned estimator for large-dimensional covariance matrices, 2004, with a given weight). M W' is the ridge
regression from a whitened stream to whitened text, and sets the two linear maps of an expert. x' and
t', scaled to unit mean square, are the first layers of its two gated units, whose gates start open
(mee.layers.normalise); an expert alone then ranks as the regression does.

How much each expert counts, the bias of the mixture, is found on clips that the regression has not seen: fitted on
four fifths of the videos and scored on the last, each fifth in turn, by the cross-entropy of the right clip.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mee.layers import GatedEmbeddingUnit
from mee.model import MAIN, MEE
from mee.text import TextEncoder
from mee.training.config import TrainConfig
from mee.training.data import TrainingData

COMPONENTS = 256  # of a stream's covariance that are kept, at most
PARTS = 5  # into which the videos are divided for the mixture's bias
SCORED = 512  # clips of a part that are scored, at most
EQUAL = 1e-12  # variance of equal rows, relative to their mean square
SPARE = 0.1  # scale of the columns of the joint space beyond the regression's; they can learn
BLOCK = 1024


@dataclass(frozen=True)
class Side:
    """Input of one side of an expert, centred, and the map that whitens it softly."""

    mean: Tensor  # (D,)
    whiten: Tensor  # (D, K)

    @classmethod
    def of(cls, rows: Tensor, components: int, shrinkage: float) -> Side:
        """Mean and at most `components` leading directions of (n, D) rows."""
        mean = rows.mean(0)
        centred = rows - mean
        if len(rows) > rows.shape[1]:
            spread, directions = torch.linalg.eigh(centred.T @ centred / len(rows))
            variance, directions = spread.flip(0).clamp(min=0)[:components], directions.flip(1)[:, :components]
        else:
            _, scale, transposed = torch.linalg.svd(centred, full_matrices=False)
            variance, directions = (scale.square() / len(rows))[:components], transposed.T[:, :components]
        rank = max(1, int((variance > 1e-6 * variance[0]).sum()))  # below is rounding
        level = (variance[:rank] + shrinkage * variance[:rank].mean()).clamp(min=torch.finfo(rows.dtype).tiny)
        differ = variance[0] > EQUAL * rows.square().mean()  # else the map would be infinite
        return cls(mean, directions[:, :rank] * (level.rsqrt() * differ))

    def __call__(self, rows: Tensor) -> Tensor:
        """(n, D) -> (n, K)."""
        return (rows - self.mean) @ self.whiten


@dataclass(frozen=True)
class Regression:
    """The two sides of one expert, ready to be fitted to any part of the clips."""

    clips: Tensor  # (n,) int64, the clips that have the stream
    video: Side
    white: Tensor  # (n, K) their whitened streams
    text: Side
    target: Tensor  # (all clips, K') mean whitened text vector of each clip's captions

    def fit(self, kept: Tensor) -> Tensor:
        """(K', K) map M from a whitened stream to whitened text; kept: (n,) bool."""
        return self.target[self.clips[kept]].T @ self.white[kept] / max(1, int(kept.sum()))


def informative(encoder: TextEncoder) -> bool:
    """Whether its text vectors are meaningful before any training: it has no parameters to train."""
    return not any(parameter.requires_grad for parameter in encoder.parameters())


@torch.no_grad()
def start_closed_form(model: MEE, data: TrainingData, config: TrainConfig) -> None:
    """Set the first linear maps of every expert that does not start as the identity, and the mixture's bias.

    The text encoder must be `informative`, and the training data prepared.
    """
    was_training = model.training
    model.eval()
    towers = {tower: _text_vectors(model, data, tower) for tower in model.all_towers}
    text = {name: towers.get(name, towers[MAIN]) for name in model.modalities}
    regressions = {
        expert.name: _regression(model, data, expert.name, text[expert.name], config.shrinkage)
        for expert in model.config.experts
        if expert.start != "identity"
    }
    for name, regression in regressions.items():
        video, words = regression.video, regression.text
        fitted = regression.fit(torch.ones(len(regression.clips), dtype=torch.bool))
        _set(model.expert(name).unit, video.mean, fitted @ video.whiten.T, regression.white @ fitted.T)
        _set(model.text_unit(name), words.mean, words.whiten.T, words(text[name]))
    if len(regressions) == len(model.modalities) > 1:
        nn.init.zeros_(model.mixture.weight)
        if held_out := _held_out(data, regressions, text, config.seed):  # of very few videos there is none
            model.mixture.bias.copy_(mixture_bias(held_out))
    model.train(was_training)


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


def _regression(model: MEE, data: TrainingData, modality: str, text: Tensor, shrinkage: float) -> Regression:
    expert = model.expert(modality)
    captions, owners = data.matches()
    clips = owners.unique()
    clips = clips[data.streams[modality].present[clips]]
    pooled = [expert.pooled(data.clips(rows)[modality].to(model.device)).cpu() for rows in clips.split(BLOCK)]
    streams = torch.cat([torch.empty(0, expert.unit.linear.in_features), *pooled])
    if not len(streams):  # without data, any map will do
        streams = torch.zeros(1, streams.shape[1])
        clips = owners[:1]
    video = Side.of(streams, COMPONENTS, shrinkage)
    side = Side.of(text, expert.embed_dim, shrinkage)
    count = int(owners.max()) + 1
    target = torch.zeros(count, side.whiten.shape[1]).index_add_(0, owners, side(text)[captions])
    target /= torch.bincount(owners, minlength=count).clamp(min=1)[:, None]
    return Regression(clips, video, video(streams), side, target)


def _held_out(
    data: TrainingData, regressions: dict[str, Regression], text: dict[str, Tensor], seed: int
) -> list[tuple[Tensor, Tensor, Tensor]]:
    """Parts of clips that the experts were not fitted on, as `mixture_bias` takes them."""
    generator = torch.Generator().manual_seed(seed)
    captions, owners = data.matches()
    videos = data.video.unique()
    part_of_video = torch.randperm(len(videos), generator=generator) % PARTS
    part = torch.full((int(owners.max()) + 1,), -1)
    part[owners] = part_of_video[torch.searchsorted(videos, data.video[captions])]
    held_out = []
    for number in range(PARTS):
        scored = (part == number).nonzero().squeeze(1)
        scored = scored[torch.randperm(len(scored), generator=generator)[:SCORED]]
        place = torch.full_like(part, -1)
        place[scored] = torch.arange(len(scored))
        chosen = place[owners] >= 0
        similarity, available = [], []
        for name, regression in regressions.items():
            row = torch.full_like(part, -1)
            row[regression.clips] = torch.arange(len(regression.clips))
            present = row[scored] >= 0
            white = regression.white[row[scored].clamp(min=0)]
            clip = F.normalize(white @ regression.fit(part[regression.clips] != number).T, dim=1)
            query = regression.text(text[name][captions[chosen]])
            similarity.append(F.normalize(query, dim=1) @ clip.T)
            available.append(present)
        if len(scored) > 1 and bool(torch.stack(available).any()):
            own = place[owners[chosen]]
            held_out.append((torch.stack(similarity, dim=2), torch.stack(available, dim=1), own))
    return held_out


@torch.enable_grad()
def mixture_bias(held_out: Sequence[tuple[Tensor, Tensor, Tensor]], steps: int = 60) -> Tensor:
    """(M,) bias of the mixture logits with the least cross-entropy of the right clip, the temperature free.

    `held_out`: parts, at least one, of (q, G, M) similarities, (G, M) bool availability, (q,) int64 right clips;
    steps of Adam.
    """
    bias = torch.zeros(held_out[0][0].shape[2], requires_grad=True)
    log_temperature = torch.tensor(0.05).log().requires_grad_()
    optimiser = torch.optim.Adam([bias, log_temperature], 0.1)
    for _ in range(steps):
        loss = torch.zeros(())
        for similarity, available, own in held_out:
            weight = bias.exp() * available  # (G, M)
            scores = (similarity * weight).sum(2) / weight.sum(1).clamp(min=1e-9)
            loss = loss + F.cross_entropy(scores / log_temperature.exp(), own) / len(held_out)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return (bias - bias.max()).detach()
