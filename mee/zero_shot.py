"""A model from a store alone: no caption is read, and nothing is learnt.

Each stream becomes an expert by what it holds:

    words        what is said or written        its vectors are those of the sentences, by the text encoder
    labels       columns that have names        n = N' sqrt(p) / sum of sqrt(p)   (mee.layers.normalise)
    aligned      made by half of a two-tower    its own text tower: the two share a space
    others                                      no text side: they serve "more like this" only

What is usual is taken off: of sentences the mean of the bank's vectors, of labels the mean over the store's clips.
The mixture weighs by how much a sentence stands out, all experts on one scale: see `mee.layout`.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from importlib.resources import files
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from mee.config import NO_TEXT, ExpertConfig, ModelConfig, tower_settings
from mee.data import FeatureSource
from mee.encode import encode_captions, stream_blocks
from mee.errors import InputError
from mee.layout import Scale
from mee.model import MEE, TextEmbedding, VideoEmbedding
from mee.scoring import best_rows
from mee.text import TextConfig, TextEncoder, as_declared, encoder_class, tower_class

BLOCK = 1024  # names or clips at a time
PROMPTS = {"audio": ("{}", "the sound of {}")}  # for the names of columns
PICTURED = ("{}", "a video of a {}")
FLAT = 1e-6  # a spread below it: similarities that do not differ


@cache
def bank() -> tuple[str, ...]:
    """General sentences, about what may be seen, heard, said and written in a video."""
    return tuple(files("mee").joinpath("bank.txt").read_text(encoding="utf-8").splitlines())


@torch.no_grad()
def make_model(
    source: FeatureSource,
    text: TextConfig,
    towers: Mapping[str, str] | None = None,
    names: Sequence[str] = (),
    sentences: Sequence[str] = (),
) -> MEE:
    """A model for the clips of a source, in eval mode.

    Args:
        source: of the streams; the means that are taken off are those of its clips.
        text: a sentence encoder that needs no training; pooled as its folder declares, where it does.
        towers: text towers of aligned streams, by hub id or directory.
        names: the streams to use; all, if none is named.
        sentences: the bank; ours, if none is given.

    Raises:
        InputError: a stream is not there, none of them has a text side, or a text encoder cannot be used.
    """
    own = dict(towers or {})
    for name in (*names, *own):
        if name not in source.dims:
            raise InputError(f"{source.name} has no stream '{name}'; it has {', '.join(source.dims)}")
    names = names or tuple(source.dims)
    if not any(name in own or not source.dims[name] or any(source.columns.get(name, ())) for name in names):
        place = shlex.quote(source.name)
        raise InputError(
            f"{source.name}: without captions no sentence reaches {', '.join(names)}. Use others: mee precompute "
            f"VIDEOS {place} --preset offline, or train with captions: mee train"
        )
    text = as_declared(text)
    encoder = encoder_class(text).learn(text, [])
    if any(parameter.requires_grad for parameter in encoder.parameters()):
        raise InputError(
            f"'{text.encoder}' has to be trained with captions (mee train); without any, name a sentence encoder, "
            "such as sentence-transformers/all-MiniLM-L6-v2"
        )
    experts = tuple(_expert(source, name, encoder.dim, own.get(name, "")) for name in names)
    config = ModelConfig(
        experts=experts, text=text, dropout=0.0, weights="stand-out", bank=tuple(dict.fromkeys(sentences))
    )
    made = {each.name: tower_class().learn(tower_settings(each.text), []) for each in experts if each.own_tower}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)  # gates are drawn, although they are open: the same model every time
        model = MEE(config, encoder, made)
    general = sentences or bank()
    usual = said = encoded(encoder, general).mean(0)
    if any(encoder.prompts) and any(expert.words for expert in experts):
        said = encoded(encoder, general, searched=True).mean(0)
    for expert in experts:
        if expert.text != NO_TEXT and expert.name not in model.towers:
            for unit, off in ((model.text_unit(expert.name), usual), (model.expert(expert.name).unit, said)):
                unit.start_as_identity()
                unit.linear.bias.copy_(-off)
        if (named := model.expert(expert.name).names if expert.named else None) is not None:
            columns = [column for column in source.columns[expert.name] if column]
            named.vectors.copy_(name_vectors(model, expert.name, columns))
    fit_gallery(model, source)
    return model.eval()


@torch.no_grad()
def fit_gallery(model: MEE, source: FeatureSource) -> None:
    """Make a model of `make_model` that of another source of the same streams; its text side stays as it is."""
    clip_ids = list(source.clips.index)
    for config in model.config.experts:
        if config.text == NO_TEXT:
            expert = model.expert(config.name)
            expert.standardise.mean.zero_()  # of a stream that no clip has any more
            expert.standardise.deviation.fill_(1)
            expert.fit(stream_blocks(source, config, clip_ids))
        elif config.named:
            expert = model.expert(config.name)
            total, count = torch.zeros(config.embed_dim), 0
            for block in stream_blocks(source, config, clip_ids):
                meaning = expert.meaning(block.values.float())
                total, count = total + meaning.sum(0), count + len(meaning)
            expert.unit.linear.bias.copy_(-total / max(1, count))


def _expert(source: FeatureSource, name: str, text_dim: int, tower: str) -> ExpertConfig:
    """The expert of a stream, by what it holds."""
    dim, named = source.dims[name], sum(column != "" for column in source.columns.get(name, ()))
    settings: dict[str, Any] = {"name": name, "input_dim": dim, "pooling": ("mean",), "standardise": False}
    settings |= {"fingerprint": source.fingerprints[name]}
    if tower:
        own: dict[str, Any] = {"text": tower, "embed_dim": dim, "start": "identity"}
    elif not dim:
        own = {"words": True, "embed_dim": text_dim, "start": "identity"}
    elif named:
        own = {"named": named, "embed_dim": text_dim, "start": "names"}
    else:
        own = {"text": NO_TEXT, "embed_dim": dim, "start": "identity", "standardise": True}
    return ExpertConfig(**settings | own)


def name_vectors(model: MEE, expert: str, names: Sequence[str]) -> Tensor:
    """(C, D) unit-norm vectors of names by the expert's text tower: the mean over some prompts."""
    tower = model.tower_of(expert)
    prompted = ([prompt.format(name) for name in names] for prompt in PROMPTS.get(expert, PICTURED))
    vectors = (F.normalize(encoded(tower, each, searched=True), dim=1) for each in prompted)
    return F.normalize(sum(vectors, torch.zeros(1)), dim=1)


@torch.no_grad()
def encoded(tower: TextEncoder, sentences: Sequence[str], *, searched: bool = False) -> Tensor:
    """(N, D) vectors of sentences that are looked for, or of what is searched, on the CPU."""
    device = next(iter(tower.parameters()), torch.empty(0)).device
    starts = range(0, len(sentences), BLOCK)
    parts = (tower.encode(sentences[start : start + BLOCK], device, searched=searched) for start in starts)
    return torch.cat([part.cpu() for part in parts])


@torch.no_grad()
def measure_scale(model: MEE, clips: Iterable[VideoEmbedding], text: TextEmbedding | None = None) -> Scale:
    """The scale of a model's experts in a gallery, given in parts of any size; `text`: of its bank, if encoded.

    An expert without a text side, or whose stream no clip has, gets mean and top 0, and spreads of 1.
    """
    text = encode_captions(model, model.config.bank or bank()) if text is None else text
    experts = len(model.modalities)
    count, total, square = torch.zeros(3, experts, dtype=torch.float64)
    best = torch.full(text.logits.shape, -torch.inf, dtype=torch.float64)
    for part in clips:
        for m, similarity in by_expert(model, text, part):
            count[m], total[m] = count[m] + similarity.numel(), total[m] + similarity.sum()
            square[m] += similarity.square().sum()
            best[:, m] = torch.maximum(best[:, m], similarity.amax(1))
    known = count > 0
    mean, best = torch.where(known, total / count.clamp(min=1), 0), torch.where(known, best, 0)
    spread = (square / count.clamp(min=1) - mean.square()).clamp(min=0).sqrt()
    spreads = (torch.where(known & (each > FLAT), each, 1) for each in (spread, best.std(0)))
    rows = dict(zip(("mean", "top", "spread", "top_spread"), (mean, best.mean(0), *spreads)))
    return Scale(**{name: tuple(row.tolist()) for name, row in rows.items()})


def by_expert(model: MEE, text: TextEmbedding, clips: VideoEmbedding) -> Iterator[tuple[int, Tensor]]:
    """The similarities, in double precision on the CPU, of each expert that sentences reach and a clip has."""
    for m, name in enumerate(model.modalities):
        if model.asked[m] and clips.available[:, m].any():
            yield m, similarities(model, text, clips, name).double().cpu()


def similarities(model: MEE, text: TextEmbedding, clips: VideoEmbedding, name: str) -> Tensor:
    """(Q, g) similarities by one expert of those g clips that have its stream."""
    m = model.modalities.index(name)
    own, there = text.packed[:, model.layout.slices[m]], clips.available[:, m]
    if name in model.layout.words:
        return best_rows(own, clips.words[name].only(there.nonzero().squeeze(1).cpu()))
    return own @ clips.packed[there][:, model.layout.slices[m]].T


def standing_out(
    model: MEE, text: TextEmbedding, clips: VideoEmbedding, of_bank: TextEmbedding | None = None
) -> TextEmbedding:
    """Sentences with the weights that they get in a gallery, where the model's are of this kind."""
    if model.config.weights == "learned":
        return text
    scale = measure_scale(model, [clips], of_bank)
    best = torch.full(text.logits.shape, -torch.inf, dtype=torch.float64)
    for m, similarity in by_expert(model, text, clips):
        best[:, m] = similarity.amax(1)
    logits = text.logits.double().cpu() + torch.from_numpy(scale.logits(best.numpy()))
    offsets = text.offsets + torch.tensor(scale.mean).to(text.offsets)
    return TextEmbedding(text.packed, logits.to(text.logits), offsets)
