"""Sounds have the pitch, the rate and the direction that their names say, by Fourier transform."""

from __future__ import annotations

import numpy as np
import pytest

from scripts.demo.facts import SOUNDS
from scripts.demo.sound import RATE, synthesise

SECONDS = 2.75


def heard(sound: str, seed: int = 0) -> np.ndarray:
    return synthesise(sound, SECONDS, np.random.default_rng(seed))


def pitch(wave: np.ndarray) -> float:
    spectrum = np.abs(np.fft.rfft(wave))
    return float(np.fft.rfftfreq(len(wave), 1 / RATE)[spectrum.argmax()])


def strokes(wave: np.ndarray) -> float:
    """Strokes a second: how often loudness rises through a third of its greatest value."""
    block = RATE // 50
    loudness = np.abs(wave[: len(wave) // block * block]).reshape(-1, block).mean(1)
    loud = loudness > loudness.max() / 3
    return int((loud[1:] & ~loud[:-1]).sum()) / SECONDS


@pytest.mark.parametrize("sound", SOUNDS)
def test_every_sound_is_heard_and_not_clipped(sound):
    wave = heard(sound)
    assert wave.shape == (round(SECONDS * RATE),)
    assert 0.4 < np.abs(wave).max() < 0.8
    assert np.sqrt((wave**2).mean()) > 0.01
    assert np.array_equal(wave, heard(sound))
    assert not np.array_equal(wave, heard(sound, seed=1))


@pytest.mark.parametrize("seed", range(3))
def test_pitch(seed):
    assert pitch(heard("tone low", seed)) == pytest.approx(150, rel=0.1)
    assert pitch(heard("tone high", seed)) == pytest.approx(3100, rel=0.1)
    for rate in ("slow", "fast"):
        assert pitch(heard(f"beeps low {rate}", seed)) == pytest.approx(330, rel=0.1)
        assert pitch(heard(f"beeps high {rate}", seed)) == pytest.approx(1900, rel=0.1)
    assert pitch(heard("rumble", seed)) < 150


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("kind", ["beeps low", "beeps high", "drum", "clicks"])
def test_rate(kind, seed):
    slow, fast = strokes(heard(f"{kind} slow", seed)), strokes(heard(f"{kind} fast", seed))
    assert slow == pytest.approx(1.8, abs=0.9)
    assert 5.5 < fast < 9.5


def test_whistles_slide_their_way():
    third = round(SECONDS * RATE / 3)
    for word, sign in (("rising", 1), ("falling", -1)):
        wave = heard(f"whistle {word}")
        assert sign * (pitch(wave[-third:]) - pitch(wave[:third])) > 500


def test_a_hiss_fills_the_spectrum():
    spectrum = np.abs(np.fft.rfft(heard("hiss")))
    quarters = [part.mean() for part in np.array_split(spectrum, 4)]
    assert max(quarters) < 1.2 * min(quarters)


def test_unknown_names_are_refused():
    with pytest.raises(ValueError, match="birdsong"):
        heard("birdsong")
