"""The sound of a file as one channel (or two) at the requested rates, each sample at its place in time.

A track that starts late is preceded by silence, gaps become silence, and sound before time 0 is dropped: sound
never shifts against the pictures.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import cast

import numpy as np
from av.audio.frame import AudioFrame
from av.filter import Graph
from numpy.typing import NDArray

from features.media.clip import SoundNeed, Span
from features.media.container import Decoder, Timeline

JITTER_S = 0.015  # stamps this far off still continue the sound before; one lost AAC packet is 21 ms
FILTER = 512  # samples of the file, more than the resampler's filter is long
AHEAD_S = 0.25  # decoded beyond a span's end, because the resampler delays

Wave = NDArray[np.float32]


class _Line:
    """One rate: resampled pieces, each at its sample position counted from time 0."""

    def __init__(self, rate: int, channels: int) -> None:
        self.rate, self._channels = rate, channels
        self._mixer: Graph | None = None
        self._position = 0
        self._audible = 0  # position of the first sample that counts; before it, the filter's start
        self._pieces: list[tuple[int, Wave]] = []

    def begin(self, time: float, first: AudioFrame) -> None:
        """Flush, and continue at ``time`` seconds with a frame like ``first``.

        Silence goes first, so that the resampler's first sample coincides with one of this rate.
        """
        self.end()
        start, stored = round(time * first.sample_rate), first.sample_rate
        unit = stored // math.gcd(stored, self.rate)  # after so many, samples of both rates coincide
        silence = start % unit + unit * math.ceil(FILTER / unit) if start else 0
        self._position = (start - silence) * self.rate // stored
        self._audible = start * self.rate // stored
        self._mixer = _mixer(first, self.rate, silence, self._channels)

    def add(self, frame: AudioFrame | None) -> None:
        """Mix and resample one frame; None flushes."""
        if self._mixer is None:
            return
        self._mixer.push(frame)
        for piece in iter(partial(_pulled, self._mixer), None):
            samples: Wave = piece.to_ndarray().reshape(self._shape(-1)).astype(np.float32)
            early = min(max(self._audible - self._position, 0), len(samples))
            if early < len(samples):
                self._pieces.append((self._position + early, samples[early:]))
            self._position += len(samples)

    def _shape(self, count: int) -> tuple[int, ...]:
        return (count,) if self._channels == 1 else (count, self._channels)

    def end(self) -> None:
        """Flush; the next frame needs `begin`."""
        self.add(None)
        self._mixer = None

    def cut(self, span: Span) -> Wave | None:
        """(N,) samples of a span, or (N, 2), zeros where there is no sound; None where there is none at all.

        Sound that ends before the span is dropped.
        """
        start = round(span.start_s * self.rate)
        count = round((span.end_s - span.start_s) * self.rate)
        wave: Wave = np.zeros(self._shape(count), dtype=np.float32)
        self._pieces = [(at, samples) for at, samples in self._pieces if at + len(samples) > start]
        found = False
        for at, samples in self._pieces:
            low, high = max(at, start), min(at + len(samples), start + len(wave))
            if low < high:
                wave[low - start : high - start] = samples[low - at : high - at]
                found = True
        return np.clip(wave, -1.0, 1.0, out=wave) if found else None


def _mixer(like: AudioFrame, rate: int, silence: int, channels: int) -> Graph | None:
    """Mixes frames like this one to one channel or two: by ffmpeg's weights, or evenly where places are unknown.

    ``silence``: samples that go first, by a filter, because PyAV cannot make frames of eight planes and more. None
    where there are more channels than ffmpeg can mix, which are 64.
    """
    count, layout = like.layout.nb_channels, like.layout.name
    # of ambisonic sound the first channel is that of an omnidirectional microphone
    even = "c0" if layout.startswith("ambisonic") else "+".join(f"{1 / count}*c{n}" for n in range(count))
    evenly = [("pan", f"mono|c0={even}")]
    for given, mix in ((layout, []), (layout, evenly), (f"{count} channels", evenly)):
        graph = Graph()
        stored = {"sample_rate": str(like.sample_rate), "sample_fmt": like.format.name, "channel_layout": given}
        with suppress(ValueError):  # no weights for these channels, or too many to be named
            nodes = [graph.add("abuffer", **stored, time_base=str(like.time_base))]
            nodes += [graph.add("adelay", f"{silence}S:all=1")] if silence else []
            nodes += [graph.add(*one) for one in mix]
            mixed = "mono" if channels == 1 else "stereo"
            nodes += [graph.add("aformat", sample_rates=str(rate), sample_fmts="flt", channel_layouts=mixed)]
            graph.link_nodes(*nodes, graph.add("abuffersink")).configure()
            return graph
    return None


def _pulled(mixer: Graph) -> AudioFrame | None:
    try:
        return cast(AudioFrame, mixer.pull())
    except (BlockingIOError, EOFError):
        return None


class SoundTrack:
    """Decodes a file's sound once, forward, for several rates."""

    def __init__(
        self,
        path: Path,
        needs: Sequence[SoundNeed],
        origin_s: float,
        timeline: Timeline | None = None,
        start_s: float | None = None,
        channels: int = 1,
    ) -> None:
        """``origin_s``: time 0 on the file's own clock, or on ``timeline``; ``start_s``: of the first span, before
        which nothing need be decoded; ``channels``: 1 or 2. Raises MediaError as Decoder does.
        """
        begin = None if start_s is None else origin_s + start_s - AHEAD_S
        self._decoder: Decoder[AudioFrame] = Decoder(path, "audio", timeline, start_s=begin)
        self._frames: Iterator[tuple[float | None, AudioFrame]] = self._decoder.frames()
        self._lines = {need: _Line(need.rate, channels) for need in needs}
        self._origin = origin_s
        self._format: tuple[str, str, int] | None = None
        self._until: float | None = None  # end of the last frame, seconds
        self.exhausted = False

    def read(self, span: Span) -> Mapping[SoundNeed, Wave]:
        """(N,) samples in [-1, 1] by need, or (N, 2); no entry without sound. Spans come in order of time."""
        while not self.exhausted and (self._until is None or self._until < span.end_s + AHEAD_S):
            self._advance()
        cuts = {need: line.cut(span) for need, line in self._lines.items()}
        return {need: wave for need, wave in cuts.items() if wave is not None}

    @property
    def end_s(self) -> float:
        """Until when there is sound, as far as it has been decoded."""
        return self._until or 0.0

    @property
    def mute(self) -> bool:
        """Whether no frame of the whole track could be decoded."""
        return self.exhausted and self._until is None

    @property
    def bad_packets(self) -> int:
        """How many packets could not be decoded so far."""
        return self._decoder.bad_packets

    def _advance(self) -> None:
        stamp, frame = next(self._frames, (None, None))
        if frame is None:
            self.exhausted = True
            for line in self._lines.values():
                line.end()
            return
        due = 0.0 if self._until is None else self._until
        time = due if stamp is None else stamp - self._origin
        kind = (frame.format.name, frame.layout.name, frame.sample_rate)
        restart = self._format != kind or abs(time - due) > JITTER_S
        if not restart:
            time = due  # jitter must not add up: the next stamp is compared with this clock
        for line in self._lines.values():
            if restart:
                line.begin(time, frame)
            line.add(frame)
        self._format, self._until = kind, time + frame.samples / frame.sample_rate
