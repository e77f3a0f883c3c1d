"""The sound of a clip, synthesised: (N,) samples in [-1, 1] at RATE."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Wave = NDArray[np.floating[Any]]

RATE = 48_000  # what both AAC and Opus take
STROKES = {"slow": 1.8, "fast": 6.5}  # a second
BEEPS = {"low": 330.0, "high": 1900.0}  # Hz
TONES = {"low": 150.0, "high": 3100.0}
BELL = ((520, 1.0, 2.5), (1088, 0.6, 3.5), (1430, 0.5, 4.5), (2340, 0.35, 7), (3420, 0.2, 10))  # Hz, loud, fall


def synthesise(sound: str, seconds: float, generator: np.random.Generator) -> NDArray[np.float32]:
    """One rendering of this sound; pitch, rate, phase and loudness differ a little each time."""
    t = np.arange(round(seconds * RATE)) / RATE
    tune, pace = generator.uniform(0.93, 1.07, 2)
    phase = generator.uniform(0, 1)
    noise = generator.standard_normal(len(t))
    kind, *how = sound.split()
    rate = pace * STROKES.get(how[-1] if how else "", 1.1)
    since = (t * rate + phase) % 1 / rate  # seconds since the last stroke
    match kind:
        case "beeps":
            gate = np.clip(np.minimum(since * rate, 0.45 - since * rate) * 40, 0, 1)  # soft edges do not click
            wave = _tone(tune * BEEPS[how[0]] * t) * gate
        case "tone":
            wave = _tone(tune * TONES[how[0]] * t) * (1 + 0.1 * np.sin(2 * np.pi * 4 * t))
        case "whistle":  # one long slide over the whole clip, three and a half octaves
            way = t / t[-1] if how[0] == "rising" else 1 - t / t[-1]
            wave = _tone(np.cumsum(tune * 280 * 2 ** (3.5 * way)) / RATE)
        case "siren":
            wave = _tone(np.cumsum(tune * (900 + 330 * np.sin(2 * np.pi * (1.3 * pace * t + phase)))) / RATE)
        case "bell":
            hz, loud, fall = np.array(BELL).T[..., None]
            wave = (loud * np.sin(2 * np.pi * tune * hz * since) * np.exp(-fall * since)).sum(0)
        case "hiss":
            wave = noise
        case "rumble":  # noise below about 120 Hz
            pitch = np.fft.rfftfreq(len(t), 1 / RATE)
            wave = np.fft.irfft(np.fft.rfft(noise) / (1 + (pitch / 90) ** 4) * (pitch > 25), len(t))
        case "drum":  # a skin whose pitch falls after each stroke
            fall = 95 * since + 3.2 * (1 - np.exp(-22 * since))
            wave = np.sin(2 * np.pi * tune * fall) * np.exp(-13 * since) * np.clip(since * 600, 0, 1)
        case "clicks":
            wave = (noise + 2 * np.sin(2 * np.pi * 4200 * since)) * np.exp(-260 * since)
        case _:
            raise ValueError(f"no sound is called '{sound}'")
    loudness = generator.uniform(0.5, 0.75) / np.abs(wave).max()
    return np.asarray(wave * loudness + 0.001 * noise, np.float32)


def _tone(cycles: Wave) -> Wave:
    """A note with two weak overtones, ``cycles`` since the start."""
    return sum((np.sin(2 * np.pi * k * cycles) / k**2 for k in (1, 2, 3)), np.zeros_like(cycles))
