"""Plain colours land in the bins that bear their names."""

import numpy as np
import pytest

from features.extractors.builtin.histograms import COLOURS, HUES, colour_shares

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
