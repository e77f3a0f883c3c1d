"""Frames as decoded -> what a vision model reads, by its recipe.

    (B, H, W, 3) uint8 --antialiased resize, crop--> (B, 3, h, w) uint8 --(x * scale - mean) / std--> float32

The first step runs on the CPU and stays in whole levels, as Pillow does, with which it agrees within one level (up
to Pillow 12; 13 scales the height of tall pictures before their width, and the values clipped between differ). The
second runs on the model's device, so that a quarter of the bytes are copied there. A frame whose short side is
right already is not resized.

As patches (SigLIP 2 NaFlex) a picture keeps its proportions and becomes at most `most` patches of side P; where it
has fewer, more are added that a mask hides, so that pictures of any shape share a batch:

    rows, columns = ceil(s H / P), ceil(s W / P),   s the largest with rows * columns <= most
"""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from features.extractors.pretrained.recipe import NEAREST, ImageRecipe


def cut_pictures(pictures: Sequence[NDArray[Any]], recipe: ImageRecipe) -> Tensor:
    """(B, 3, h, w) uint8, (h, w) the recipe's shape, of B pictures (H, W, 3) uint8 of any shapes."""
    made = torch.empty((len(pictures), 3, *recipe.shape), dtype=torch.uint8)
    for shape in {picture.shape for picture in pictures}:
        places = [place for place, picture in enumerate(pictures) if picture.shape == shape]
        group = torch.from_numpy(np.stack([pictures[place] for place in places])).permute(0, 3, 1, 2)
        made[places] = _crop(_resize(group, resized_shape(group.shape[2], group.shape[3], recipe), recipe), recipe)
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


def _resize(pictures: Tensor, shape: tuple[int, int], recipe: ImageRecipe) -> Tensor:
    """(B, 3, H, W) uint8 pictures to exactly this height and width, antialiased."""
    if pictures.shape[-2:] == shape:
        return pictures
    if recipe.resample == NEAREST:
        return functional.interpolate(pictures, shape, mode="nearest-exact")
    return functional.interpolate(pictures, shape, mode=recipe.resample, antialias=True)


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


def grid_of(height: int, width: int, patch: int, most: int) -> tuple[int, int]:
    """Rows and columns of patches of side ``patch`` that a picture becomes, at most ``most`` of them."""
    low, high = 1e-6, 100.0  # scales: the first fits, the second does not
    while high - low >= 1e-5:
        middle = (low + high) / 2
        rows, columns = ceil(height * middle / patch), ceil(width * middle / patch)
        low, high = (middle, high) if rows * columns <= most else (low, middle)
    return max(1, ceil(height * low / patch)), max(1, ceil(width * low / patch))


def cut_patches(
    pictures: Sequence[NDArray[Any]], recipe: ImageRecipe, patch: int, most: int
) -> tuple[Tensor, Tensor]:
    """Resize B pictures (H, W, 3) uint8 of any shapes in proportion, and cut them into patches, row by row.

    (B, N, 3, P, P) uint8, N = ``most`` and P = ``patch``, zero beyond the grid; and (B, 2) its rows and columns.
    """
    levels = torch.zeros((len(pictures), most, 3, patch, patch), dtype=torch.uint8)
    grid = [grid_of(picture.shape[0], picture.shape[1], patch, most) for picture in pictures]
    for place, (picture, (rows, columns)) in enumerate(zip(pictures, grid)):
        pixels = torch.from_numpy(np.ascontiguousarray(picture)).permute(2, 0, 1)
        resized = _resize(pixels[None], (rows * patch, columns * patch), recipe)[0]
        patches = resized.unflatten(1, (rows, patch)).unflatten(3, (columns, patch))  # 3, r, P, c, P
        levels[place, : rows * columns] = patches.permute(1, 3, 0, 2, 4).flatten(0, 1)
    return levels, torch.tensor(grid)
