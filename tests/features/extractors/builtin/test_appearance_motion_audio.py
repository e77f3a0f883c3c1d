"""Appearance, motion and audio, on drawings, textures and sounds whose answers are known."""

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from features.extractors.builtin import audio
from features.extractors.builtin.appearance import describe_frame, pyramid
from features.extractors.builtin.audio import RATE, RHYTHM_HZ, AudioExtractor, band_corners, describe_sound
from features.extractors.builtin.histograms import COLOURS, HUES, angle_histogram, cell_numbers, colour_shares
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


@pytest.mark.parametrize(("degrees", "zoom"), [(4, 1), (-4, 1), (0, 1.04), (0, 0.96)])
def test_spin_is_positive_clockwise_and_growth_when_things_grow(degrees, zoom):
    omega, growth = signed_square(describe_pair(seen(), seen(degrees=degrees, zoom=zoom), SECONDS)[-4:-2])
    assert omega == pytest.approx(np.deg2rad(degrees) / SECONDS, rel=0.1, abs=0 if degrees else 0.05)
    assert growth == pytest.approx((zoom - 1) / SECONDS, rel=0.1, abs=0.05 if degrees else 0)


def test_rigid_motion_of_an_exact_field_and_faster_is_faster():
    y, x = np.mgrid[0:20, 0:40].astype(np.float64)
    r_x, r_y = (x - x.mean()) / 20, (y - y.mean()) / 20
    flow = np.stack([0.3 - 2 * r_y + 0.5 * r_x, -0.1 + 2 * r_x + 0.5 * r_y], -1).astype(np.float32)
    *fit, _, share = rigid_motion(flow, np.ones((20, 40), bool))
    np.testing.assert_allclose(fit, [0.3, -0.1, 2.0, 0.5], rtol=1e-3)
    assert share == 1
    slow, fast = (describe_pair(seen(), seen(shift), SECONDS)[SPEEDS] for shift in (2, 8))
    np.testing.assert_allclose(fast / slow, 2, rtol=0.1)  # square root of four times the speed


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
    threads, flows = cv2.getNumThreads(), []
    for count in (1, 4, threads):
        cv2.setNumThreads(count)
        flows.append(optical_flow(seen(), seen(5, 3)))
        assert cv2.getNumThreads() == count
    np.testing.assert_array_equal(flows[0], flows[1])


ORIENTATIONS = slice(14 * COLOURS, 14 * COLOURS + 36)  # of the whole frame, 5 degrees each
HARMONICS = slice(14 * COLOURS + 36 + 13 * 12, 14 * COLOURS + 36 + 13 * 12 + 12)


def polygon(corners: int, turn: float = 0.2, inner: float = 1.0) -> np.ndarray:
    """A filled polygon on grey; a star when every second corner lies nearer (inner < 1)."""
    count = corners if inner == 1 else 2 * corners
    radius = np.where(np.arange(count) % 2, 50 * inner, 50)
    angle = turn + np.arange(count) * 2 * np.pi / count
    points = np.stack([106 + radius * np.cos(angle), 80 + radius * np.sin(angle)], 1)
    image = np.full((160, 213, 3), 90, np.uint8)
    cv2.fillPoly(image, [np.round(points * 16).astype(np.int32)], (230, 200, 20), cv2.LINE_AA, 4)
    return image


def test_horizontal_stripes_point_down_in_the_whole_frame():
    stripes = np.zeros((160, 213, 3), np.uint8)
    stripes[(np.arange(160) // 10) % 2 == 1] = 255
    orientations = describe_frame(stripes)[ORIENTATIONS]
    assert orientations.argmax() == 18  # 90 degrees
    assert orientations[18] > 0.9
    assert describe_frame(np.ascontiguousarray(stripes.transpose(1, 0, 2)))[ORIENTATIONS].argmax() == 0


@pytest.mark.parametrize(("corners", "inner", "order"), [(3, 1.0, 3), (4, 1.0, 4), (5, 0.4, 5), (6, 1.0, 6)])
def test_a_shape_shows_its_harmonic_first_however_it_is_turned(corners, inner, order):
    for turn in (0.0, 0.5, 1.1):
        strengths = describe_frame(polygon(corners, turn, inner))[HARMONICS]
        assert np.flatnonzero(strengths > 0.5)[0] == order - 1  # its multiples are strong too


def test_plain_frames_circles_and_shapes_as_bright_as_their_background():
    image = np.full((160, 213, 3), 90, np.uint8)
    cv2.rectangle(image, (60, 40), (150, 120), (223, 30, 30), -1)
    assert np.ptp(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(int)) <= 3
    assert np.flatnonzero(describe_frame(image)[HARMONICS] > 0.5)[0] == 3
    assert describe_frame(polygon(90))[HARMONICS].max() < 0.1
    row = describe_frame(np.full((160, 213, 3), (255, 0, 0), np.uint8))
    np.testing.assert_allclose(row[: 14 * COLOURS].reshape(14, COLOURS)[:, HUES], 1, atol=0.05)
    np.testing.assert_allclose(row[14 * COLOURS :], 0, atol=1e-3)
    image = np.zeros((48, 48, 3), np.uint8)
    image[:24, 24:] = (255, 0, 0)
    shares = colour_shares(image, side=2)
    assert shares[1, BRIGHT] > 0.9
    assert shares[[0, 2, 3], GREY].min() > 0.9


def test_pyramid_levels_are_means_and_an_angle_is_shared_between_its_two_nearest_bins():
    fine = np.zeros((36, 1))
    fine[0] = 36.0  # the top left corner
    assert [level.ravel().tolist() for level in pyramid(fine)] == [[1], [4, 0, 0, 0], [9, 0, 0, 0, 0, 0, 0, 0, 0]]
    angle = np.float32(np.pi / 16)  # a quarter of the way from bin 0 to bin 1 of 8
    x, y = np.full((1, 1), 2 * np.cos(angle)), np.full((1, 1), 2 * np.sin(angle))
    for sign, expected in ((1, [1.5, 0.5, 0, 0, 0, 0, 0, 0]), (-1, [1.5, 0, 0, 0, 0, 0, 0, 0.5])):  # wrapped
        histogram = angle_histogram(x.astype(np.float32), sign * y.astype(np.float32), cell_numbers(1, 1, 1), 1, 8)
        np.testing.assert_allclose(histogram[0], expected, atol=2 * ANGLE_ERROR / (np.pi / 4))


ANGLE_ERROR = 2e-4  # radians, of OpenCV's angles


@given(seed=st.integers(0, 2**32 - 1), bins=st.sampled_from([4, 8, 72]), side=st.integers(1, 4))
def test_an_angle_histogram_is_its_equation(seed, bins, side):
    x, y = np.random.default_rng(seed).normal(size=(2, 9, 13)).astype(np.float32)
    cells, step = cell_numbers(9, 13, side), 2 * np.pi / bins
    away = np.abs((np.arctan2(y, x)[..., None] - np.arange(bins) * step + np.pi) % (2 * np.pi) - np.pi)
    shares = np.hypot(x, y)[..., None] * np.maximum(0, 1 - away / step)
    expected = np.stack([shares[cells == cell].sum(0) for cell in range(side**2)])
    lengths = np.bincount(cells.ravel(), np.hypot(x, y).ravel())
    found = angle_histogram(x, y, cells, side, bins)
    np.testing.assert_allclose(found, expected, atol=lengths.max() * ANGLE_ERROR / step)
    np.testing.assert_allclose(found.sum(1), lengths, rtol=1e-5)


BRIGHT = HUES  # first bin of the bright hues; bins are 45 degrees of hue apart
GREY = 2 * HUES


PLAIN = [((255, 0, 0), {BRIGHT}), ((0, 255, 0), {BRIGHT + 2, BRIGHT + 3})]  # 120 degrees lies between 90 and 135
PLAIN += [((0, 255, 255), {BRIGHT + 4}), ((0, 0, 255), {BRIGHT + 5, BRIGHT + 6}), ((90, 0, 0), {0})]
PLAIN += [((0, 0, 0), {GREY}), ((255, 255, 255), {GREY + 3}), ((128, 128, 128), {GREY + 1, GREY + 2})]


@pytest.mark.parametrize(("rgb", "bins"), PLAIN)
def test_plain_colour(rgb, bins):
    shares = colour_shares(np.full((40, 60, 3), rgb, np.uint8), side=2)
    assert shares.shape == (4, COLOURS)
    np.testing.assert_allclose(shares.sum(1), 1, atol=1e-6)
    assert shares[0, sorted(bins)].sum() > 0.9


TIME = np.arange(3 * RATE) / RATE
RHYTHM = slice(192, 208)
CENTROID, GLIDE, FLATNESS, LOUDNESS = range(208, 212)


def beeps(rate: float) -> np.ndarray:
    return (0.5 * np.sin(2 * np.pi * 800 * TIME) * ((TIME * rate) % 1 < 0.4)).astype(np.float32)


def sweep(start: float, end: float) -> np.ndarray:
    phase = start * TIME + (end - start) * TIME**2 / (2 * TIME[-1])
    return (0.5 * np.sin(2 * np.pi * phase)).astype(np.float32)


@pytest.mark.parametrize("rate", [1.0, 2.0, 4.0, 8.0])
def test_rhythm_peaks_at_the_rate_of_the_beeps(rate):
    rows = describe_sound(beeps(rate))
    np.testing.assert_array_equal(rows[:, RHYTHM], np.broadcast_to(rows[0, RHYTHM], (len(rows), 16)))
    peak = RHYTHM_HZ[rows[0, RHYTHM].argmax()]
    assert abs(np.log(peak / rate)) < np.log(RHYTHM_HZ[1] / RHYTHM_HZ[0])


def test_tones_and_noise():
    row = describe_sound(sweep(800, 800)[: 2 * RATE])[0]
    assert (row[RHYTHM].max() < 0.05, row[FLATNESS] < 0.05) == (True, True)
    assert row[GLIDE] == pytest.approx(0, abs=1e-3)
    assert (describe_sound(sweep(300, 3000))[:, GLIDE] > 0.05).all()
    assert (describe_sound(sweep(3000, 300))[:, GLIDE] < -0.05).all()
    noise = np.random.default_rng(0).normal(0, 0.1, RATE).astype(np.float32)
    assert describe_sound(noise)[0, FLATNESS] > 0.4
    low, high = (describe_sound(sweep(hz, hz))[0, CENTROID] for hz in (300, 3000))
    assert high > low + 0.2
    sound = beeps(2.0)
    sound[100], sound[200], sound[300] = np.nan, np.inf, -1e30
    assert np.isfinite(describe_sound(sound)).all()


@pytest.mark.parametrize(
    ("samples", "rows"), [(0, 1), (100, 1), (RATE, 1), (RATE + 1, 2), (2 * RATE, 3), (3 * RATE, 5)]
)
def test_windows_cover_every_sample_and_silence_is_present(samples, rows):
    (stream,) = AudioExtractor().extract([clip_of(AudioExtractor(), sound=np.zeros(samples, np.float32))])
    assert stream.rows.shape == (rows, 212)
    np.testing.assert_array_equal(stream.rows, 0)


@pytest.mark.parametrize("band", [3, 20, 40, 60])
def test_mel_scale_and_a_tone_is_loudest_in_its_band(band):
    assert audio.hz_to_mel(np.array([0.0, 700.0])) == pytest.approx([0, 2595 * np.log10(2)])
    assert audio.hz_to_mel(np.array([1000.0])) == pytest.approx(1000, abs=0.1)  # what the scale was made to do
    np.testing.assert_allclose(audio.mel_to_hz(audio.hz_to_mel(band_corners())), band_corners())
    assert band_corners()[[0, -1]] == pytest.approx([40, 8000])
    hz = band_corners()[band + 1]
    spectrogram = audio.log_mel(np.sin(2 * np.pi * hz * np.arange(RATE) / RATE).astype(np.float32))
    assert spectrogram.shape == (98, 64)
    assert (spectrogram.argmax(1) == band).all()
    assert 1.8 < spectrogram.max() < 2.3
