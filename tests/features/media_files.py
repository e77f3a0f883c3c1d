"""Writes small media files: grey frames that tell their number, and tones that tell their time."""

import os
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

CLOCK = Fraction(1, 1000)
RATE = 16000


def grey(number: int) -> int:
    """The RGB level of frame ``number``: far enough apart to survive encoding."""
    return 20 + 12 * number % 216


def number_of(pixels: np.ndarray) -> list[int]:
    """(T, H, W, 3) -> the number of each frame, 0 to 17."""
    return [round((float(frame.mean()) - 20) / 12) for frame in pixels]


def plain(number: int, size: tuple[int, int] = (64, 48)) -> np.ndarray:
    """(H, W, 3) a frame of one grey."""
    return np.full((size[1], size[0], 3), grey(number), np.uint8)


def quadrants(size: tuple[int, int] = (96, 64)) -> np.ndarray:
    """(H, W, 3) red top left, green top right, blue bottom left, white bottom right."""
    width, height = size
    frame = np.zeros((height, width, 3), np.uint8)
    frame[: height // 2, : width // 2] = (255, 0, 0)
    frame[: height // 2, width // 2 :] = (0, 255, 0)
    frame[height // 2 :, : width // 2] = (0, 0, 255)
    frame[height // 2 :, width // 2 :] = (255, 255, 255)
    return frame


def tone(seconds: float, hertz: float = 440.0) -> np.ndarray:
    """(N,) a sine at half loudness."""
    return (0.5 * np.sin(2 * np.pi * hertz * np.arange(round(seconds * RATE)) / RATE)).astype(np.float32)


def own_content(path: Path, name: str) -> None:
    """Make the content of an mp4 one of its own, by a box that is skipped."""
    with path.open("ab") as file:
        file.write((8 + len(name.encode())).to_bytes(4) + b"free" + name.encode())


def write(
    path,
    frames=(),
    times=None,
    *,
    codec="libx264",
    sounds=(),
    sound_codec="aac",
    container=None,
    kind=None,
    **look,
) -> Path:
    """Write frames at ``times`` seconds (default: 10 a second) and pieces of sound, each from its second on.

    ``kind``: the container, of the path's ending by default; ``look``: see `_video`.
    """
    kind = {"mkv": "matroska", "ts": "mpegts"}.get(kind, kind)
    with _same_scheduling(), av.open(str(path), "w", format=kind, options=container or {}) as output:
        packets = []
        if len(frames):
            packets += _video(output, frames, times, codec, **look)
        if len(sounds):
            packets += _audio(output, sounds, sound_codec)
        for packet in sorted(packets, key=lambda p: float(p.dts * p.time_base)):
            output.mux(packet)
    return path


@contextmanager
def _same_scheduling():
    """SVT-AV1 makes the whole process a real-time one where it may, and its children would be so too."""
    before = os.sched_getscheduler(0), os.sched_getparam(0)
    try:
        yield
    finally:
        os.sched_setscheduler(0, *before)


def _video(output, frames, times, codec, *, rotation=0, aspect=None, options=None, clock=None, lasts=None):
    """Packets of a track; ``clock``: its time base, ``lasts``: seconds of its last packet."""
    height, width = frames[0].shape[:2]
    quiet = {"preset": "ultrafast", "crf": "12"} if codec.startswith("libx26") else {}
    quiet |= {"x265-params": "log-level=none"} if codec == "libx265" else {}
    rate = 24 if codec == "mpeg2video" else 10
    stream = output.add_stream(codec, rate=rate, options=quiet | (options or {}))
    stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
    stream.codec_context.time_base = clock or (CLOCK if codec != "mpeg4" else Fraction(1, 10))
    stream.codec_context.thread_count = 1
    if codec == "mpeg4" and not options:
        stream.codec_context.qmax = 3
    if aspect is not None:
        stream.codec_context.sample_aspect_ratio = aspect
    if rotation:
        stream.set_display_rotation(rotation)
    packets = []
    for number, pixels in enumerate(frames):
        frame = av.VideoFrame.from_ndarray(pixels, "rgb24").reformat(format="yuv420p")
        time = number / 10 if times is None else times[number]
        base = stream.codec_context.time_base
        frame.pts, frame.time_base = round(time / base), base
        packets += stream.encode(frame)
    packets += stream.encode(None)
    if lasts is not None:
        packets[-1].duration = round(lasts / packets[-1].time_base)
    return packets


def _audio(output, sounds, codec):
    rate = 48000 if codec == "libopus" else RATE
    stream, packets = output.add_stream(codec, rate=rate, layout="mono"), []
    for start, samples in sounds:
        wave = np.repeat(samples, rate // RATE)
        for place in range(0, len(wave) - len(wave) % 1024, 1024):
            form = "fltp" if codec in ("aac", "libvorbis") else "flt"
            frame = av.AudioFrame.from_ndarray(wave[None, place : place + 1024], form, "mono")
            frame.sample_rate = rate
            frame.pts, frame.time_base = round(start * rate) + place, Fraction(1, rate)
            packets += stream.encode(frame)
    return packets + stream.encode(None)
