"""Objects move as their fact says, measured on the drawn frames and on the path."""

from itertools import pairwise

import cv2
import numpy as np
import pytest

from scripts.demo.objects import FRAMES, WIDTH, draw_frames, poses
from scripts.demo.world import VALUES, DemoClip


def grey_frames(motion):
    facts = {"shape": "star", "colour": "red", "texture": "checked", "background": "white", "motion": motion}
    clip = DemoClip(name="clip.mp4", split="train", facts=facts, seed=1)
    return [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in draw_frames(clip)]


def path(motion, seed=0):
    return poses(motion, WIDTH / 2, 60, np.random.default_rng(seed))


def mean_flow(motion):
    """Median over frames of the object's mean flow, (x, y) pixels a frame."""
    flow = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    pairs = pairwise(grey_frames(motion)[10:20])
    return np.median([flow.calc(one, two, None)[one < 200].mean(0) for one, two in pairs], axis=0)


@pytest.mark.parametrize(
    ("way", "axis", "sign"), [("left", 0, -1), ("right", 0, 1), ("up", 1, -1), ("down", 1, 1)]
)
def test_straight_motion_goes_its_way_at_its_speed(way, axis, sign):
    slow, fast = mean_flow(f"{way} slow"), mean_flow(f"{way} fast")
    assert slow[axis] * sign > 2
    assert fast[axis] * sign > 2 * slow[axis] * sign
    assert abs(slow[1 - axis]) < 1


def test_turns_are_clockwise_as_seen():
    one, two = grey_frames("spin clockwise")[:2]
    centre = [float(places.mean()) for places in np.nonzero(one < 150)][::-1]
    back, on = (cv2.getRotationMatrix2D(centre, -turn, 1) for turn in (-8, 8))
    turned = (cv2.warpAffine(one, matrix, one.shape[::-1], borderValue=240) for matrix in (back, on))
    backward, forward = (np.abs(each.astype(int) - two).mean() for each in turned)
    assert forward < 0.8 * backward
    for how, sign in (("clockwise", 1), ("anticlockwise", -1)):
        x, y = (path(f"circle {how}") - path(f"circle {how}").mean(0))[:24, :2].T
        assert np.median(np.diff(np.unwrap(np.arctan2(y, x)))) * sign > 0.1  # y runs downward


def test_size_changes():
    grown, shrunk = path("grow")[:, 3], path("shrink")[:, 3]
    assert (np.diff([grown, -shrunk]) > 0).all()
    assert min(grown[-1] / grown[0], shrunk[0] / shrunk[-1]) > 2.5


@pytest.mark.parametrize("motion", VALUES["motion"])
def test_every_motion_moves_and_is_different(motion):
    assert path(motion).shape == (FRAMES, 4)
    assert np.ptp(path(motion), axis=0).max() > 0.5
    assert sum(np.allclose(path(motion), path(other)) for other in VALUES["motion"]) == 1
