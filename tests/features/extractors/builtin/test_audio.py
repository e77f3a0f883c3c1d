"""Sounds made to order: rhythm, glide, noise, and the mel scale."""

import numpy as np
import pytest

from features.extractors.builtin.audio import (
    RATE,
    RHYTHM_HZ,
    AudioExtractor,
    band_corners,
    describe_sound,
    hz_to_mel,
    log_mel,
    mel_to_hz,
)
from tests.features.clips import clip_of

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


def test_a_steady_tone_has_no_rhythm_and_no_change_and_glide_separates_rising_from_falling():
    row = describe_sound(sweep(800, 800)[: 2 * RATE])[0]
    assert (row[RHYTHM].max() < 0.05, row[FLATNESS] < 0.05) == (True, True)
    assert row[GLIDE] == pytest.approx(0, abs=1e-3)
    assert (describe_sound(sweep(300, 3000))[:, GLIDE] > 0.05).all()
    assert (describe_sound(sweep(3000, 300))[:, GLIDE] < -0.05).all()


def test_noise_is_flat_and_higher_is_higher_and_broken_samples_stay_finite():
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


def test_mel_scale():
    assert hz_to_mel(np.array([0.0, 700.0])) == pytest.approx([0, 2595 * np.log10(2)])
    assert hz_to_mel(np.array([1000.0])) == pytest.approx(1000, abs=0.1)  # what the scale was made to do
    np.testing.assert_allclose(mel_to_hz(hz_to_mel(band_corners())), band_corners())
    assert band_corners()[[0, -1]] == pytest.approx([40, 8000])


@pytest.mark.parametrize("band", [3, 20, 40, 60])
def test_a_tone_is_loudest_in_its_band(band):
    hz = band_corners()[band + 1]
    tone = np.sin(2 * np.pi * hz * np.arange(RATE) / RATE).astype(np.float32)
    spectrogram = log_mel(tone)
    assert spectrogram.shape == (98, 64)
    assert (spectrogram.argmax(1) == band).all()
    assert 1.8 < spectrogram.max() < 2.3
