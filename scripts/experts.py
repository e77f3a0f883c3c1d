"""The experts that mee train's arguments name.

    --expert NAME:POOLING[+POOLING][:EMBED_DIM]     audio:netvlad-16:128    face:mean
    --aligned NAME=HUB_ID_OR_DIRECTORY              appearance=openai/clip-vit-base-patch32

An aligned expert brings the text tower that its stream was made to go with, and starts as the identity.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from mee.config import ExpertConfig
from mee.errors import InputError
from mee.presets import Preset

if TYPE_CHECKING:
    from features.store import FeatureStore


def expert_configs(
    preset: Preset,
    store: FeatureStore,
    streams: Sequence[str],
    *,
    special: Sequence[str] = (),
    aligned: Sequence[str] = (),
    embed_dim: int | None = None,
    pooling: tuple[str, ...] = (),
) -> tuple[ExpertConfig, ...]:
    """One expert a stream.

    Raises:
        InputError: a stream is not in the store, or a setting makes no sense.
    """
    names = streams or tuple(store.dims)
    for name in names:
        if name not in store.dims:
            raise InputError(f"{store.name} has no stream '{name}'; it has {', '.join(store.dims)}")
    settings, towers = _special(special), _aligned(aligned)
    for name in (*settings, *towers):
        if name not in names:
            raise InputError(f"there is no expert '{name}' to set; there are {', '.join(names)}")
    common: dict[str, Any] = {}
    if embed_dim is not None:
        common["embed_dim"] = embed_dim
    if pooling:
        common["pooling"] = pooling
    experts = []
    for name in names:
        expert = preset.expert(name, store.dims[name], store.fingerprints[name])
        changes = {**common, **settings.get(name, {})}
        if name in towers:
            changes = {"embed_dim": store.dims[name], "pooling": ("mean",), "standardise": False}
            changes |= {"text": towers[name], "start": "identity"}
        try:
            experts.append(replace(expert, **changes))
        except ValueError as error:
            raise InputError(f"expert {error}") from error
    return tuple(experts)


def _special(given: Sequence[str]) -> dict[str, dict[str, Any]]:
    settings: dict[str, dict[str, Any]] = {}
    for text in given:
        name, _, rest = text.partition(":")
        poolings, _, size = rest.partition(":")
        if not name or not poolings or (size and not size.isdecimal()) or name in settings:
            raise InputError(f"--expert {text}: write NAME:POOLING[+POOLING][:EMBED_DIM], each name once")
        settings[name] = {"pooling": tuple(poolings.split("+"))}
        if size:
            settings[name]["embed_dim"] = int(size)
    return settings


def _aligned(given: Sequence[str]) -> dict[str, str]:
    towers: dict[str, str] = {}
    for text in given:
        name, _, tower = text.partition("=")
        if not name or not tower or name in towers:
            raise InputError(f"--aligned {text}: write NAME=HUB_ID_OR_DIRECTORY, each name once")
        towers[name] = tower
    return towers
