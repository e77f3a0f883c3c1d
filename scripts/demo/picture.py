"""The object of a clip, and the frames in which it moves.

    frame(t) = person over object(t) over background

The object is drawn once, large, and set into each frame by one affine map.
"""

from __future__ import annotations

import colorsys
import math
from collections.abc import Iterator

import cv2
import numpy as np
from numpy.typing import NDArray

from scripts.demo.background import Picture, draw_background
from scripts.demo.face import draw_face
from scripts.demo.facts import DemoClip
from scripts.demo.motion import Pose, Room, path

WIDTH, HEIGHT, FPS = 352, 224, 12
FRAMES = 33
PERSON_HEIGHT, PERSON_WIDTH = 165, 118
SPRITE = 256  # side of the drawn object, which fills 0.8 of it
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
    backdrop = draw_background(facts.background, HEIGHT, WIDTH, generator)
    sprite = draw_object(facts.shape, facts.colour, facts.texture, generator)
    radius = float(generator.uniform(58, 62))
    left, right = 0, WIDTH
    person: Picture | None = None
    corner = (HEIGHT - PERSON_HEIGHT, 0)
    if facts.face:
        person = draw_face(facts.face, PERSON_HEIGHT)
        if generator.random() < 0.5:
            left = PERSON_WIDTH
        else:
            right = WIDTH - PERSON_WIDTH
            corner = (corner[0], right)
    room = Room(left=left, right=right, top=0, bottom=HEIGHT, radius=radius)
    pose_at = path(facts.motion or "still", room, FRAMES / FPS, generator)
    upright = generator.uniform(-4, 4)
    for i in range(FRAMES if facts.motion else 1):
        frame = backdrop.copy()
        for pose in _copies(pose_at(i / FPS)):
            _set_object(frame, sprite, pose, upright, radius)
        if person is not None:
            _lay_over(frame, person, *corner)
        yield (frame * 255 + 0.5).astype(np.uint8)


def draw_object(shape: str, colour: str, texture: str, generator: np.random.Generator) -> Picture:
    """(SPRITE, SPRITE, 4) object, its colours already multiplied by its opacity."""
    y, x = ((np.mgrid[0:SPRITE, 0:SPRITE] + 0.5) / SPRITE * 2.5 - 1.25).astype(np.float32)
    mask = _mask(_outlines(shape))
    rim = mask - cv2.erode(mask, np.ones((9, 9), np.uint8))
    hue, saturation, value = HUES[colour]
    hue += generator.uniform(-0.008, 0.008)
    body = np.array(colorsys.hsv_to_rgb(hue % 1, saturation, value), np.float32)
    pattern = _pattern(texture, x, y) * 0.85
    pixels = body + pattern[..., None] * (body * 0.25 + 0.75 - body)  # the pattern is a pale tint of the body
    pixels *= (1.0 - 0.12 * (x + y))[..., None]
    pixels *= (1 - 0.6 * rim)[..., None]
    shadow = cv2.GaussianBlur(mask, (0, 0), 9) * 0.45
    opacity = np.maximum(mask, shadow)
    return np.dstack([np.clip(pixels, 0, 1) * mask[..., None], opacity]).astype(np.float32)


def _pattern(texture: str, x: Picture, y: Picture) -> Picture:
    match texture:
        case "striped":
            wave = np.sin((x + y) * 9)
        case "checked":
            wave = np.sin(x * 8) * np.sin(y * 8) * 2
        case _:
            return np.zeros_like(x)
    return np.asarray(np.clip(wave * 3 + 0.5, 0, 1), np.float32)


def _outlines(shape: str) -> list[NDArray[np.float64]]:
    """Closed outlines about the origin, of radius 1; the second, if any, cuts a hole."""
    match shape:
        case "ring":
            return [_round(1), _round(0.56)]
        case "square":
            return [_corners([1.2] * 4, 45)]
        case "triangle":
            return [_corners([1.08] * 3, -90) + np.array([0, 0.2])]
        case "star":
            return [_corners([1.08, 0.47] * 5, -90)]
        case "heart":
            t = np.linspace(0, 2 * math.pi, 120)
            tops = 13 * np.cos(t) - 5 * np.cos(2 * t) - 2 * np.cos(3 * t) - np.cos(4 * t)
            return [np.stack([16 * np.sin(t) ** 3, -tops - 2.5], axis=1) / 16]
    raise ValueError(f"no shape is called '{shape}'")


def _round(radius: float) -> NDArray[np.float64]:
    t = np.linspace(0, 2 * math.pi, 100)
    return np.asarray(np.stack([np.cos(t), np.sin(t)], axis=1) * radius)


def _corners(radii: list[float], first: float) -> NDArray[np.float64]:
    angles = np.radians(first + np.arange(len(radii)) * 360 / len(radii))
    circle = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    return np.asarray(circle * np.array(radii)[:, None] / 1.05)


def _mask(outlines: list[NDArray[np.float64]]) -> Picture:
    big = np.zeros((SPRITE * 2, SPRITE * 2), np.uint8)
    points = [np.round((outline / 2.5 + 0.5) * SPRITE * 2).astype(np.int32) for outline in outlines]
    cv2.fillPoly(big, points, 255)
    small = cv2.resize(big, (SPRITE, SPRITE), interpolation=cv2.INTER_AREA)
    return np.asarray(small / 255, np.float32)


def _copies(pose: Pose) -> Iterator[Pose]:
    """The object, and its other part on the far side where it crosses the border."""
    for x in (pose.x % WIDTH + shift for shift in (-WIDTH, 0, WIDTH)):
        for y in (pose.y % HEIGHT + shift for shift in (-HEIGHT, 0, HEIGHT)):
            yield Pose(x=x, y=y, turn=pose.turn, size=pose.size)


def _set_object(frame: Picture, sprite: Picture, pose: Pose, upright: float, radius: float) -> None:
    half = math.ceil(radius * pose.size * 1.25 * math.sqrt(2)) + 1
    column, row = math.floor(pose.x) - half, math.floor(pose.y) - half
    top, bottom = max(row, 0), min(row + 2 * half, HEIGHT)
    left, right = max(column, 0), min(column + 2 * half, WIDTH)
    if top >= bottom or left >= right:
        return
    scale = radius * pose.size / (SPRITE / 2.5)
    matrix = cv2.getRotationMatrix2D((SPRITE / 2, SPRITE / 2), -pose.turn - upright, scale)
    matrix[:, 2] += np.array([pose.x - left - SPRITE / 2, pose.y - top - SPRITE / 2])
    patch = cv2.warpAffine(sprite, matrix, (right - left, bottom - top), flags=cv2.INTER_LINEAR)
    region = frame[top:bottom, left:right]
    region *= 1 - patch[..., 3:]
    region += patch[..., :3]


def _lay_over(frame: Picture, person: Picture, row: int, column: int) -> None:
    height, width = person.shape[:2]
    region = frame[row : row + height, column : column + width]
    region += person[..., 3:] * (person[..., :3] - region)
