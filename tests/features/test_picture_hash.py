"""The hash of a picture: its definition, and what it does not mind."""

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from features.hashing import BITS, LEAST_CONTRAST, SIDE, WORDS, picture_hashes


def picture(seed, height=128, width=192, cells=12):
    """(H, W, 3): smooth blotches, with the spectrum of a photograph more or less."""
    rng = np.random.default_rng(seed)
    coarse, fine = rng.uniform(0, 255, (cells, cells, 3)), rng.uniform(-20, 20, (4 * cells, 4 * cells, 3))
    scaled = [cv2.resize(part, (width, height), interpolation=cv2.INTER_CUBIC) for part in (coarse, fine)]
    return np.clip(sum(scaled), 30, 255).astype(np.uint8)


def bits(frames):
    """(T, BITS) of bool."""
    hashes, telling = picture_hashes(frames)
    assert hashes.shape == (len(frames), WORDS)
    assert hashes.dtype == np.uint64
    assert telling.all()
    return np.unpackbits(hashes.view(np.uint8), axis=1).astype(bool)


def apart(one, other):
    return int((bits(one[None]) != bits(other[None])).sum())


def test_it_is_the_signs_of_the_lowest_frequencies():
    """Written out as the sums that a DCT-II is, on a picture that need not be shrunk."""
    grey = np.random.default_rng(3).integers(40, 255, (SIDE, SIDE)).astype(np.uint8)
    waves = np.array([[np.cos(np.pi * (2 * x + 1) * u / (2 * SIDE)) for x in range(SIDE)] for u in range(SIDE)])
    coefficients = waves @ grey.astype(float) @ waves.T
    frequencies = sorted((u * u + v * v, u, v) for u in range(SIDE) for v in range(SIDE))[1 : BITS + 1]
    expected = [coefficients[u, v] > 0 for _, u, v in frequencies]
    assert bits(np.repeat(grey[None, :, :, None], 3, axis=3))[0].tolist() == expected


@given(seed=st.integers(0, 2**31))
def test_scaling_and_light_change_few_bits(seed):
    shown = picture(seed)
    half = cv2.resize(shown, (96, 64), interpolation=cv2.INTER_AREA)
    squeezed = cv2.resize(shown, (128, 128), interpolation=cv2.INTER_AREA)
    darker = (0.8 * shown).astype(np.uint8)
    assert max(apart(shown, other) for other in (half, squeezed, darker)) <= 8


@given(seed=st.integers(0, 2**31))
def test_a_small_crop_and_bars_change_some(seed):
    shown = picture(seed)
    assert apart(shown, shown[3:-3, 4:-4]) <= 32
    assert apart(shown, np.pad(shown, ((20, 20), (0, 0), (0, 0)))) <= 8


def test_other_pictures_differ_in_half_of_the_bits():
    some = bits(np.stack([picture(seed) for seed in range(24)]))
    differ = (some[:, None] != some[None]).sum(-1)[np.triu_indices(24, 1)]
    assert 58 < differ.mean() < 70
    assert differ.min() > 36


@pytest.mark.parametrize("level", [0, 128, 255])
def test_a_picture_of_no_contrast_tells_nothing(level):
    flat = np.full((1, 64, 64, 3), level, np.uint8)
    assert not picture_hashes(flat)[1].any()


def test_contrast_is_that_of_the_shrunken_picture():
    board = np.zeros((1, 64, 64, 3), np.uint8)
    board[:, ::2, 1::2] = board[:, 1::2, ::2] = 255  # a chess board whose cells are half a pixel of the 32
    assert not picture_hashes(board)[1].any()
    halves = np.full((1, 64, 64, 3), 100, np.uint8)
    for step, telling in ((LEAST_CONTRAST - 1, False), (LEAST_CONTRAST + 1, True)):
        halves[:, 32:] = 100 + 2 * step  # standard deviation: the step
        assert picture_hashes(halves)[1].tolist() == [telling]
