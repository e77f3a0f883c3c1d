"""The sound of a clip, synthesised: one function a kind, (N,) samples in [-1, 1] at RATE."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Wave = NDArray[np.float32]

RATE = 48_000  # what both AAC and Opus take
LOW, HIGH = 330.0, 1900.0  # Hz, of beeps
SLOW, FAST = 1.8, 6.5  # strokes a second


def synthesise(sound: str, seconds: float, generator: np.random.Generator) -> Wave:
    """One rendering of this sound; pitch, rate, phase and loudness differ a little each time."""
    t = np.arange(round(seconds * RATE)) / RATE
    tune, pace = generator.uniform(0.93, 1.07, 2)
    kind, *words = sound.split()
    rate = pace * (FAST if "fast" in words else SLOW)
    match kind:
        case "beeps":
            pitch = tune * (LOW if "low" in words else HIGH)
            wave = _tone(t, pitch) * _gate(_since_stroke(t, rate, generator) * rate, 0.45)
        case "tone":
            wave = _tone(t, tune * (150 if "low" in words else 3100)) * (1 + 0.1 * np.sin(2 * np.pi * 4 * t))
        case "whistle":
            wave = _whistle(t, tune, rising="rising" in words)
        case "siren":
            wave = _glide(t, tune * (900 + 330 * np.sin(2 * np.pi * 1.3 * pace * t + generator.uniform(0, 6))))
        case "bell":
            wave = _bell(_since_stroke(t, 1.1 * pace, generator), tune)
        case "hiss":
            wave = 0.45 * generator.standard_normal(len(t))
        case "rumble":
            wave = _rumble(len(t), generator)
        case "drum":
            wave = _drum(_since_stroke(t, rate, generator), tune)
        case "clicks":
            wave = _clicks(_since_stroke(t, rate * 1.3, generator), generator)
        case _:
            raise ValueError(f"no sound is called '{sound}'")
    wave = wave + 0.002 * generator.standard_normal(len(t))
    loudness = generator.uniform(0.5, 0.75) / np.abs(wave).max()
    return np.asarray(wave * loudness, np.float32)


def _tone(t: NDArray[np.float64], pitch: float) -> NDArray[np.float64]:
    """A note with two weak overtones."""
    return sum((np.sin(2 * np.pi * pitch * k * t) / k**2 for k in (1, 2, 3)), np.zeros_like(t))


def _since_stroke(t: NDArray[np.float64], rate: float, generator: np.random.Generator) -> NDArray[np.float64]:
    """Seconds since the last of ``rate`` strokes a second."""
    return np.asarray((t * rate + generator.uniform(0, 1)) % 1 / rate)


def _gate(phase: NDArray[np.float64], share: float) -> NDArray[np.float64]:
    """1 in the first ``share`` of each period, with soft edges that do not click."""
    return np.asarray(np.clip(np.minimum(phase, share - phase) * 40, 0, 1))


def _glide(t: NDArray[np.float64], pitch: NDArray[np.float64]) -> NDArray[np.float64]:
    """A note whose pitch changes with time."""
    phase = 2 * np.pi * np.cumsum(pitch) / RATE
    return np.sin(phase) + 0.3 * np.sin(2 * phase)


def _whistle(t: NDArray[np.float64], tune: float, *, rising: bool) -> NDArray[np.float64]:
    """One long slide over the whole clip, three and a half octaves."""
    way = t / t[-1] if rising else 1 - t / t[-1]
    return _glide(t, tune * 280 * 2 ** (3.5 * way))


def _bell(since: NDArray[np.float64], tune: float) -> NDArray[np.float64]:
    partials = ((520, 1.0, 2.5), (1088, 0.6, 3.5), (1430, 0.5, 4.5), (2340, 0.35, 7), (3420, 0.2, 10))
    rings = (
        loud * np.sin(2 * np.pi * tune * pitch * since) * np.exp(-decay * since) for pitch, loud, decay in partials
    )
    return sum(rings, np.zeros_like(since))


def _rumble(count: int, generator: np.random.Generator) -> NDArray[np.float64]:
    """Noise below about 120 Hz."""
    spectrum = np.fft.rfft(generator.standard_normal(count))
    pitch = np.fft.rfftfreq(count, 1 / RATE)
    return np.fft.irfft(spectrum / (1 + (pitch / 90) ** 4) * (pitch > 25), count)


def _drum(since: NDArray[np.float64], tune: float) -> NDArray[np.float64]:
    """A skin whose pitch falls after each stroke."""
    phase = 2 * np.pi * tune * (95 * since + 3.2 * (1 - np.exp(-22 * since)))
    return np.sin(phase) * np.exp(-13 * since) * np.clip(since * 600, 0, 1)


def _clicks(since: NDArray[np.float64], generator: np.random.Generator) -> NDArray[np.float64]:
    """Very short, bright strokes."""
    crack = generator.standard_normal(len(since)) + 2 * np.sin(2 * np.pi * 4200 * since)
    return np.asarray(crack * np.exp(-260 * since))
