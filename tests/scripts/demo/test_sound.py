"""Sounds have the pitch, the rate and the direction that their names say, by Fourier transform."""

import numpy as np
import pytest

from scripts.demo.sound import RATE, synthesise
from scripts.demo.world import VALUES

SECONDS = 2.75


def heard(sound, seed=0):
    return synthesise(sound, SECONDS, np.random.default_rng(seed))


def pitch(wave):
    return float(np.fft.rfftfreq(len(wave), 1 / RATE)[np.abs(np.fft.rfft(wave)).argmax()])


def strokes(wave):
    """Strokes a second: how often loudness rises through a third of its greatest value."""
    block = RATE // 50
    loudness = np.abs(wave[: len(wave) // block * block]).reshape(-1, block).mean(1)
    loud = loudness > loudness.max() / 3
    return int((loud[1:] & ~loud[:-1]).sum()) / SECONDS


@pytest.mark.parametrize("sound", VALUES["sound"])
def test_every_sound_is_heard_and_not_clipped(sound):
    wave = heard(sound)
    assert wave.shape == (round(SECONDS * RATE),)
    assert 0.4 < np.abs(wave).max() < 0.8
    assert np.sqrt((wave**2).mean()) > 0.01
    assert np.array_equal(wave, heard(sound))


@pytest.mark.parametrize("seed", range(3))
def test_pitch_rate_and_direction(seed):
    for sound, hz in (("tone low", 150), ("tone high", 3100), ("beeps low fast", 330), ("beeps high slow", 1900)):
        assert pitch(heard(sound, seed)) == pytest.approx(hz, rel=0.1)
    for kind in ("beeps low", "beeps high", "drum", "clicks"):
        assert strokes(heard(f"{kind} slow", seed)) == pytest.approx(1.8, abs=0.9)
        assert 5 < strokes(heard(f"{kind} fast", seed)) < 9.5
    for word, sign in (("rising", 1), ("falling", -1)):
        first, *_, last = np.array_split(heard(f"whistle {word}", seed), 3)
        assert sign * (pitch(last) - pitch(first)) > 500
