"""Frames as decoded -> what a vision model reads, by its recipe.

    (B, H, W, 3) uint8 --antialiased resize, crop--> (B, 3, h, w) uint8 --(x * scale - mean) / std--> float32

The first step runs on the CPU and stays in whole levels, as Pillow does, with which it agrees within one level (up
to Pillow 12; 13 scales the height of tall pictures before their width, and what is clipped between differs). The
second runs on the model's device, so that a quarter of the bytes travel there. A frame whose short side is right
already is not resized.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from features.extractors.pretrained.images import NEAREST, ImageRecipe


def cut_pictures(pictures: Sequence[NDArray[Any]], recipe: ImageRecipe) -> Tensor:
    """Resize and crop.

    Args:
        pictures: B of (H, W, 3) uint8, of any shapes.
        recipe: which sizes.

    Returns:
        (B, 3, h, w) uint8, (h, w) the recipe's shape.
    """
    made = torch.empty((len(pictures), 3, *recipe.shape), dtype=torch.uint8)
    shapes: dict[tuple[int, ...], list[int]] = {}
    for place, picture in enumerate(pictures):
        shapes.setdefault(picture.shape, []).append(place)
    for places in shapes.values():
        group = torch.from_numpy(np.stack([pictures[place] for place in places]))
        made[places] = _crop(_resize(group.permute(0, 3, 1, 2), recipe), recipe)
    return made


def normalise(levels: Tensor, recipe: ImageRecipe) -> Tensor:
    """(..., 3, h, w) uint8 -> the same in float32, rescaled and normalised."""
    mean, std = (torch.tensor(values, device=levels.device)[:, None, None] for values in (recipe.mean, recipe.std))
    return (levels * recipe.scale - mean) / std


def resized_shape(height: int, width: int, recipe: ImageRecipe) -> tuple[int, int]:
    """Height and width of a picture once it is resized."""
    if recipe.resize is None:
        return height, width
    if not isinstance(recipe.resize, int):
        return recipe.resize
    short, edge = min(height, width), recipe.resize
    return (edge, int(edge * width / short)) if height <= width else (int(edge * height / short), edge)


def resize_picture(pictures: Tensor, shape: tuple[int, int], recipe: ImageRecipe) -> Tensor:
    """(..., H, W) uint8 pictures to exactly this height and width, antialiased."""
    if pictures.shape[-2:] == shape:
        return pictures
    batch = pictures if pictures.ndim == 4 else pictures[None]
    if recipe.resample == NEAREST:
        made = functional.interpolate(batch, shape, mode="nearest-exact")
    else:
        made = functional.interpolate(batch, shape, mode=recipe.resample, antialias=True)
    return made if pictures.ndim == 4 else made[0]


def _resize(pictures: Tensor, recipe: ImageRecipe) -> Tensor:
    height, width = pictures.shape[-2:]
    if isinstance(recipe.resize, int) and min(height, width) == recipe.resize:
        return pictures
    return resize_picture(pictures, resized_shape(height, width, recipe), recipe)


def _crop(pictures: Tensor, recipe: ImageRecipe) -> Tensor:
    """The middle; a picture smaller than that is laid on black."""
    if recipe.crop is None:
        return pictures
    (high, wide), (height, width) = recipe.crop, pictures.shape[-2:]
    short, narrow = max(0, high - height), max(0, wide - width)
    if short or narrow:
        top, left = (short + 1) // 2, (narrow + 1) // 2
        pictures = functional.pad(pictures, (left, narrow - left, top, short - top))
        height, width = pictures.shape[-2:]
    top, left = (height - high) // 2, (width - wide) // 2
    return pictures[..., top : top + high, left : left + wide]
