"""Direction, speed, spin and growth of a texture that moves in a known way."""

import cv2
import numpy as np
import pytest

from features.extractors.builtin.motion import MotionExtractor, describe_pair, optical_flow, rigid_motion
from tests.features.clips import clip_of

CELLS = slice(0, 225)
SPEEDS = slice(225, 234)
HEIGHT, WIDTH = 224, 298
SECONDS = 1 / 6


def texture(seed: int = 0) -> np.ndarray:
    """Smooth grey blobs, larger than the frame they are seen through."""
    noise = np.random.default_rng(seed).integers(0, 255, (40, 50)).astype(np.float32)
    return np.clip(cv2.resize(noise, (500, 400), interpolation=cv2.INTER_CUBIC), 0, 255)


def seen(right: float = 0, down: float = 0, degrees: float = 0, zoom: float = 1) -> np.ndarray:
    """The texture moved by pixels, turned clockwise on screen and enlarged about the frame's centre."""
    turn = cv2.getRotationMatrix2D((250, 200), -degrees, zoom)  # OpenCV counts counter-clockwise
    turn[:, 2] += (right - 250 + WIDTH / 2, down - 200 + HEIGHT / 2)
    return cv2.warpAffine(texture(), turn, (WIDTH, HEIGHT)).astype(np.uint8)


def signed_square(values: np.ndarray) -> np.ndarray:
    return np.sign(values) * values.astype(np.float64) ** 2


@pytest.mark.parametrize(
    ("right", "down", "direction"), [(4, 0, 0), (4, 4, 1), (0, 4, 2), (-4, 0, 4), (0, -4, 6), (4, -4, 7)]
)
def test_a_shift_fills_its_direction_and_is_measured(right, down, direction):
    row = describe_pair(seen(), seen(right, down), SECONDS)
    cells = row[CELLS].reshape(9, 25)
    assert (cells[:, :8].argmax(1) == direction).all()
    assert cells[4, direction] > 0.9
    assert cells[:, 8].max() < 0.3  # hardly a still pixel
    t_x, t_y, *_, speed, share = signed_square(row[-6:])
    assert t_x == pytest.approx(right / HEIGHT / SECONDS, rel=0.1, abs=5e-3)
    assert t_y == pytest.approx(down / HEIGHT / SECONDS, rel=0.1, abs=5e-3)
    assert speed == pytest.approx(np.hypot(right, down) / HEIGHT / SECONDS, rel=0.1)
    assert share > 0.9


def test_faster_is_faster():
    slow, fast = (describe_pair(seen(), seen(shift), SECONDS)[SPEEDS] for shift in (2, 8))
    np.testing.assert_allclose(fast / slow, 2, rtol=0.1)  # square root of four times the speed


@pytest.mark.parametrize(("degrees", "zoom"), [(4, 1), (-4, 1), (0, 1.04), (0, 0.96)])
def test_spin_is_positive_clockwise_and_growth_when_things_grow(degrees, zoom):
    omega, growth = signed_square(describe_pair(seen(), seen(degrees=degrees, zoom=zoom), SECONDS)[-4:-2])
    assert omega == pytest.approx(np.deg2rad(degrees) / SECONDS, rel=0.1, abs=0 if degrees else 0.05)
    assert growth == pytest.approx((zoom - 1) / SECONDS, rel=0.1, abs=0.05 if degrees else 0)


def test_rigid_motion_of_an_exact_field():
    y, x = np.mgrid[0:20, 0:40].astype(np.float64)
    r_x, r_y = (x - x.mean()) / 20, (y - y.mean()) / 20
    flow = np.stack([0.3 - 2 * r_y + 0.5 * r_x, -0.1 + 2 * r_x + 0.5 * r_y], -1).astype(np.float32)
    *fit, _, share = rigid_motion(flow, np.ones((20, 40), bool))
    np.testing.assert_allclose(fit, [0.3, -0.1, 2.0, 0.5], rtol=1e-3)
    assert share == 1


def test_a_pan_has_no_boundary_and_a_moving_block_has():
    def block(left: int) -> np.ndarray:
        frame = np.full((HEIGHT, WIDTH), 60, np.uint8)
        frame[80:150, left : left + 70] = texture(1)[100:170, 100:170].astype(np.uint8)
        return frame

    pan = describe_pair(seen(), seen(4), SECONDS)[CELLS].reshape(9, 25)
    moved = describe_pair(block(110), block(114), SECONDS)[CELLS].reshape(9, 25)
    assert moved[4, 9:17].max() > 2 * pan[4, 9:17].max()
    assert moved[0, 8] == 1  # the corner is still


def test_one_frame_has_no_motion_and_a_still_video_has():
    frame, extractor = np.repeat(seen()[..., None], 3, axis=-1), MotionExtractor()
    one, still = extractor.extract([clip_of(extractor, *[frame] * n, fps=extractor.need.fps) for n in (1, 3)])
    assert (one, still.rows.shape) == (None, (2, 240))
    assert still.times == pytest.approx([1 / 12, 3 / 12])
    cells = still.rows[:, CELLS].reshape(2, 9, 25)
    np.testing.assert_array_equal(cells[..., :9], np.broadcast_to([0] * 8 + [1], (2, 9, 9)))
    np.testing.assert_array_equal(still.rows[:, 225:], 0)


def test_flow_does_not_depend_on_the_number_of_threads():
    threads = cv2.getNumThreads()
    try:
        flows = []
        for count in (1, 4):
            cv2.setNumThreads(count)
            flows.append(optical_flow(seen(), seen(5, 3)))
            assert cv2.getNumThreads() == count
    finally:
        cv2.setNumThreads(threads)
    np.testing.assert_array_equal(*flows)
