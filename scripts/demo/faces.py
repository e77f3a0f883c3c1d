"""A person drawn from smooth shapes: head and shoulders, lit from above, with a transparent surround.

Every part is a soft mask over face coordinates: x runs from 0 at the nose to 1.25 at either border (a face is
symmetric), y from -1.55 to 1.95 downward, and the eyes lie at y = -0.2. No photograph is involved.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, final

import cv2
import numpy as np
from numpy.typing import NDArray

from scripts.demo.world import SHOWN_BY, VALUES, Facts

Field = NDArray[np.floating[Any]]

SKIN = ((246, 212, 186), (236, 190, 158), (222, 168, 130), (198, 146, 110))
HAIR = ((38, 30, 28), (84, 54, 34), (196, 150, 82), (142, 66, 36), (132, 130, 132))
CLOTHES = ((52, 74, 112), (112, 52, 62), (58, 92, 74), (92, 84, 96))
HAT = ((44, 52, 84), (120, 40, 44), (50, 78, 60))
WIDTH, HEIGHT = 2.5, 3.5  # of the canvas, in face coordinates


def draw_face(facts: Facts, height: int) -> Field:
    """Draw one person; who looks alike in all that captions tell is the same person, in the same clothes.

    Returns:
        (height, height * 5 / 7, 4) red, green, blue and opacity in [0, 1].
    """
    details = [VALUES[name].index(facts[name]) for name in SHOWN_BY["face"][1:]]
    generator = np.random.default_rng([5, *details])
    skin, hair, clothes, hat = (
        np.array(colours[int(generator.integers(len(colours)))]) / 255 for colours in (SKIN, HAIR, CLOTHES, HAT)
    )
    canvas = _Canvas(2 * height)
    x, y = canvas.x, canvas.y
    # Hair behind, clothes, neck, ears and head
    canvas.paint(canvas.ellipse(0, -0.32, 0.99, 1.08), hair * 0.8)
    canvas.paint(canvas.ellipse(0, 2.35, 1.2, 1.05), clothes)
    canvas.paint(canvas.ellipse(0, 1.1, 0.42, 0.55), skin * 0.72)
    canvas.paint(canvas.ellipse(0.86, 0, 0.13, 0.26), skin * 0.82)
    jaw = 1 - 0.16 * np.clip(y, 0, 1.1) ** 2  # the chin is narrower than the brow
    distance = np.hypot(x / (0.84 * jaw), (y - 0.02) / 1.12)
    depth = np.sqrt(np.clip(1 - distance**2, 0, 1))
    canvas.paint(np.clip((1 - distance) / 0.035 + 0.5, 0, 1), skin * (0.66 + 0.38 * depth - 0.05 * y)[..., None])
    # Brow, cheeks, eye sockets, nose and what it shades
    for cx, cy, rx, ry, factor in (
        *((0, -0.62, 0.5, 0.25, 1.07), (0.42, 0.26, 0.25, 0.22, 1.15), (0.36, -0.2, 0.27, 0.17, 0.52)),
        *((0, 0.05, 0.07, 0.3, 1.12), (0.13, 0.1, 0.05, 0.24, 0.9), (0, 0.27, 0.1, 0.07, 1.12)),
        (0, 0.385, 0.2, 0.05, 0.66),
    ):
        canvas.light(canvas.glow(cx, cy, rx, ry), factor)
    canvas.paint(canvas.ellipse(0.085, 0.36, 0.05, 0.026) * 0.8, skin * 0.3)
    # Eyes: white, iris, pupil, lid and brow
    white = canvas.ellipse(0.36, -0.17, 0.17, 0.078, 0.025)
    iris = np.array([0.22, 0.2, 0.18]) + np.array([0.15, 0.2, 0.2]) * generator.uniform(0, 1)
    canvas.paint(white * 0.9, (0.7, 0.68, 0.66))
    canvas.paint(white * canvas.ellipse(0.36, -0.17, 0.085, 0.085, 0.02), iris)
    canvas.paint(white * canvas.ellipse(0.36, -0.17, 0.045, 0.045, 0.02), (0.03, 0.03, 0.03))
    canvas.paint(canvas.curve(0.36, -0.255, 0.21, -0.06, 0.032), (0.1, 0.07, 0.06))
    canvas.paint(canvas.curve(0.38, -0.39, 0.27, -0.07, 0.06) * 0.92, hair * 0.6)
    # Beard and mouth
    strands = (0.95 + 0.25 * np.sin(x * 46 + 5 * np.sin(y * 9)) * np.sin(y * 30))[..., None]
    if facts["beard"] == "beard":
        whole = canvas.ellipse(0, 0.62, 0.78, 0.66, 0.08) * canvas.below(0.44 - 0.55 * x**2)
        canvas.paint(whole * (1 - canvas.ellipse(0, 0.64, 0.3, 0.12, 0.05)), hair * strands)
    if facts["beard"] != "shaven":
        canvas.paint(canvas.curve(0, 0.5, 0.44, -0.1, 0.1), hair * strands)
    canvas.paint(canvas.curve(0, 0.61, 0.28, -0.015, 0.05) * 0.8, (0.66, 0.33, 0.31))
    canvas.paint(canvas.curve(0, 0.69, 0.22, 0.02, 0.06) * 0.8, (0.76, 0.42, 0.4))
    canvas.paint(canvas.curve(0, 0.645, 0.31, -0.03, 0.02), (0.3, 0.11, 0.1))
    if facts["hat"] == "yes":
        dome = canvas.ellipse(0, -0.62, 0.98, 0.86) * (1 - canvas.below(-0.8))
        canvas.paint(dome, hat * (1.05 - 0.25 * x**2 + 0.12 * np.sin(x * 30))[..., None])
        canvas.paint(canvas.ellipse(0, -0.86, 1, 0.13), hat * 1.5)
    else:
        edge = -0.66 - 0.16 * np.cos(x * 1.9) + 1.35 * np.clip(x - 0.62, 0, 1)
        fringe = canvas.ellipse(0, -0.32, 0.99, 1.08) * (1 - canvas.below(edge, 0.06))
        canvas.paint(fringe, hair * (0.95 + 0.2 * np.sin(x * 26 + 3 * y) - 0.15 * (y + 1))[..., None])
    if facts["glasses"] == "yes":
        frame = canvas.ellipse(0.37, -0.13, 0.275, 0.19, 0.02) - canvas.ellipse(0.37, -0.13, 0.24, 0.155, 0.02)
        for mask in (frame, canvas.curve(0, -0.17, 0.09, -0.02, 0.03), canvas.curve(0.77, -0.18, 0.13, 0, 0.03)):
            canvas.paint(mask, (0.07, 0.06, 0.07))
    size = round(height * WIDTH / HEIGHT), height
    return np.asarray(cv2.resize(canvas.pixels, size, interpolation=cv2.INTER_AREA), np.float32)


@final
class _Canvas:
    """Face coordinates, and the pixels painted so far."""

    def __init__(self, rows: int) -> None:
        columns = round(rows * WIDTH / HEIGHT)
        y, x = np.mgrid[0:rows, 0:columns]
        self.x = np.abs((x + 0.5) / columns - 0.5) * WIDTH
        self.y = (y + 0.5) / rows * HEIGHT - 1.55
        self.pixels = np.zeros((rows, columns, 4), np.float32)

    def ellipse(self, cx: float, cy: float, rx: float, ry: float, soft: float = 0.03) -> Field:
        """1 inside, 0 outside, with an edge about ``soft`` wide."""
        distance = np.hypot((self.x - cx) / rx, (self.y - cy) / ry)
        return np.asarray(np.clip((1 - distance) * min(rx, ry) / soft + 0.5, 0, 1))

    def glow(self, cx: float, cy: float, rx: float, ry: float) -> Field:
        """A bell of light or shadow, 1 at its middle."""
        return np.asarray(np.exp(-(((self.x - cx) / rx) ** 2) - ((self.y - cy) / ry) ** 2))

    def below(self, edge: Field | float, soft: float = 0.03) -> Field:
        """1 below the line ``y = edge``, 0 above it."""
        return np.asarray(np.clip((self.y - edge) / soft + 0.5, 0, 1))

    def curve(self, cx: float, cy: float, half: float, bend: float, thick: float) -> Field:
        """A brush stroke ``half`` wide either side of its middle, its ends ``bend`` higher, tapering."""
        across = np.clip((self.x - cx) / half, -1, 1)
        width = thick * np.sqrt(1 - across**2) + 1e-3
        inside = np.clip((width - np.abs(self.y - cy + bend * across**2)) / 0.02 + 0.5, 0, 1)
        return np.asarray(inside * (np.abs(across) < 1))

    def paint(self, mask: Field, colour: Field | Sequence[float]) -> None:
        """Lay a colour over what is there."""
        self.pixels[..., :3] += mask[..., None] * (np.asarray(colour) - self.pixels[..., :3])
        self.pixels[..., 3] += mask * (1 - self.pixels[..., 3])

    def light(self, mask: Field, factor: float) -> None:
        """Make what is there brighter (factor > 1) or darker."""
        self.pixels[..., :3] = np.clip(self.pixels[..., :3] * (1 + mask[..., None] * (factor - 1)), 0, 1)
