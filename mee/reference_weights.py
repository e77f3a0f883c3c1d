"""Weights of the authors' own network -> our model.

    theirs                                       ours
    mee.video_GU.<i>.{fc, cg.fc, cg.batch_norm}  video_experts.<i>.unit.{linear, gate, norm}
    mee.text_GU.<i>.{fc, cg.fc, cg.batch_norm}   text_experts.<i>.{linear, gate, norm}
    mee.moe_fc, row m: expert columns[m]         mixture, row i: expert streams[i]
    {audio, text}_pooling.clusters (D, K)        pool.learnt.netvlad-K.assign
    {audio, text}_pooling.clusters2 (1, D, K)    pool.learnt.netvlad-K.centres (D, K)
    {audio, text}_pooling.batch_norm             pool.learnt.netvlad-K.norm

Theirs: github.com/antoine77340/Mixture-of-Embedding-Experts, by Miech, Laptev, Sivic (arXiv 1804.02516). Its gated
units are in the order in which the modalities were declared, but its mixture is in the order in which its forward
pass put them into a dict: `streams` and `columns`. Convert a `.pth` file of theirs to safetensors first;
`safetensors.torch.load_file` then gives the mapping that is read here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from mee.config import ExpertConfig, ModelConfig
from mee.errors import InputError
from mee.layers import Pool
from mee.model import MEE
from mee.text import TextConfig, TextEncoder

STREAMS = ("face", "audio", "appearance", "motion")  # their appearance is called visual
COLUMNS = ("audio", "face", "motion", "appearance")
AUDIO = "audio"  # the stream that they pool by NetVLAD; their inputs have the others pooled

_FOREIGN = "these are no weights of the reference network"
_NORM = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
_UNIT = {"fc": "linear", "cg.fc": "gate", "cg.batch_norm": "norm"}
_MIXTURE = {f"mee.moe_fc.{leaf}": f"mixture.{leaf}" for leaf in ("weight", "bias")}


def load_reference(
    state: Mapping[str, Tensor],
    text: TextConfig,
    text_encoder: TextEncoder,
    *,
    streams: Sequence[str] = STREAMS,
    columns: Sequence[str] = COLUMNS,
    fingerprints: Mapping[str, str] | None = None,
) -> MEE:
    """Our model with their weights, in eval mode and in the dtype of the weights.

    Args:
        state: their state dict, which determines sizes and numbers of clusters.
        text: settings of the text encoder.
        text_encoder: of word vectors. It must pool them by NetVLAD, whose weights are set here.
        streams: our names of `mee.video_GU.0`, `.1` and so on; also the order of the M axis.
        columns: the same names in the order of the mixture's rows.
        fingerprints: digests of the extractors by stream, as a feature store of such streams gives them.

    Raises:
        InputError: a weight is missing, unknown or of a wrong shape, or the text encoder does not fit.
    """
    if sorted(streams) != sorted(columns) or len(set(streams)) < len(streams) or AUDIO not in streams:
        got = f"{', '.join(streams)} and {', '.join(columns)}"
        raise InputError(f"streams and columns must be the same names, '{AUDIO}' among them, got {got}")
    audio_dim, audio_clusters = _matrix(state, "audio_pooling.clusters")
    text_dim, text_clusters = _matrix(state, "text_pooling.clusters")
    names = our_names(len(streams), list(streams).index(AUDIO), (audio_clusters, text_clusters))
    _check_names(state, names)
    pool = getattr(text_encoder, "pool", None)
    kinds = (f"netvlad-{text_clusters}",)
    if not isinstance(pool, Pool) or (pool.kinds, pool.dim) != (kinds, text_dim * text_clusters):
        wanted = f"a text encoder that pools word vectors of size {text_dim} by {kinds[0]}"
        raise InputError(f"these weights want {wanted}; give it that size and that pooling")
    experts = []
    for number, name in enumerate(streams):
        size, input_dim = _matrix(state, f"mee.video_GU.{number}.fc.weight")
        pooling = "mean" if name == "face" else "max"  # of their inputs (section 4)
        if name == AUDIO:
            input_dim, pooling = audio_dim, f"netvlad-{audio_clusters}"
        one = ExpertConfig(name=name, input_dim=input_dim, embed_dim=size, pooling=(pooling,), standardise=False)
        experts.append(replace(one, fingerprint=(fingerprints or {}).get(name, "")))
    model = MEE(ModelConfig(experts=tuple(experts), text=text, missing="renormalise", dropout=0.0), text_encoder)
    model.to(state["mee.moe_fc.weight"].dtype)
    own = model.state_dict()
    _check_shapes(state, {theirs: own[ours] for theirs, ours in names.items()})
    with torch.no_grad():
        for name, tensor in translate(state, names, mixture_order(streams, columns)).items():
            own[name].copy_(tensor)
    return model.eval()


def translate(tensors: Mapping[str, Tensor], names: Mapping[str, str], order: Sequence[int]) -> dict[str, Tensor]:
    """Weights, gradients or running statistics under their names -> under ours, in our shapes.

    `names`: what `our_names` returns; `order`: what `mixture_order` does.
    """
    ours = {}
    for name, tensor in tensors.items():
        if name in _MIXTURE:
            tensor = tensor[list(order)]
        elif name.endswith(".clusters2"):
            tensor = tensor.squeeze(0)
        ours[names[name]] = tensor
    return ours


def our_names(experts: int, audio: int, clusters: tuple[int, int]) -> dict[str, str]:
    """Every name in their state dict -> ours; expert number `audio` has NetVLAD; clusters: audio's and text's."""
    names = dict(_MIXTURE)
    for number in range(experts):
        for theirs, ours in (("video_GU", "video_experts.{}.unit"), ("text_GU", "text_experts.{}")):
            for part, mine in _UNIT.items():
                for leaf in _NORM if mine == "norm" else _NORM[:2]:
                    names[f"mee.{theirs}.{number}.{part}.{leaf}"] = f"{ours.format(number)}.{mine}.{leaf}"
    homes = (f"video_experts.{audio}", "text_encoder")
    for theirs, home, count in zip(("audio_pooling", "text_pooling"), homes, clusters):
        place = f"{home}.pool.learnt.netvlad-{count}"
        names |= {f"{theirs}.clusters": f"{place}.assign", f"{theirs}.clusters2": f"{place}.centres"}
        names |= {f"{theirs}.batch_norm.{leaf}": f"{place}.norm.{leaf}" for leaf in _NORM}
    return names


def mixture_order(streams: Sequence[str], columns: Sequence[str]) -> list[int]:
    """Each expert's row of their mixture."""
    return [list(columns).index(name) for name in streams]


def _check_names(state: Mapping[str, Tensor], names: Mapping[str, str]) -> None:
    counters = {name for name in names if name.endswith("num_batches_tracked")}  # torch of 2018 kept none
    for what, wrong in (("lack", names.keys() - state.keys() - counters), ("have", state.keys() - names.keys())):
        if wrong:
            first, *more = sorted(wrong)
            others = f" and {len(more)} more" if more else ""
            raise InputError(f"{_FOREIGN}: they {what} {first}{others}; name other streams, or give other weights")


def _check_shapes(state: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> None:
    for name, tensor in state.items():
        wanted = ([1] if name.endswith(".clusters2") else []) + list(own[name].shape)
        if list(tensor.shape) != wanted:
            raise InputError(
                f"{_FOREIGN}: {name} has shape {list(tensor.shape)}, the others want {wanted}; give a whole file"
            )


def _matrix(state: Mapping[str, Tensor], name: str) -> tuple[int, int]:
    if name not in state:
        raise InputError(f"{_FOREIGN}: they lack {name}; name other streams, or give other weights")
    if state[name].ndim != 2:
        raise InputError(f"{_FOREIGN}: {name} has shape {list(state[name].shape)}, it must be a matrix")
    rows, columns = state[name].shape
    return rows, columns
