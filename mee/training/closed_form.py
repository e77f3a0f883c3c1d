"""A closed-form start: experts by regression, then the weights of the mixture, before any gradient step.

Each expert's regression from its stream to whitened text is found first (mee.training.regression). x' and t',
scaled to unit mean square, are the first layers of its two gated units, whose gates start open
(mee.layers.normalise); an expert alone then ranks as the regression does.

The weights of the mixture are found on clips that the regression has not seen (mee.training.gate): fitted on
four fifths of the videos, it predicts the last, each fifth in turn. Where a model needed no caption so far
(mee.zero_shot), experts of words and aligned ones stay as they are, those of names and those without a text side
get a regression, and weights may still be those of standing out, to which the gate's are added: whichever gives
the least cross-entropy on these clips.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mee.config import NO_TEXT, ExpertConfig, ModelConfig
from mee.encode import encode_captions
from mee.layers import GatedEmbeddingUnit
from mee.model import MAIN, MEE, VideoEmbedding
from mee.streams import Ragged
from mee.text import TextEncoder
from mee.training.config import PRESETS, TrainConfig
from mee.training.data import TrainingData
from mee.training.gate import KINDS, NEVER, HeldOut, fit_gate, least_loss
from mee.training.regression import (
    BLOCK,
    COMPONENTS,
    PARTS,
    PRIOR,
    Regression,
    Seen,
    fit_regression,
    pooled_of,
    scored_parts,
)
from mee.training.whitening import Side
from mee.zero_shot import bank, name_vectors, similarities, standing_out

FEW = 400  # captions: fewer cannot say which experts a sentence needs
UNTRIED = -3.0  # mixture logit where an expert begins that no sentence has reached so far
SPARE = 0.1  # scale of the columns of the joint space beyond the regression's; they can learn


def informative(encoder: TextEncoder) -> bool:
    """Whether its text vectors are meaningful before any training: it has no parameters to train."""
    return not any(parameter.requires_grad for parameter in encoder.parameters())


def untrained(model: MEE) -> bool:
    """Whether no caption was needed for a model: its experts are aligned, or say what names and words say."""
    return informative(model.text_encoder) and all(expert.start != "random" for expert in model.config.experts)


def keep_experts(model: MEE, start: MEE) -> None:
    """Give a model the weights of those experts of another that have the same settings."""
    for number, pair in enumerate(zip(model.config.experts, start.config.experts)):
        if pair[0] == pair[1]:
            for side in ("text_experts", "video_experts"):
                getattr(model, side)[number].load_state_dict(getattr(start, side)[number].state_dict())


def with_text_sides(config: ModelConfig) -> ModelConfig:
    """The settings of a model that no caption was needed for, with a regression where captions may add one.

    Aligned experts and those of words stay as they are.
    """

    def regressed(expert: ExpertConfig) -> ExpertConfig:
        if expert.start != "names" and expert.text != NO_TEXT:
            return expert
        other = PRESETS["default"].expert(expert.name, expert.input_dim, expert.fingerprint)
        return replace(other, text="" if expert.text == NO_TEXT else expert.text)

    return replace(config, experts=tuple(map(regressed, config.experts)))


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


class Fitted(NamedTuple):
    """What is found besides weights."""

    temperature: float | None  # that fits the scores, if there are clips enough to fit the gate
    helps: bool  # whether clips are found better than by the start, as far as those can say that are held out


@torch.no_grad()
def start_closed_form(
    model: MEE,
    data: TrainingData,
    config: TrainConfig,
    columns: Mapping[str, Sequence[str]],
    start: MEE | None = None,
) -> Fitted:
    """Set the inputs and first linear maps of every expert that does not start as the identity, and the gate.

    The text encoder must be `informative`, the training data prepared, the model's settings by `with_inputs`;
    `start`: an untrained model of these experts, whose names' vectors are used again.
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
            known = start.expert(name).names if start else None
            names = [column for column in columns[name] if column]
            named.vectors.copy_(known.vectors if known else name_vectors(model, name, names))
        side = Side.of(partial(_vectors, text[name]), expert.embed_dim, config.shrinkage, PRIOR)
        clips = (captions.present & data.streams[name].present[: len(captions)]).nonzero().squeeze(1)
        clips = clips if len(clips) else captions.present.nonzero()[0]
        seen = Seen(model, data, name, clips, captions, text[name], side)
        regressions[name] = regression = fit_regression(seen, part, config.shrinkage)
        _set(model.expert(name).unit, regression.mean, regression.map, regression.square)
        _set(model.text_unit(name), side.mean, side.whiten.T, side.square)
    for parameter in model.mixture.parameters():
        nn.init.zeros_(parameter)  # of very few videos, where nothing can be held out
    found, several = Fitted(None, start is None), len(model.modalities) > 1 or start is not None
    if several and (parts := list(_held_out(model, data, regressions, towers, captions, part))):
        plain, weighed = zip(*parts)
        begin = torch.zeros(len(model.modalities))
        if start:
            begin[[expert.text == NO_TEXT for expert in start.config.experts]] = UNTRIED
        kinds = (None,) if start and len(data) < FEW else KINDS
        gate = fit_gate(plain, model.config.missing, config.seed, begin, kinds)
        if model.config.weights == "stand-out":
            # a sentence stands out in a fresh regression more or less by the gallery's size: no part for those
            tried = begin.masked_fill(begin < 0, NEVER)
            other = fit_gate(weighed, model.config.missing, config.seed, tried, kinds)
            if other.loss <= gate.loss:
                gate, begin = other, tried
            else:
                model.config = replace(model.config, weights="learned")
        if kinds != KINDS:
            gate.last.bias.lerp_(begin, PRIOR / (len(data) + PRIOR))
        model.set_gate(gate.folded().to(model.device))
        model.offset.copy_(gate.offset)
        helps = start is None
        if start and len(parts) > 1:
            before = [pair[1] for pair in _held_out(start, data, {}, towers, captions, part)]
            helps = gate.loss <= least_loss(before, start.config.missing, config.seed)
        found = Fitted(float(gate.log_temperature.exp()), helps)
    model.train(was_training)
    return found


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


def _held_out(
    model: MEE,
    data: TrainingData,
    regressions: Mapping[str, Regression],
    towers: Mapping[str, Ragged],
    captions: Ragged,
    part: Tensor,
) -> Iterator[tuple[HeldOut, HeldOut]]:
    """The parts of clips, with their captions; and the same by weights that stand out, where the model's do."""
    available, scaled = data.available[: len(part)], model.config.weights == "stand-out"
    of_bank = encode_captions(model, model.config.bank or bank()) if scaled else None

    def embedded(clips: Tensor) -> VideoEmbedding:
        """The clips as they are without their own captions."""
        packed, words = torch.zeros(len(clips), model.layout.total), {}
        for m, (name, columns) in enumerate(zip(model.modalities, model.layout.slices)):
            there = available[clips, m]
            if name in model.layout.words:
                words[name] = model.video_experts[m](data.streams[name].take(clips).to(model.device))
            elif name in regressions and there.any():
                found = F.normalize(regressions[name].held_out(clips[there])[:, : model.layout.sizes[m]], dim=1)
                packed[there, columns] = F.pad(found, (0, model.layout.sizes[m] - found.shape[1]))
            elif there.any() and model.asked[m]:  # nothing was fitted
                pooled = pooled_of(model, data, name, clips[there]).to(model.device)
                packed[there, columns] = model.expert(name).unit(model.expert(name).inputs(pooled)).cpu()
        return VideoEmbedding(packed.to(model.device), available[clips].to(model.device), words)

    for scored in scored_parts(part, ((part >= 0) & available.any(1)).nonzero().squeeze(1)):
        own, video = captions.only(scored), embedded(scored)
        chosen, first = own.values, own.offsets[:-1]
        text = model.text_of({name: rows.only(chosen).values.to(model.device) for name, rows in towers.items()})
        similarity = torch.zeros(len(chosen), len(scored), len(model.modalities))
        for m, name in enumerate(model.modalities):
            similarity[:, available[scored, m], m] = similarities(model, text, video, name).cpu()
        plain = HeldOut(
            similarity,
            towers[MAIN].only(chosen).values,
            available[scored],
            first,
            own.offsets.diff(),
            data.video[chosen[first]],
        )
        text = standing_out(model, text, video, of_bank)
        similarity = similarity - text.offsets[:, None].cpu()
        yield plain, replace(plain, similarity=similarity, base=text.logits.cpu()) if scaled else plain
