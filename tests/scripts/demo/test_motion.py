"""Objects move as their fact says, measured on the drawn frames and on the path."""

from __future__ import annotations

from itertools import pairwise

import cv2
import numpy as np
import pytest

from scripts.demo.facts import MOTIONS, DemoClip, Face, Facts
from scripts.demo.motion import Room, path
from scripts.demo.picture import FPS, FRAMES, HEIGHT, WIDTH, draw_frames

ROOM = Room(left=0, right=WIDTH, top=0, bottom=HEIGHT, radius=50)


def clip(motion: str | None, face: Face | None = None, seed: int = 1) -> DemoClip:
    facts = Facts(
        shape="star",
        colour="red",
        texture="checked",
        background="white",
        motion=motion,
        sound=None,
        face=face,
    )
    return DemoClip(name="clip.mp4", split="train", form="mp4", facts=facts, seed=seed)


def mean_flow(motion: str) -> np.ndarray:
    """Median over frames of the object's mean flow, (x, y) pixels a frame."""
    grey = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in draw_frames(clip(motion))]
    flow = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    means = []
    for before, after in pairwise(grey[:10]):
        field = flow.calc(before, after, None)
        moving = before < 200
        means.append(field[moving].mean(0))
    return np.median(means, axis=0)


@pytest.mark.parametrize(
    ("way", "axis", "sign"), [("left", 0, -1), ("right", 0, 1), ("up", 1, -1), ("down", 1, 1)]
)
def test_straight_motion_goes_its_way_at_its_speed(way, axis, sign):
    slow, fast = mean_flow(f"{way} slow"), mean_flow(f"{way} fast")
    assert slow[axis] * sign > 2
    assert fast[axis] * sign > 2 * slow[axis] * sign
    assert abs(slow[1 - axis]) < 1


def turning(motion: str, seed: int) -> float:
    """Degrees the object's path turns, or the object itself, clockwise as seen."""
    poses = path(motion, ROOM, FRAMES / FPS, np.random.default_rng(seed))
    first, second = poses(0.0), poses(0.1)
    if motion.startswith("spin"):
        return second.turn - first.turn
    middle = WIDTH / 2 + HEIGHT / 2 * 1j
    angle = np.angle((second.x + second.y * 1j - middle) / (first.x + first.y * 1j - middle))
    return float(np.degrees(angle))  # y runs downward, so a growing angle is clockwise as seen


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("kind", ["spin", "circle"])
def test_turns(kind, seed):
    assert 5 < turning(f"{kind} clockwise", seed) < 25
    assert -25 < turning(f"{kind} anticlockwise", seed) < -5


def test_a_spinning_object_turns_clockwise_in_the_picture():
    first, second = (
        cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in list(draw_frames(clip("spin clockwise")))[:2]
    )
    rows, columns = np.nonzero(first < 150)
    centre = columns.mean(), rows.mean()
    matches = {
        turn: np.abs(
            cv2.warpAffine(
                first, cv2.getRotationMatrix2D(centre, -turn, 1), (WIDTH, HEIGHT), borderValue=240
            ).astype(int)
            - second
        ).mean()
        for turn in (-10, 10)
    }
    assert matches[10] < 0.8 * matches[-10]


def test_size_changes():
    sizes = {
        m: [path(m, ROOM, 2.75, np.random.default_rng(0))(t).size for t in (0, 1, 2.7)] for m in ("grow", "shrink")
    }
    assert sizes["grow"] == sorted(sizes["grow"])
    assert sizes["shrink"] == sorted(sizes["shrink"], reverse=True)
    assert max(sizes["grow"]) > 2.5 * min(sizes["grow"])


def test_still_is_still_and_an_image_is_one_frame():
    frames = list(draw_frames(clip("still")))
    assert len(frames) == FRAMES
    assert all(np.array_equal(frames[0], frame) for frame in frames)
    assert len(list(draw_frames(clip(None)))) == 1


@pytest.mark.parametrize("motion", MOTIONS)
def test_all_motions_but_still_move(motion):
    poses = path(motion, ROOM, 2.75, np.random.default_rng(0))
    assert (poses(0.0) != poses(0.5)) == (motion != "still")


def test_unknown_names_are_refused():
    with pytest.raises(ValueError, match="hover"):
        path("hover", ROOM, 2.75, np.random.default_rng(0))


def test_pixels_follow_from_the_seed():
    face = Face(glasses=True, beard="beard", hat=True)
    first, again, other = (next(draw_frames(clip("up fast", face, seed))) for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
