"""What lies behind the object: paper, haze, night, grass, bricks and boards, drawn from noise."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

Picture = NDArray[np.float32]  # (H, W, 3) red, green, blue in [0, 1]


def draw_background(kind: str, height: int, width: int, generator: np.random.Generator) -> Picture:
    """(height, width, 3) picture of one kind of background, never twice the same."""
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    match kind:
        case "white":
            colour = _tint(0.95, 0.94, 0.92) * np.ones_like(y)[..., None]
        case "grey":
            colour = _tint(0.52, 0.53, 0.55) * (0.8 + 0.4 * y / height)[..., None]
        case "black":
            colour = _night(height, width, generator)
        case "grass":
            blades = 0.7 * _noise(height, width, 9, 2, generator) + 0.4 * _noise(height, width, 30, 30, generator)
            colour = _tint(0.33, 0.52, 0.2) * (1 + 0.22 * blades)[..., None]
        case "brick":
            colour = _bricks(x, y, generator)
        case "wood":
            colour = _boards(x, y, generator)
        case _:
            raise ValueError(f"no background is called '{kind}'")
    vignette = 1.03 - 0.13 * ((x / width - 0.5) ** 2 + (y / height - 0.5) ** 2) * 2
    bright = colour * vignette[..., None] * generator.uniform(0.95, 1.03)
    return np.asarray(np.clip(bright, 0, 1), np.float32)


def _tint(red: float, green: float, blue: float) -> Picture:
    return np.array([red, green, blue], np.float32)


def _size(picture: Picture) -> tuple[int, int]:
    return picture.shape[0], picture.shape[1]


def _noise(height: int, width: int, tall: int, wide: int, generator: np.random.Generator) -> Picture:
    """Smooth noise of deviation 1 whose grains are about ``tall`` by ``wide`` pixels."""
    grains = generator.standard_normal((height // tall + 2, width // wide + 2)).astype(np.float32)
    return np.asarray(cv2.resize(grains, (width, height), interpolation=cv2.INTER_CUBIC), np.float32)


def _night(height: int, width: int, generator: np.random.Generator) -> Picture:
    sky = np.full((height, width, 3), _tint(0.06, 0.065, 0.1), np.float32)
    for _ in range(40):
        row, column = int(generator.integers(height)), int(generator.integers(width))
        sky[row, column] += np.float32(generator.uniform(0.2, 0.7))
    return sky


def _bricks(x: Picture, y: Picture, generator: np.random.Generator) -> Picture:
    tall, wide = 22, 48
    row = np.floor(y / tall).astype(int)
    shifted = x + (row % 2) * wide / 2
    column = np.floor(shifted / wide).astype(int)
    shades = generator.uniform(0.86, 1.1, (row.max() + 1, column.max() + 1)).astype(np.float32)
    colour = _tint(0.56, 0.37, 0.3) * shades[row, column][..., None]
    joint = (y % tall < 2.5) | (shifted % wide < 2.5)
    colour[joint] = _tint(0.66, 0.63, 0.58)
    grain = _noise(*_size(x), 3, 3, generator)
    return np.asarray(colour * (1 + 0.03 * grain)[..., None])


def _boards(x: Picture, y: Picture, generator: np.random.Generator) -> Picture:
    tall = 45
    board = np.floor(y / tall).astype(int)
    shades = generator.uniform(0.88, 1.1, board.max() + 1).astype(np.float32)
    grain = np.sin(y * 0.9 + 5 * _noise(*_size(x), 40, 120, generator) + 9 * board)
    colour = _tint(0.62, 0.44, 0.27) * (shades[board] * (1 + 0.07 * grain))[..., None]
    return np.asarray(colour * np.where(y % tall < 1.8, np.float32(0.6), np.float32(1))[..., None])
