"""Audio: what a second of sound is like, one row a window of 1 s, every 0.5 s.

    row = [ mean_t L | deviation_t L | mean_t |L[t+1] - L[t]| | rhythm | centroid, glide, flatness, loudness ]

L is the log-mel spectrogram, how loud each band of pitch is, a hundred times a second; t runs over the window:

    mel(f) = 2595 log10(1 + f / 700)                       (O'Shaughnessy 1987; HTK's form)
    L[t, b] = log10(1 + 10^6 sum over f of W[b, f] |X[t, f]|^2) / 3

X: Fourier transform of 25 ms of sound under a Hann window, a full-scale tone having |X| = 1; W: triangles
whose corners are evenly spaced in mel. Silence is exactly 0, a full-scale tone close to 2.

Rhythm is the modulation spectrum of the whole clip, the same in every row, since a second is too short for a slow
beat: with e(t) the logarithm of the sound's power less its mean,

    E(f) = |sum over t of w(t) e(t) exp(-2 pi i f t)| / sum over t of w(t) |e(t)|,   w a Hann window
    rhythm_k = max over f of E(f) max(0, 1 - |log(f / f_k)| / log(f_2 / f_1))

at 16 rates f_k evenly spaced in log f, 0.5 to 12 Hz (after Greenberg and Kingsbury, *The modulation
spectrogram*, ICASSP 1997). Glide is the straight-line slope of the centroid: positive for a rising sweep.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import final

import numpy as np
from numpy.typing import NDArray

from features.extractors.base import Extractor, Stream
from features.media import Clip, SoundNeed

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
    """The module's L, (1 + (N - 400) // 160, 64), of (N,) samples in [-1, 1] at 16 kHz, N at least 400."""
    frames = np.lib.stride_tricks.sliding_window_view(sound, _WINDOW)[::HOP]
    hann = np.hanning(_WINDOW + 1)[:-1].astype(np.float32)
    spectrum = np.fft.rfft(frames * (hann * (2 / hann.sum())), _FFT)
    power = (spectrum.real**2 + spectrum.imag**2).astype(np.float32)
    return np.asarray(np.log10(1 + 1e6 * (power @ _triangles())) / 3, dtype=np.float32)


RHYTHM_HZ = np.geomspace(0.5, 12.0, 16)
_SPAN, _STEP = FRAMES_A_SECOND, FRAMES_A_SECOND // 2  # spectrogram frames of a window and between windows
_EDGE = 240  # samples added so that a second of sound gives 100 frames: 400 - 160
_SCALARS = 4
_QUIET = 1e-3  # loudness below which rhythm, centroid and flatness fade out


def rhythm(spectrogram: NDArray[np.float32]) -> NDArray[np.float64]:
    """The module's rhythm of a (T, 64) spectrogram: (16,) in [0, 1], zeros for a steady sound."""
    power = 10 ** (3 * spectrogram.astype(np.float64)) - 1
    loudness = np.log10(1 + power.sum(1)) / 3  # of the whole, not the mean of L: a click is wide, not loud
    taper = np.hanning(len(loudness) + 2)[1:-1]
    change = taper * (loudness - (taper @ loudness) / taper.sum())
    size = 4 * len(change)  # padding with zeros puts a sample near every peak
    hz = np.fft.rfftfreq(size, 1 / FRAMES_A_SECOND)[1:]
    strength = np.abs(np.fft.rfft(change, size))[1:] / (np.abs(change).sum() + _QUIET * taper.sum())
    spacing = np.log(RHYTHM_HZ[1] / RHYTHM_HZ[0])
    near = np.maximum(0, 1 - np.abs(np.log(hz / RHYTHM_HZ[:, None])) / spacing)
    return np.asarray((near * strength).max(1), dtype=np.float64)


def _window_row(window: NDArray[np.float32]) -> NDArray[np.float64]:
    """(196,) of a (100, 64) window: everything in a row but the rhythm, scalars last."""
    window = window.astype(np.float64)
    mean, deviation = window.mean(0), window.std(0)
    change = np.abs(np.diff(window, axis=0)).mean(0)
    power = 10 ** (3 * window) - 1
    total = power.sum(1)
    present = total / (total + 1)  # 0 in silence, 1 in sound
    centroid = power @ np.linspace(0, 1, BANDS) / (total + 1)
    seconds = np.arange(len(window)) / FRAMES_A_SECOND
    weight = present / (present.sum() + _QUIET)
    when = seconds - weight @ seconds
    where = centroid - weight @ centroid
    glide = (weight * when) @ where / ((weight * when) @ when + _QUIET)
    flatness = np.exp(np.log1p(power).mean(1)) / (power.mean(1) + 1)
    scalars = [weight @ centroid, np.clip(glide, -4, 4), weight @ flatness, mean.mean()]
    return np.concatenate([mean, deviation, 5 * change, scalars])  # changes are about a tenth of the others


def describe_sound(sound: NDArray[np.float32]) -> NDArray[np.float32]:
    """The module's rows for (N,) samples at 16 kHz: (T, 212), T = 1 up to 1 s, then one more each 0.5 s."""
    sound = np.clip(np.nan_to_num(sound), -1, 1)  # a damaged packet can decode to anything
    steps = max(0, -(-(len(sound) - RATE) // (_STEP * HOP)))
    length = RATE + steps * _STEP * HOP + _EDGE
    spectrogram = log_mel(np.pad(sound, (0, length - len(sound))))
    beat = rhythm(spectrogram[: max(_SPAN, len(sound) // HOP)])
    firsts = range(0, steps * _STEP + 1, _STEP)
    rows = np.stack([_window_row(spectrogram[first : first + _SPAN]) for first in firsts])
    return np.insert(rows, [-_SCALARS], beat, axis=1).astype(np.float32)


@final
class AudioExtractor(Extractor):
    """Log-mel statistics, rhythm and pitch of one-second windows."""

    modality = "audio"
    version = 1
    need = SoundNeed(rate=RATE)
    needs = (need,)
    dim = 3 * BANDS + len(RHYTHM_HZ) + _SCALARS  # mean, deviation and change of each band, rhythm, scalars

    def extract(self, clips: Sequence[Clip]) -> list[Stream | None]:
        """One row each half second; None only where the clip has no sound track."""
        return [self._stream(clip) if self.need in clip.sound else None for clip in clips]

    def _stream(self, clip: Clip) -> Stream:
        rows = describe_sound(clip.sound[self.need])
        middles = clip.span.start_s + 0.5 + np.arange(len(rows)) * _STEP / FRAMES_A_SECOND
        return Stream(rows, middles)
