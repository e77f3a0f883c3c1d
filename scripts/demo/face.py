"""A person drawn from smooth shapes: head and shoulders, lit from above, with a transparent surround.

Every part is a soft mask over face coordinates: x runs from -1.25 to 1.25 to the right, y from -1.55
to 1.95 downward, and the eyes lie at y = -0.2. No photograph is involved.
"""

from __future__ import annotations

from typing import Any, final

import cv2
import numpy as np
from numpy.typing import NDArray

from scripts.demo.facts import BEARDS, Face

Field = NDArray[np.floating[Any]]

SKIN = ((246, 212, 186), (236, 190, 158), (222, 168, 130), (198, 146, 110))
HAIR = ((38, 30, 28), (84, 54, 34), (196, 150, 82), (142, 66, 36), (132, 130, 132))
CLOTHES = ((52, 74, 112), (112, 52, 62), (58, 92, 74), (92, 84, 96))
HAT = ((44, 52, 84), (120, 40, 44), (50, 78, 60))
WIDTH, HEIGHT = 2.5, 3.5  # of the canvas, in face coordinates
SHARPNESS = 4  # each pixel is averaged from this many, squared


def draw_face(face: Face, height: int) -> Field:
    """Draw one person; who looks alike in all that captions tell is the same person, in the same clothes.

    Returns:
        (height, height * 5 / 7, 4) red, green, blue and opacity in [0, 1].
    """
    rows = height * SHARPNESS // 2
    columns = round(rows * WIDTH / HEIGHT)
    y, x = np.mgrid[0:rows, 0:columns].astype(np.float32)
    canvas = _Canvas((x + 0.5) / columns * WIDTH - WIDTH / 2, (y + 0.5) / rows * HEIGHT - 1.55)
    look = [face.glasses, BEARDS.index(face.beard), face.hat]
    generator = np.random.default_rng([5, *map(int, look)])
    skin, hair, clothes, hat = (
        np.array(_pick(colours, generator), np.float32) / 255 for colours in (SKIN, HAIR, CLOTHES, HAT)
    )
    _body(canvas, skin, hair, clothes)
    _head(canvas, skin)
    _eyes(canvas, hair, generator.uniform(0, 1))
    _nose(canvas, skin)
    _facial_hair(canvas, face.beard, hair)
    _mouth(canvas)
    if face.hat:
        _hat(canvas, hat)
    else:
        _fringe(canvas, hair)
    if face.glasses:
        _glasses(canvas)
    size = round(height * WIDTH / HEIGHT), height
    return np.asarray(cv2.resize(canvas.pixels, size, interpolation=cv2.INTER_AREA), np.float32)


def _pick(colours: tuple[tuple[int, int, int], ...], generator: np.random.Generator) -> tuple[int, int, int]:
    return colours[int(generator.integers(len(colours)))]


@final
class _Canvas:
    """Face coordinates, and the pixels painted so far."""

    def __init__(self, x: Field, y: Field) -> None:
        self.x, self.y = x, y
        self.pixels = np.zeros((*x.shape, 4), np.float32)

    def ellipse(self, cx: float, cy: float, rx: float, ry: float, soft: float = 0.03) -> Field:
        """1 inside, 0 outside, with an edge about ``soft`` wide."""
        distance = np.hypot((self.x - cx) / rx, (self.y - cy) / ry)
        return np.asarray(np.clip((1 - distance) * min(rx, ry) / soft + 0.5, 0, 1), np.float32)

    def glow(self, cx: float, cy: float, rx: float, ry: float) -> Field:
        """A bell of light or shadow, 1 at its middle."""
        return np.asarray(np.exp(-(((self.x - cx) / rx) ** 2) - ((self.y - cy) / ry) ** 2), np.float32)

    def below(self, edge: Field | float, soft: float = 0.03) -> Field:
        """1 below the line ``y = edge``, 0 above it."""
        return np.asarray(np.clip((self.y - edge) / soft + 0.5, 0, 1), np.float32)

    def curve(self, cx: float, cy: float, half: float, bend: float, thick: float) -> Field:
        """A brush stroke ``half`` wide either side of its middle, its ends ``bend`` higher, tapering."""
        across = np.clip((self.x - cx) / half, -1, 1)
        middle = cy - bend * across**2
        width = thick * np.sqrt(np.maximum(1 - across**2, 0)) + 1e-3
        inside = np.clip((width - np.abs(self.y - middle)) / 0.02 + 0.5, 0, 1)
        return np.asarray(inside * (np.abs(self.x - cx) < half), np.float32)

    def paint(self, mask: Field, colour: Field | tuple[float, float, float]) -> None:
        """Lay a colour over what is there."""
        rgb = np.asarray(colour, np.float32)
        self.pixels[..., :3] += mask[..., None] * (rgb - self.pixels[..., :3])
        self.pixels[..., 3] += mask * (1 - self.pixels[..., 3])

    def light(self, mask: Field, factor: float) -> None:
        """Make what is there brighter (factor > 1) or darker."""
        self.pixels[..., :3] *= 1 + mask[..., None] * (factor - 1)
        np.clip(self.pixels[..., :3], 0, 1, out=self.pixels[..., :3])


def _body(canvas: _Canvas, skin: Field, hair: Field, clothes: Field) -> None:
    canvas.paint(canvas.ellipse(0, -0.32, 0.99, 1.08), hair * 0.8)
    canvas.paint(canvas.ellipse(0, 2.35, 1.2, 1.05), clothes)
    canvas.light(canvas.glow(-0.45, 1.6, 0.5, 0.4), 1.25)
    neck = canvas.ellipse(0, 1.1, 0.42, 0.55)
    canvas.paint(neck, skin * 0.72)


def _head(canvas: _Canvas, skin: Field) -> None:
    jaw = 1 - 0.16 * np.clip(canvas.y, 0, 1.1) ** 2  # the chin is narrower than the brow
    distance = np.hypot(canvas.x / (0.84 * jaw), (canvas.y - 0.02) / 1.12)
    mask = np.clip((1 - distance) / 0.035 + 0.5, 0, 1).astype(np.float32)
    for side in (-1, 1):
        canvas.paint(canvas.ellipse(side * 0.86, 0.0, 0.13, 0.26), skin * 0.82)
    depth = np.sqrt(np.clip(1 - distance**2, 0, 1))
    light = 0.66 + 0.38 * depth - 0.05 * canvas.x - 0.05 * canvas.y
    canvas.paint(mask, skin * light[..., None].astype(np.float32))
    canvas.light(canvas.glow(0, -0.62, 0.5, 0.25), 1.07)
    for side in (-1, 1):
        canvas.light(canvas.glow(side * 0.42, 0.26, 0.25, 0.22), 1.15)
        canvas.light(canvas.glow(side * 0.36, -0.2, 0.27, 0.17), 0.52)
    canvas.light(canvas.glow(0, 0.98, 0.4, 0.12), 0.85)


def _eyes(canvas: _Canvas, hair: Field, brightness: float) -> None:
    iris = (0.22 + 0.15 * brightness, 0.2 + 0.2 * brightness, 0.18 + 0.2 * brightness)
    for side in (-1, 1):
        x, y = side * 0.36, -0.17
        white = canvas.ellipse(x, y, 0.17, 0.078, 0.025)
        canvas.paint(white * 0.9, (0.7, 0.68, 0.66))
        canvas.paint(white * canvas.ellipse(x, y, 0.085, 0.085, 0.02), iris)
        canvas.paint(white * canvas.ellipse(x, y, 0.045, 0.045, 0.02), (0.03, 0.03, 0.03))
        canvas.paint(canvas.ellipse(x - 0.03, y - 0.03, 0.016, 0.016, 0.02), (1, 1, 1))
        canvas.paint(canvas.curve(x, y - 0.085, 0.21, -0.06, 0.032), (0.1, 0.07, 0.06))
        canvas.paint(canvas.curve(x, y + 0.075, 0.17, 0.03, 0.012) * 0.5, (0.25, 0.15, 0.12))
        canvas.paint(canvas.curve(x + side * 0.02, y - 0.22, 0.27, -0.07, 0.06) * 0.92, hair * 0.6)


def _nose(canvas: _Canvas, skin: Field) -> None:
    canvas.light(canvas.glow(-0.02, 0.05, 0.07, 0.3), 1.12)
    canvas.light(canvas.glow(0.12, 0.12, 0.06, 0.24), 0.86)
    canvas.light(canvas.glow(-0.13, 0.1, 0.05, 0.24), 0.93)
    canvas.light(canvas.glow(0, 0.27, 0.1, 0.07), 1.12)
    canvas.light(canvas.glow(0, 0.385, 0.2, 0.05), 0.66)
    for side in (-1, 1):
        canvas.paint(canvas.ellipse(side * 0.085, 0.36, 0.05, 0.026, 0.03) * 0.8, skin * 0.3)


def _mouth(canvas: _Canvas) -> None:
    canvas.paint(canvas.curve(0, 0.61, 0.28, -0.015, 0.05) * 0.8, (0.66, 0.33, 0.31))
    canvas.paint(canvas.curve(0, 0.69, 0.22, 0.02, 0.06) * 0.8, (0.76, 0.42, 0.4))
    canvas.paint(canvas.curve(0, 0.645, 0.31, -0.03, 0.02), (0.3, 0.11, 0.1))
    canvas.light(canvas.glow(0, 0.8, 0.2, 0.045), 0.8)


def _facial_hair(canvas: _Canvas, kind: str, hair: Field) -> None:
    strands = 0.95 + 0.25 * np.sin(canvas.x * 46 + 5 * np.sin(canvas.y * 9)) * np.sin(canvas.y * 30)
    shade = (hair[None, None] * strands[..., None]).astype(np.float32)
    if kind == "beard":
        whole = canvas.ellipse(0, 0.62, 0.78, 0.66, 0.08) * canvas.below(0.44 - 0.55 * np.abs(canvas.x) ** 2)
        lips = canvas.ellipse(0, 0.64, 0.3, 0.12, 0.05)
        canvas.paint(whole * (1 - lips), shade)
    if kind in ("beard", "moustache"):
        canvas.paint(canvas.curve(0, 0.5, 0.44, -0.1, 0.1), shade)


def _fringe(canvas: _Canvas, hair: Field) -> None:
    edge = -0.66 - 0.16 * np.cos(canvas.x * 1.9) + 0.9 * np.clip(np.abs(canvas.x) - 0.62, 0, 1) * 1.5
    top = canvas.ellipse(0, -0.32, 0.99, 1.08) * (1 - canvas.below(edge, 0.06))
    strands = 0.95 + 0.2 * np.sin(canvas.x * 26 + 3 * canvas.y) - 0.15 * (canvas.y + 1)
    canvas.paint(top, (hair * strands[..., None]).astype(np.float32))


def _hat(canvas: _Canvas, colour: Field) -> None:
    dome = canvas.ellipse(0, -0.62, 0.98, 0.86) * (1 - canvas.below(-0.8))
    shade = 1.05 - 0.25 * canvas.x**2 + 0.12 * np.sin(canvas.x * 30)
    canvas.paint(dome, (colour * shade[..., None]).astype(np.float32))
    band = canvas.ellipse(0, -0.86, 1.0, 0.13)
    canvas.paint(band, colour * 1.5)
    canvas.light(canvas.glow(0, -0.64, 0.8, 0.06), 0.85)


def _glasses(canvas: _Canvas) -> None:
    for side in (-1, 1):
        outer = canvas.ellipse(side * 0.37, -0.13, 0.275, 0.19, 0.02)
        inner = canvas.ellipse(side * 0.37, -0.13, 0.24, 0.155, 0.02)
        canvas.paint(outer * (1 - inner), (0.07, 0.06, 0.07))
        canvas.paint(inner * canvas.glow(side * 0.38 - 0.1, -0.24, 0.07, 0.05) * 0.5, (1, 1, 1))
    canvas.paint(canvas.curve(0, -0.17, 0.09, -0.02, 0.03), (0.07, 0.06, 0.07))
    for side in (-1, 1):
        canvas.paint(canvas.curve(side * 0.77, -0.18, 0.13, 0, 0.03), (0.07, 0.06, 0.07))
