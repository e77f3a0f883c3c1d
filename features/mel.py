"""Log-mel spectrogram: how loud each band of pitch is, a hundred times a second.

    mel(f) = 2595 log10(1 + f / 700)                       (O'Shaughnessy 1987; HTK's form)
    L[t, b] = log10(1 + 10^6 sum over f of W[b, f] |X[t, f]|^2) / 3

X: Fourier transform of 25 ms of sound under a Hann window, a full-scale tone having |X| = 1; W: triangles
whose corners are evenly spaced in mel. Silence is exactly 0, a full-scale tone close to 2.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

RATE = 16_000  # samples a second
HOP = 160  # samples from one frame to the next
FRAMES_A_SECOND = RATE // HOP
BANDS = 64
_WINDOW, _FFT = 400, 1024  # samples; the padding keeps the lowest triangles from falling between bins
_LOWEST_HZ = 40.0


def hz_to_mel(hz: NDArray[np.float64]) -> NDArray[np.float64]:
    """Hertz to mel, elementwise."""
    return np.asarray(2595 * np.log10(1 + hz / 700))


def mel_to_hz(mel: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mel to hertz, elementwise."""
    return np.asarray(700 * (10 ** (mel / 2595) - 1))


def band_corners() -> NDArray[np.float64]:
    """(66,) corners in hertz, 40 to 8000: band b rises from corner b, peaks at b + 1 and ends at b + 2."""
    ends = hz_to_mel(np.array([_LOWEST_HZ, RATE / 2]))
    return mel_to_hz(np.linspace(ends[0], ends[1], BANDS + 2))


@cache
def _triangles() -> NDArray[np.float32]:
    """(513, 64) W, transposed: the weight of each Fourier bin in each band."""
    hz = np.arange(_FFT // 2 + 1)[:, None] * RATE / _FFT
    low, peak, high = (band_corners()[k : k + BANDS] for k in range(3))
    rising, falling = (hz - low) / (peak - low), (high - hz) / (high - peak)
    return np.maximum(0, np.minimum(rising, falling)).astype(np.float32)


def log_mel(sound: NDArray[np.float32]) -> NDArray[np.float32]:
    """The module's L.

    Args:
        sound: (N,) samples in [-1, 1] at 16 kHz, N at least 400.

    Returns:
        (1 + (N - 400) // 160, 64), finite and not negative.
    """
    frames = np.lib.stride_tricks.sliding_window_view(sound, _WINDOW)[::HOP]
    hann = np.hanning(_WINDOW + 1)[:-1].astype(np.float32)
    spectrum = np.fft.rfft(frames * (hann * (2 / hann.sum())), _FFT)
    power = (spectrum.real**2 + spectrum.imag**2).astype(np.float32)
    return np.asarray(np.log10(1 + 1e6 * (power @ _triangles())) / 3, dtype=np.float32)
