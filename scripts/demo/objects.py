"""The frames of a clip: a background, an object that moves over it, and the person in front of both.

The object is drawn once, large, and set into each frame by one affine map. x runs to the right and y downward, in
pixels; a turn is clockwise as seen, in degrees. What leaves the picture on one side enters it on the other.
"""

from __future__ import annotations

import colorsys
import itertools
import math
from collections.abc import Iterator, Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from scripts.demo.faces import draw_face
from scripts.demo.world import DemoClip

Picture = NDArray[np.floating[Any]]  # (H, W, 3) red, green, blue in [0, 1]; a fourth channel is opacity

WIDTH, HEIGHT, FPS = 352, 224, 12
FRAMES = 33
PERSON_HEIGHT, PERSON_WIDTH = 165, 118
SPRITE = 256  # side of the drawn object; its radius is SPRITE / 2.5
SPEED = {"slow": 42.0, "fast": 120.0}  # pixels a second
WAYS = {"left": (-1, 0), "right": (1, 0), "up": (0, -1), "down": (0, 1)}
PLAIN = {"white": (0.95, 0.94, 0.92), "grey": (0.52, 0.53, 0.55), "black": (0.06, 0.065, 0.1)}
HUES = {
    "red": (0.99, 0.85, 0.86),  # hue, saturation, value
    "yellow": (0.145, 0.85, 0.98),
    "green": (0.34, 0.8, 0.68),
    "turquoise": (0.48, 0.75, 0.82),
    "blue": (0.61, 0.8, 0.88),
    "purple": (0.76, 0.65, 0.66),
    "pink": (0.91, 0.48, 0.98),
}


def draw_frames(clip: DemoClip) -> Iterator[NDArray[np.uint8]]:
    """(HEIGHT, WIDTH, 3) frames: FRAMES of them for a video, one for a still image."""
    facts = clip.facts
    generator = np.random.default_rng([clip.seed, 2])
    backdrop = draw_background(facts["background"], generator)
    sprite = draw_object(facts["shape"], facts["colour"], facts["texture"], generator)
    radius = float(generator.uniform(58, 62))
    middle, corner = WIDTH / 2, 0
    if "face" in facts:
        corner = int(generator.integers(2)) * (WIDTH - PERSON_WIDTH)
        middle += PERSON_WIDTH / 2 * (1 if corner == 0 else -1)
    upright = float(generator.uniform(-4, 4))
    person = draw_face(facts, PERSON_HEIGHT) if "face" in facts else None
    for pose in poses(facts.get("motion", ""), middle, radius, generator):
        frame = backdrop.copy()
        _set_object(frame, sprite, pose + np.array([0, 0, upright, 0]), radius)
        if person is not None:
            region = frame[-PERSON_HEIGHT:, corner : corner + PERSON_WIDTH]
            region += person[..., 3:] * (person[..., :3] - region)
        yield (frame * 255 + 0.5).astype(np.uint8)


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


def _set_object(frame: Picture, sprite: Picture, pose: Picture, radius: float) -> None:
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
            region = frame[top:bottom, left:right]
            region *= 1 - patch[..., 3:]
            region += patch[..., :3]
