"""The mel scale and the spectrogram of a pure tone."""

import numpy as np
import pytest

from features.extractors.builtin.audio import RATE, band_corners, hz_to_mel, log_mel, mel_to_hz


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


def test_silence_is_zero():
    assert not log_mel(np.zeros(1000, np.float32)).any()
