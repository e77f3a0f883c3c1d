"""A moment of a file as a small MP4 that every browser plays: its header first, copied where that is safe.

Its small pictures are JPEGs of key frames (features/media/key_frames.py).

Pictures and sound are each copied, or else converted to H.264 and AAC. Both begin with the moment: what a copy
holds before it is hidden by an edit list, and sound that begins later is preceded by silence.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from heapq import merge
from io import FileIO
from itertools import chain
from pathlib import Path
from typing import Any, Literal

import av
import cv2
import numpy as np
from av.audio.frame import AudioFrame
from av.container import OutputContainer
from av.video.frame import PictureType, VideoFrame
from numpy.typing import NDArray

from features.errors import MediaError
from features.media import MediaFacts, SoundNeed, SoundTrack, Span, pictures_between, spread_pictures
from features.playback.browser import facts_of
from features.playback.copied import Copied, copied_pictures, copied_sound

LONGEST_S = 30.0
LONGEST_SIDE, LONGEST_HDR_SIDE = 1280, 960  # pixels; bringing HDR to SDR costs more than all else
CLOCK = Fraction(1, 90_000)
FASTEST_S = 0.03  # from one picture to the next, at least: 30 a second, with some jitter
REPEAT_S = 1.0  # a picture that stays on display is repeated, so that a player can seek into it
X264 = {"preset": "ultrafast", "crf": "25", "g": "60", "threads": "1"}
BT709, LIMITED = 1, 1
RATES, RATE = (44_100, 48_000), 48_000
BITS = {1: 96_000, 2: 160_000}  # a second, by channels
SAMPLES = 1024  # a frame of AAC
QUALITY = 80  # of a JPEG

Shown = tuple[float, float, VideoFrame]  # from when, until when, and the picture
How = Literal["copied", "converted", "none"]


@dataclass(frozen=True, kw_only=True)
class Made:
    """What was written; its time 0 is the moment's start."""

    video: How
    audio: How


def write_moment(path: Path, start_s: float, end_s: float, out: Path) -> Made:
    """Write a moment, at most LONGEST_S of it, as MP4; nothing is left of what could not be written.

    Raises:
        MediaError: the file cannot be read, or has neither pictures nor sound there.
    """
    end_s = min(end_s, start_s + LONGEST_S)
    if not (0 <= start_s < end_s):
        raise MediaError(f"there is no moment from {start_s:g} to {end_s:g} s")
    facts = facts_of(path)
    try:
        with out.open("wb", buffering=0) as file, _output(file, out) as output:
            return _write(path, facts, start_s, end_s, output)
    except BaseException as error:
        out.unlink(missing_ok=True)
        if isinstance(error, av.FFmpegError) and not isinstance(error, MemoryError):
            raise MediaError(f"the moment from {start_s:g} to {end_s:g} s cannot be converted") from error
        raise


def _output(file: FileIO, out: Path) -> OutputContainer:
    """A file to mux into; to put the header first, the muxer reads what it has written, and opens nothing else."""
    options = {"movflags": "faststart"}
    return av.open(file, "w", "mp4", options, io_open=lambda *_: out.open("rb"))


def _write(path: Path, facts: MediaFacts, start_s: float, end_s: float, output: OutputContainer) -> Made:
    video: How = "none"
    audio: How = "none"
    pictures: Iterable[Any] = ()
    sounds: Iterable[Any] = ()
    copied = copied_pictures(path, facts, start_s, end_s)
    sound = copied_sound(path, facts, start_s, end_s) or _wave(path, facts, start_s, end_s)
    if copied is not None:
        video, pictures = "copied", _given(output, copied)
    elif facts.picture is not None:
        heard_s = sound.seconds if sound is not None else 0.0
        longest = LONGEST_HDR_SIDE if facts.picture.hdr else LONGEST_SIDE
        shown = pictures_between(path, facts, start_s, end_s, heard_s, longest)
        if (first := next(shown, None)) is not None:
            video, pictures = "converted", _encoded_pictures(output, first, shown)
    if isinstance(sound, Copied):
        audio, sounds = "copied", _given(output, sound)
    elif sound is not None:
        audio, sounds = "converted", _encoded_sound(output, sound)
    if video == audio == "none":
        raise MediaError(f"it has neither pictures nor sound from {start_s:g} to {end_s:g} s")
    for packet in merge(pictures, sounds, key=lambda packet: packet.dts * packet.time_base):
        output.mux(packet)
    return Made(video=video, audio=audio)


def _given(output: OutputContainer, copied: Copied) -> list[Any]:
    stream = output.add_stream_from_template(copied.decoder.stream, opaque=True)
    for packet in copied.packets:
        packet.stream = stream
    return copied.packets


def _encoded_pictures(output: OutputContainer, first: Shown, more: Iterator[Shown]) -> Iterator[Any]:
    """Packets of H.264; the stream is added at once."""
    stream = output.add_stream("libx264", rate=30, options=X264, time_base=CLOCK)
    stream.width, stream.height = first[2].width, first[2].height
    context = stream.codec_context
    matrix: Any = first[2].side_data.get("DISPLAYMATRIX")
    if matrix is not None:
        stream.set_display_matrix(np.frombuffer(bytes(matrix), np.int32, 9).tolist())
    context.color_range, context.colorspace, context.color_primaries, context.color_trc = LIMITED, *3 * (BT709,)

    def encoded() -> Iterator[Any]:
        due, end_s = 0.0, 0.0
        for begin_s, end_s, picture in chain([first], more):
            if begin_s < due:
                continue
            due = begin_s + FASTEST_S
            picture.pict_type = PictureType.NONE  # or else the encoder takes it from the decoder
            picture.time_base = CLOCK
            for repeat in range(max(1, math.ceil((end_s - begin_s) / REPEAT_S))):
                picture.pts = round((begin_s + repeat * REPEAT_S) / CLOCK)
                yield from stream.encode(picture)
        yield from stream.encode(None)

    return encoded()


@dataclass(frozen=True, kw_only=True)
class _Wave:
    samples: NDArray[np.float32]  # (N,) or (N, 2)
    rate: int

    @property
    def seconds(self) -> float:
        return len(self.samples) / self.rate


def _wave(path: Path, facts: MediaFacts, start_s: float, end_s: float) -> _Wave | None:
    """Decoded sound, from the start on, up to its own end; None where there is none."""
    if facts.sound is None:
        return None
    rate = facts.sound.rate if facts.sound.rate in RATES else RATE
    need, channels = SoundNeed(rate=rate), min(max(facts.sound.channels, 1), 2)
    track = SoundTrack(path, (need,), facts.origin_s, facts.timeline, start_s, channels)
    wave = track.read(Span(clip_id="", video="", start_s=start_s, end_s=end_s)).get(need)
    if wave is None:
        return None
    return _Wave(samples=wave[: round((track.end_s - start_s) * rate)], rate=rate)


def _encoded_sound(output: OutputContainer, wave: _Wave) -> Iterator[Any]:
    """Packets of AAC; the stream is added at once."""
    channels = wave.samples.ndim
    layout = "mono" if channels == 1 else "stereo"
    stream = output.add_stream("aac", rate=wave.rate, layout=layout, bit_rate=BITS[channels])

    def encoded() -> Iterator[Any]:
        for start in range(0, len(wave.samples), SAMPLES):
            part = np.ascontiguousarray(wave.samples[start : start + SAMPLES].reshape(-1, channels).T)
            frame = AudioFrame.from_ndarray(part, "fltp", layout)
            frame.sample_rate, frame.time_base, frame.pts = wave.rate, Fraction(1, wave.rate), start
            yield from stream.encode(frame)
        yield from stream.encode(None)

    return encoded()


def thumbnail(path: Path, start_s: float, end_s: float, *, width: int = 320) -> bytes:
    """A JPEG of the key frame nearest to the middle of a span; without one in it, of its middle.

    Args:
        path: a video, an animation or a still image.
        start_s: seconds since the first picture.
        end_s: equal to ``start_s`` for a still.
        width: pixels that it is at most wide, and high.

    Raises:
        MediaError: the file cannot be read, or has no picture.
    """
    return _jpeg(spread_pictures(path, start_s, end_s, 1, width))


def film_strip(path: Path, start_s: float, end_s: float, *, count: int = 8, width: int = 160) -> bytes:
    """A JPEG of ``count`` pictures side by side, evenly spread over a span; else as `thumbnail`.

    ``width``: pixels that one of them is at most wide, and high.
    """
    return _jpeg(spread_pictures(path, start_s, end_s, count, width))


def _jpeg(pictures: Sequence[NDArray[np.uint8]]) -> bytes:
    _, encoded = cv2.imencode(".jpg", np.hstack(pictures)[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
    return bytes(encoded)
