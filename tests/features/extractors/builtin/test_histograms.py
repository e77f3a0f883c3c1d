"""Cells, angles, slopes and colours on maps whose answers are known."""

import numpy as np
import pytest

from features.extractors.builtin.histograms import (
    COLOURS,
    HUES,
    angle_histogram,
    cell_numbers,
    cell_sums,
    colour_shares,
    hellinger,
    slopes,
)


def test_cells_are_numbered_row_by_row_and_cover_every_pixel():
    cells = cell_numbers(7, 9, 3)
    assert cells[0].tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    assert cells[-1, -1] == 8
    assert cell_sums(np.ones((7, 9), np.float32), cells, 3).sum() == 63


def test_an_angle_is_shared_between_its_two_nearest_bins():
    angle = np.float32(np.pi / 16)  # a quarter of the way from bin 0 to bin 1 of 8
    x, y = np.full((1, 1), 2 * np.cos(angle)), np.full((1, 1), 2 * np.sin(angle))
    histogram = angle_histogram(x.astype(np.float32), y.astype(np.float32), cell_numbers(1, 1, 1), 1, 8)
    np.testing.assert_allclose(histogram[0], [1.5, 0.5, 0, 0, 0, 0, 0, 0], atol=1e-6)
    wrapped = angle_histogram(x.astype(np.float32), -y.astype(np.float32), cell_numbers(1, 1, 1), 1, 8)
    np.testing.assert_allclose(wrapped[0], [1.5, 0, 0, 0, 0, 0, 0, 0.5], atol=1e-6)


def test_slopes_of_a_ramp():
    down = np.repeat(np.arange(8, dtype=np.float32)[:, None] * 3, 8, axis=1)
    right_slope, down_slope = slopes(down)
    np.testing.assert_allclose(right_slope, 0, atol=1e-5)
    np.testing.assert_allclose(down_slope[1:-1], 3, rtol=1e-5)


def test_hellinger_rows_have_unit_norm_unless_faint():
    rows = hellinger(np.array([[1.0, 3.0], [0.0, 0.0]]))
    assert np.linalg.norm(rows[0]) == pytest.approx(1)
    assert rows[1].tolist() == [0, 0]
    assert np.linalg.norm(hellinger(np.array([2.0, 2.0]), floor=4.0)) == pytest.approx(np.sqrt(0.5))


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
