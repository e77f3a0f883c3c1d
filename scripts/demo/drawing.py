"""The frames of a clip: a background, an object that moves over it, and a person in front of both.

The object is drawn once, large, and set into each frame by one affine map. x runs to the right and y downward, in
pixels; a turn is clockwise as seen, in degrees. What leaves the picture on one side enters it on the other.

A person is drawn from soft masks over face coordinates: x runs from 0 at the nose to 1.25 at either border (a face
is symmetric), y from -1.55 to 1.95 downward, the eyes are at y = -0.2. No photograph is involved.
"""

from __future__ import annotations

import colorsys
import itertools
import math
from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any, final

import cv2
import numpy as np
from numpy.typing import NDArray

from scripts.demo.world import SHOWN_BY, VALUES, DemoClip

Picture = NDArray[np.floating[Any]]  # (H, W, 3) red, green, blue in [0, 1]; a fourth channel is opacity
Planes = NDArray[np.float32]  # (channels, H, W) of the same: numpy is fast along a row of one channel

WIDTH, HEIGHT, FPS = 352, 224, 12
FRAMES = 33
PERSON_HEIGHT, PERSON_WIDTH = 165, 118
SPRITE = 256  # side of the drawn object; its radius is SPRITE / 2.5
SPEED = {"slow": 42.0, "fast": 120.0}  # pixels a second
WAYS = {"left": (-1, 0), "right": (1, 0), "up": (0, -1), "down": (0, 1)}
PLAIN = {"white": (0.95, 0.94, 0.92), "grey": (0.52, 0.53, 0.55), "black": (0.06, 0.065, 0.1)}
# hue, saturation, value
HUES = {"red": (0.99, 0.85, 0.86), "yellow": (0.145, 0.85, 0.98), "green": (0.34, 0.8, 0.68)}
HUES |= {"turquoise": (0.48, 0.75, 0.82), "blue": (0.61, 0.8, 0.88), "purple": (0.76, 0.65, 0.66)}
HUES |= {"pink": (0.91, 0.48, 0.98)}
SKIN = ((246, 212, 186), (236, 190, 158), (222, 168, 130), (198, 146, 110))
HAIR = ((38, 30, 28), (84, 54, 34), (196, 150, 82), (142, 66, 36), (132, 130, 132))
CLOTHES = ((52, 74, 112), (112, 52, 62), (58, 92, 74), (92, 84, 96))
HAT = ((44, 52, 84), (120, 40, 44), (50, 78, 60))
FACE_WIDTH, FACE_HEIGHT = 2.5, 3.5  # of a person, in face coordinates
DETAILS = SHOWN_BY["face"][1:]


def draw_frames(clip: DemoClip) -> Iterator[NDArray[np.uint8]]:
    """(HEIGHT, WIDTH, 3) frames: FRAMES of them for a video, one for a still image."""
    facts = clip.facts
    generator = np.random.default_rng([clip.seed, 2])
    backdrop: Planes = np.array(cv2.split(draw_background(facts["background"], generator)), np.float32)
    sprite = draw_object(facts["shape"], facts["colour"], facts["texture"], generator)
    radius = float(generator.uniform(58, 62))
    middle, corner = WIDTH / 2, 0
    if "face" in facts:
        corner = int(generator.integers(2)) * (WIDTH - PERSON_WIDTH)
        middle += PERSON_WIDTH / 2 * (1 if corner == 0 else -1)
    upright = float(generator.uniform(-4, 4))
    person = draw_face(*(facts[name] for name in DETAILS), PERSON_HEIGHT) if "face" in facts else None
    for pose in poses(facts.get("motion", ""), middle, radius, generator):
        frame = backdrop.copy()
        _set_object(frame, sprite, pose + np.array([0, 0, upright, 0]), radius)
        if person is not None:
            region = frame[:, -PERSON_HEIGHT:, corner : corner + PERSON_WIDTH]
            region += person[3] * (person[:3] - region)
        frame *= 255
        frame += 0.5
        yield cv2.merge([*frame.astype(np.uint8)])


def poses(motion: str, middle: float, radius: float, generator: np.random.Generator) -> NDArray[np.floating[Any]]:
    """(FRAMES, 4) x, y, turn and size of the object about ``middle``; (1, 4) without a motion."""
    t = np.arange(FRAMES if motion else 1) / FPS
    x, y = middle + generator.uniform(-14, 14), HEIGHT / 2 + generator.uniform(-14, 14)
    vigour, phase = generator.uniform(0.95, 1.06), generator.uniform(0, 2 * math.pi)
    pose = np.stack([x + 0 * t, y + 0 * t, 0 * t, 1 + 0 * t], axis=1)
    x_of, y_of, turn, size = pose.T  # views of it
    kind, _, how = motion.partition(" ")
    angle = (-1 if how == "anticlockwise" else 1) * 2 * math.pi * vigour * t
    match kind:
        case "left" | "right" | "up" | "down":
            pose[:, :2] += np.outer(SPEED[how] * vigour * (t - t[-1] / 2), WAYS[kind])
        case "spin":
            turn += np.degrees(angle) / 4
        case "circle":
            x_of += (HEIGHT / 2 - radius) * np.cos(phase + angle / 2)
            y_of += (HEIGHT / 2 - radius) * np.sin(phase + angle / 2)
        case "grow":
            size += np.linspace(-0.55, 0.4, len(t))
        case "shrink":
            size += np.linspace(0.4, -0.55, len(t))
        case "bounce":
            y_of += 48 - 96 * np.abs(np.sin(phase + 0.575 * angle))
        case "shake":
            x_of += 9 * np.sin(phase + 2.6 * angle)
        case "swing":
            x_of += 52 * np.sin(phase + 0.55 * angle)
    return pose


def draw_background(kind: str, generator: np.random.Generator) -> Picture:
    """(HEIGHT, WIDTH, 3) picture of one kind of background, never twice the same."""
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH].astype(np.float32)

    def noise(tall: int, wide: int) -> Picture:
        grains = generator.standard_normal((HEIGHT // tall + 2, WIDTH // wide + 2))
        return np.asarray(cv2.resize(grains, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC))

    match kind:
        case "grass":
            colour, light = (0.33, 0.52, 0.2), 1 + 0.15 * noise(9, 2) + 0.09 * noise(30, 30)
        case "brick":
            colour = (0.56, 0.37, 0.3)
            shifted = x + y // 22 % 2 * 24
            joint = (y % 22 < 2.5) | (shifted % 48 < 2.5)
            light = np.where(joint, 1.5, 0.98 + 0.1 * np.sin(9.7 * (shifted // 48) + 5.3 * (y // 22)))
        case "wood":
            colour = (0.62, 0.44, 0.27)
            grain = 1 + 0.07 * np.sin(y * 0.9 + 5 * noise(40, 120) + 9 * (y // 45))
            light = np.where(y % 45 < 1.8, 0.6, grain)
        case _:
            colour, light = PLAIN[kind], np.ones_like(x)
    vignette = 1.03 - 0.26 * ((x / WIDTH - 0.5) ** 2 + (y / HEIGHT - 0.5) ** 2)
    light = light * vignette * generator.uniform(0.95, 1.03)
    return np.asarray(np.clip(light[..., None] * np.array(colour), 0, 1), np.float32)


def draw_object(shape: str, colour: str, texture: str, generator: np.random.Generator) -> Picture:
    """(SPRITE, SPRITE, 4) object, its colours already multiplied by its opacity."""
    y, x = ((np.mgrid[0:SPRITE, 0:SPRITE] + 0.5) / SPRITE * 2.5 - 1.25).astype(np.float32)
    big = np.zeros((SPRITE * 2, SPRITE * 2), np.uint8)
    outlines = (np.round((outline / 2.5 + 0.5) * SPRITE * 2) for outline in _outlines(shape))
    cv2.fillPoly(big, [outline.astype(np.int32) for outline in outlines], 255)
    mask = cv2.resize(big, (SPRITE, SPRITE), interpolation=cv2.INTER_AREA).astype(np.float32) / 255
    rim = mask - cv2.erode(mask, np.ones((9, 9), np.uint8))
    hue, saturation, value = HUES[colour]
    body = np.array(colorsys.hsv_to_rgb((hue + generator.uniform(-0.008, 0.008)) % 1, saturation, value))
    wave = {"plain": -1 + 0 * x, "striped": np.sin((x + y) * 9), "checked": np.sin(x * 8) * np.sin(y * 8) * 2}
    pattern = np.clip(wave[texture] * 3 + 0.5, 0, 1)[..., None] * 0.85
    pixels = body + pattern * 0.75 * (1 - body)  # the pattern is a pale tint of the body
    pixels *= ((1 - 0.12 * (x + y)) * (1 - 0.6 * rim))[..., None]
    shadow = cv2.GaussianBlur(mask, (0, 0), 9) * 0.45
    return np.dstack([np.clip(pixels, 0, 1) * mask[..., None], np.maximum(mask, shadow)]).astype(np.float32)


def _outlines(shape: str) -> list[Picture]:
    """Closed outlines about the origin, of radius 1; the second, if any, cuts a hole."""
    match shape:
        case "ring":
            return [_polygon([1.0] * 90), _polygon([0.56] * 90)]
        case "square":
            return [_polygon([1.14] * 4, 45)]
        case "triangle":
            return [_polygon([1.03] * 3, -90) + np.array([0, 0.2])]
        case "star":
            return [_polygon([1.03, 0.45] * 5, -90)]
    t = np.linspace(0, 2 * math.pi, 120)  # a heart
    tops = 13 * np.cos(t) - 5 * np.cos(2 * t) - 2 * np.cos(3 * t) - np.cos(4 * t)
    return [np.stack([16 * np.sin(t) ** 3, -tops - 2.5], axis=1) / 16]


def _polygon(radii: Sequence[float], first: float = 0) -> Picture:
    angles = np.radians(first + np.arange(len(radii)) * 360 / len(radii))
    return np.asarray(np.stack([np.cos(angles), np.sin(angles)], axis=1) * np.array(radii)[:, None])


def _set_object(frame: Planes, sprite: Picture, pose: Picture, radius: float) -> None:
    """Draw the object, and its other part on the far side where it crosses the border."""
    x, y, turn, size = pose.tolist()
    half = math.ceil(radius * size * 1.25 * math.sqrt(2)) + 1
    turned = cv2.getRotationMatrix2D((SPRITE / 2, SPRITE / 2), -turn, radius * size / (SPRITE / 2.5))
    for dx, dy in itertools.product((-WIDTH, 0, WIDTH), (-HEIGHT, 0, HEIGHT)):
        column, row = x % WIDTH + dx, y % HEIGHT + dy
        top, bottom = max(int(row) - half, 0), min(int(row) + half, HEIGHT)
        left, right = max(int(column) - half, 0), min(int(column) + half, WIDTH)
        if top < bottom and left < right:
            matrix = turned + np.array([[0, 0, column - left - SPRITE / 2], [0, 0, row - top - SPRITE / 2]])
            patch = cv2.warpAffine(sprite, matrix, (right - left, bottom - top), flags=cv2.INTER_LINEAR)
            *colours, opacity = cv2.split(patch)
            through = 1 - opacity
            for region, own in zip(frame[:, top:bottom, left:right], colours):
                region *= through
                region += own


# ---- people


@cache
def draw_face(glasses: str, beard: str, has_hat: str, height: int) -> Planes:
    """(4, height, height * 5 / 7): the same person, in the same clothes, for the same glasses, beard and hat."""
    details = [VALUES[name].index(value) for name, value in zip(DETAILS, (glasses, beard, has_hat))]
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
    if beard == "beard":
        whole = canvas.ellipse(0, 0.62, 0.78, 0.66, 0.08) * canvas.below(0.44 - 0.55 * x**2)
        canvas.paint(whole * (1 - canvas.ellipse(0, 0.64, 0.3, 0.12, 0.05)), hair * strands)
    if beard != "shaven":
        canvas.paint(canvas.curve(0, 0.5, 0.44, -0.1, 0.1), hair * strands)
    canvas.paint(canvas.curve(0, 0.61, 0.28, -0.015, 0.05) * 0.8, (0.66, 0.33, 0.31))
    canvas.paint(canvas.curve(0, 0.69, 0.22, 0.02, 0.06) * 0.8, (0.76, 0.42, 0.4))
    canvas.paint(canvas.curve(0, 0.645, 0.31, -0.03, 0.02), (0.3, 0.11, 0.1))
    if has_hat == "yes":
        dome = canvas.ellipse(0, -0.62, 0.98, 0.86) * (1 - canvas.below(-0.8))
        canvas.paint(dome, hat * (1.05 - 0.25 * x**2 + 0.12 * np.sin(x * 30))[..., None])
        canvas.paint(canvas.ellipse(0, -0.86, 1, 0.13), hat * 1.5)
    else:
        edge = -0.66 - 0.16 * np.cos(x * 1.9) + 1.35 * np.clip(x - 0.62, 0, 1)
        fringe = canvas.ellipse(0, -0.32, 0.99, 1.08) * (1 - canvas.below(edge, 0.06))
        canvas.paint(fringe, hair * (0.95 + 0.2 * np.sin(x * 26 + 3 * y) - 0.15 * (y + 1))[..., None])
    if glasses == "yes":
        frame = canvas.ellipse(0.37, -0.13, 0.275, 0.19, 0.02) - canvas.ellipse(0.37, -0.13, 0.24, 0.155, 0.02)
        for mask in (frame, canvas.curve(0, -0.17, 0.09, -0.02, 0.03), canvas.curve(0.77, -0.18, 0.13, 0, 0.03)):
            canvas.paint(mask, (0.07, 0.06, 0.07))
    size = round(height * FACE_WIDTH / FACE_HEIGHT), height
    return np.array(cv2.split(cv2.resize(canvas.pixels, size, interpolation=cv2.INTER_AREA)), np.float32)


@final
class _Canvas:
    """Face coordinates, and the pixels painted so far."""

    def __init__(self, rows: int) -> None:
        columns = round(rows * FACE_WIDTH / FACE_HEIGHT)
        y, x = np.mgrid[0:rows, 0:columns]
        self.x = np.abs((x + 0.5) / columns - 0.5) * FACE_WIDTH
        self.y = (y + 0.5) / rows * FACE_HEIGHT - 1.55
        self.pixels = np.zeros((rows, columns, 4), np.float32)

    def ellipse(self, cx: float, cy: float, rx: float, ry: float, soft: float = 0.03) -> Picture:
        """1 inside, 0 outside, with an edge about ``soft`` wide."""
        distance = np.hypot((self.x - cx) / rx, (self.y - cy) / ry)
        return np.asarray(np.clip((1 - distance) * min(rx, ry) / soft + 0.5, 0, 1))

    def glow(self, cx: float, cy: float, rx: float, ry: float) -> Picture:
        """A bell of light or shadow, 1 at its middle."""
        return np.asarray(np.exp(-(((self.x - cx) / rx) ** 2) - ((self.y - cy) / ry) ** 2))

    def below(self, edge: Picture | float, soft: float = 0.03) -> Picture:
        """1 below the line ``y = edge``, 0 above it."""
        return np.asarray(np.clip((self.y - edge) / soft + 0.5, 0, 1))

    def curve(self, cx: float, cy: float, half: float, bend: float, thick: float) -> Picture:
        """A brush stroke ``half`` wide either side of its middle, its ends ``bend`` higher, tapering."""
        across = np.clip((self.x - cx) / half, -1, 1)
        width = thick * np.sqrt(1 - across**2) + 1e-3
        inside = np.clip((width - np.abs(self.y - cy + bend * across**2)) / 0.02 + 0.5, 0, 1)
        return np.asarray(inside * (np.abs(across) < 1))

    def paint(self, mask: Picture, colour: Picture | Sequence[float]) -> None:
        """Lay a colour over what is there."""
        self.pixels[..., :3] += mask[..., None] * (np.asarray(colour) - self.pixels[..., :3])
        self.pixels[..., 3] += mask * (1 - self.pixels[..., 3])

    def light(self, mask: Picture, factor: float) -> None:
        """Make what is there brighter (factor > 1) or darker."""
        self.pixels[..., :3] = np.clip(self.pixels[..., :3] * (1 + mask[..., None] * (factor - 1)), 0, 1)
