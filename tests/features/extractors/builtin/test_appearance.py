"""Edges, shapes and the pyramid, on drawings whose answers are known."""

import cv2
import numpy as np
import pytest

from features.extractors.builtin.appearance import describe_frame, pyramid
from features.extractors.builtin.histograms import COLOURS, HUES, angle_histogram, cell_numbers, colour_shares

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


def test_a_shape_as_bright_as_its_background_has_edges_and_a_circle_no_harmonic():
    image = np.full((160, 213, 3), 90, np.uint8)
    cv2.rectangle(image, (60, 40), (150, 120), (223, 30, 30), -1)
    assert np.ptp(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(int)) <= 3
    assert np.flatnonzero(describe_frame(image)[HARMONICS] > 0.5)[0] == 3
    assert describe_frame(polygon(90))[HARMONICS].max() < 0.1


def test_a_plain_frame_has_colour_and_nothing_else():
    row = describe_frame(np.full((160, 213, 3), (255, 0, 0), np.uint8))
    np.testing.assert_allclose(row[: 14 * COLOURS].reshape(14, COLOURS)[:, HUES], 1, atol=0.05)
    np.testing.assert_allclose(row[14 * COLOURS :], 0, atol=1e-3)


def test_pyramid_levels_are_means_of_the_fine_grid():
    fine = np.zeros((36, 1))
    fine[0] = 36.0  # the top left corner
    assert [level.ravel().tolist() for level in pyramid(fine)] == [[1], [4, 0, 0, 0], [9, 0, 0, 0, 0, 0, 0, 0, 0]]


def test_an_angle_is_shared_between_its_two_nearest_bins():
    angle = np.float32(np.pi / 16)  # a quarter of the way from bin 0 to bin 1 of 8
    x, y = np.full((1, 1), 2 * np.cos(angle)), np.full((1, 1), 2 * np.sin(angle))
    for sign, expected in ((1, [1.5, 0.5, 0, 0, 0, 0, 0, 0]), (-1, [1.5, 0, 0, 0, 0, 0, 0, 0.5])):  # wrapped
        histogram = angle_histogram(x.astype(np.float32), sign * y.astype(np.float32), cell_numbers(1, 1, 1), 1, 8)
        np.testing.assert_allclose(histogram[0], expected, atol=1e-6)


BRIGHT = HUES  # first bin of the bright hues; bins are 45 degrees of hue apart
GREY = 2 * HUES


@pytest.mark.parametrize(
    ("rgb", "bins"),
    [
        ((255, 0, 0), {BRIGHT}),
        ((0, 255, 0), {BRIGHT + 2, BRIGHT + 3}),  # 120 degrees lies between 90 and 135
        ((0, 255, 255), {BRIGHT + 4}),
        ((0, 0, 255), {BRIGHT + 5, BRIGHT + 6}),
        ((90, 0, 0), {0}),
        ((0, 0, 0), {GREY}),
        ((255, 255, 255), {GREY + 3}),
        ((128, 128, 128), {GREY + 1, GREY + 2}),
    ],
)
def test_plain_colour(rgb, bins):
    shares = colour_shares(np.full((40, 60, 3), rgb, np.uint8), side=2)
    assert shares.shape == (4, COLOURS)
    np.testing.assert_allclose(shares.sum(1), 1, atol=1e-6)
    assert shares[0, sorted(bins)].sum() > 0.9


def test_each_cell_counts_its_own_pixels():
    image = np.zeros((48, 48, 3), np.uint8)
    image[:24, 24:] = (255, 0, 0)
    shares = colour_shares(image, side=2)
    assert shares[1, BRIGHT] > 0.9
    assert shares[[0, 2, 3], GREY].min() > 0.9
