"""Black bars: found where a coder left them, left alone where a scene is dark."""

import numpy as np
import pytest

from features.hashing import without_bars


def scene(frames=4, height=60, width=90, seed=0):
    return np.random.default_rng(seed).integers(60, 220, (frames, height, width)).astype(np.uint8)


def boxed(luma, rows, columns, seed=1):
    """Bars of coded black: noise of a few levels."""
    padded = np.pad(luma, ((0, 0), (rows, rows), (columns, columns)))
    noise = np.random.default_rng(seed).integers(0, 12, padded.shape)
    return np.where(padded == 0, noise, padded).astype(np.uint8)


@pytest.mark.parametrize(("rows", "columns"), [(0, 0), (10, 0), (0, 15), (7, 9)])
def test_bars_are_cut_and_nothing_else(rows, columns):
    luma = scene()
    np.testing.assert_array_equal(without_bars(boxed(luma, rows, columns)), luma)


@pytest.mark.parametrize("edge", [np.s_[:, :12], np.s_[:, -12:], np.s_[:, :, :12], np.s_[:, :, -12:]])
def test_a_dark_edge_on_one_side_is_part_of_the_scene(edge):
    luma = scene()
    luma[edge] = 0
    assert without_bars(luma).shape == luma.shape


def test_bars_hold_for_all_frames_together():
    luma = boxed(scene(), 10, 0)
    luma[2, 4] = 200  # one frame lights a row of the bar: what is left are the four rows above it, and below
    assert without_bars(luma).shape == (4, 80 - 2 * 4, 90)


def test_specks_do_not_hide_a_bar():
    luma = boxed(scene(width=200), 10, 0)
    luma[:, 5, 7:9] = 255  # 1 % of the row
    assert without_bars(luma).shape == (4, 60, 200)


@pytest.mark.parametrize("level", [0, 20])
def test_a_dark_scene_stays_whole(level):
    assert without_bars(np.full((3, 40, 50), level, np.uint8)).shape == (3, 40, 50)
    luma = np.full((3, 40, 50), level, np.uint8)
    luma[:, 18:22] = 200  # bars of 18 rows a side would be most of the picture
    assert without_bars(luma).shape == (3, 40, 50)
