"""Where the object is at a time: path(motion) is a function from seconds to a Pose.

x runs to the right and y downward, in pixels; turn is clockwise as seen, in degrees. What leaves the
picture on one side comes in again on the other, so a direction never turns round.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

SLOW, FAST = 42.0, 120.0  # pixels a second
WAYS = {"left": (-1, 0), "right": (1, 0), "up": (0, -1), "down": (0, 1)}


@dataclass(frozen=True, kw_only=True)
class Pose:
    """Place of the object's middle, its turn and its size against its usual one."""

    x: float
    y: float
    turn: float = 0.0
    size: float = 1.0


@dataclass(frozen=True, kw_only=True)
class Room:
    """The free part of the picture, in which the object starts."""

    left: float
    right: float
    top: float
    bottom: float
    radius: float  # of the object


def path(motion: str, room: Room, seconds: float, generator: np.random.Generator) -> Callable[[float], Pose]:
    """Draw one path of this motion."""
    vigour = generator.uniform(0.95, 1.06)
    phase = generator.uniform(0, 2 * math.pi)
    word = motion.split()
    if word[0] in WAYS:
        return _straight(word[0], (SLOW if word[1] == "slow" else FAST) * vigour, room, seconds, generator)
    reach = {"bounce": (0.0, 48.0), "swing": (52.0, 0.0)}.get(word[0], (0.0, 0.0))
    x, y = _start(room, reach, generator)
    side = -1 if word[-1] == "anticlockwise" else 1
    match word[0]:
        case "spin":
            return lambda t: Pose(x=x, y=y, turn=side * 90 * vigour * t)
        case "circle":
            cx, cy, radius = _ring(room)
            return lambda t: _on_ring(cx, cy, radius, phase + side * 2 * math.pi * 0.5 * vigour * t)
        case "grow":
            return lambda t: Pose(x=x, y=y, size=0.45 + 0.95 * t / seconds)
        case "shrink":
            return lambda t: Pose(x=x, y=y, size=1.4 - 0.95 * t / seconds)
        case "bounce":
            return lambda t: Pose(x=x, y=y + 48 - 96 * abs(math.sin(phase + math.pi * 1.15 * vigour * t)))
        case "shake":
            return lambda t: Pose(x=x + 9 * math.sin(phase + 2 * math.pi * 2.6 * vigour * t), y=y)
        case "swing":
            return lambda t: Pose(x=x + 52 * math.sin(phase + 2 * math.pi * 0.55 * vigour * t), y=y)
        case "still":
            return lambda t: Pose(x=x, y=y)
    raise ValueError(f"no motion is called '{motion}'")


def _straight(
    way: str, speed: float, room: Room, seconds: float, generator: np.random.Generator
) -> Callable[[float], Pose]:
    """A straight line that stays inside the room where it is short enough, and is centred in it otherwise."""
    dx, dy = WAYS[way]
    length = speed * seconds
    x, y = _start(room, (abs(dx) * length / 2, abs(dy) * length / 2), generator)
    return lambda t: Pose(x=x + dx * (speed * t - length / 2), y=y + dy * (speed * t - length / 2))


def _start(room: Room, reach: tuple[float, float], generator: np.random.Generator) -> tuple[float, float]:
    """A middle from which the object, going ``reach`` either way, stays inside the room where it can."""
    return (
        _between(room.left + room.radius + reach[0], room.right - room.radius - reach[0], generator),
        _between(room.top + room.radius + reach[1], room.bottom - room.radius - reach[1], generator),
    )


def _between(low: float, high: float, generator: np.random.Generator) -> float:
    if low >= high:
        return (low + high) / 2
    return (low + high) / 2 + float(generator.uniform(-0.2, 0.2)) * (high - low)


def _ring(room: Room) -> tuple[float, float, float]:
    width, height = room.right - room.left, room.bottom - room.top
    return (room.left + room.right) / 2, (room.top + room.bottom) / 2, min(width, height) / 2 - room.radius


def _on_ring(cx: float, cy: float, radius: float, angle: float) -> Pose:
    return Pose(x=cx + radius * math.cos(angle), y=cy + radius * math.sin(angle))
