"""Small videos of which it is known what they show and sound like.

picture     at each half second one colour above and one below
sound       one tone, its pitch by the file's number
"""

import random
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

SLOT_S = 0.5  # how long a pair of colours is shown
LEVELS = (50, 90, 130, 170, 210)
RATE = 16000
QUIET = {"preset": "ultrafast", "crf": "10"}
CODECS = {
    "libx264": QUIET,
    "libx265": {**QUIET, "x265-params": "log-level=none:pools=none:frame-threads=1"},
    "libvpx-vp9": {"deadline": "realtime", "cpu-used": "8", "crf": "10", "b": "0"},
    "mpeg4": {"qmin": "1", "qmax": "2"},
    "mpeg2video": {"qmin": "1", "qmax": "2"},
}
SOUND_CODECS = {"aac": {"aac_coder": "fast"}, "libopus": {"compression_level": "0"}}
# ending, codec of the pictures, of the sound: what most libraries hold, and some older things
FORMATS = (
    ("mp4", "libx264", "aac"),
    ("mkv", "libx264", "libopus"),
    ("mov", "mpeg4", "aac"),
    ("mp4", "libx264", None),
    ("webm", "libvpx-vp9", "libopus"),
    ("avi", "mpeg4", "pcm_s16le"),
    ("mp4", "libx265", "aac"),
    ("ts", "mpeg2video", "mp2"),
    ("flv", "libx264", "aac"),
    ("mkv", "mpeg4", "libmp3lame"),
)
SIZES = ((64, 48), (96, 64), (80, 60), (64, 96))  # less than 64 wide, x265 4.1 writes beyond its memory


@dataclass(frozen=True)
class Made:
    """One file, and what must be found in it."""

    name: str  # path below the library's folder
    kind: str  # "healthy", or one of HOSTILE
    verdict: str = "ok"
    note: str = ""  # regular expression that the whole note fits
    above: np.ndarray | None = None  # (T, 3) colours, one each half second
    below: np.ndarray | None = None
    hertz: float | None = None
    size: tuple[int, int] | None = None  # upright, square pixels
    known: int | None = None  # rows of the first clip that are told of; None: all
    clips: int = 1

    @property
    def seconds(self) -> float:
        """How long the colours are shown."""
        return SLOT_S * (0 if self.above is None else len(self.above))


def colours(draw: random.Random, slots: int) -> np.ndarray:
    """(T, 3), each unlike the one before, so that one that stays too long shows."""
    rows = [tuple(draw.choices(LEVELS, k=3))]
    while len(rows) < slots:
        row = tuple(draw.choices(LEVELS, k=3))
        if row != rows[-1]:
            rows.append(row)
    return np.array(rows, np.uint8)


def picture(above: np.ndarray, below: np.ndarray, size: tuple[int, int], turned: bool = False) -> np.ndarray:
    """(H, W, 3), or turned by a quarter to the right."""
    width, height = size
    pixels = np.empty((height, width, 3), np.uint8)
    pixels[: (height + 1) // 2], pixels[(height + 1) // 2 :] = above, below
    return np.ascontiguousarray(np.rot90(pixels, -1)) if turned else pixels


def pitch(number: int) -> float:
    """Hertz: a hundred pitches that differ."""
    return 300.0 + 37 * (number % 100)


def write_video(
    folder: Path,
    stem: str,
    draw: random.Random,
    number: int,
    form: int = 0,
    *,
    slots: int | None = None,
    size: tuple[int, int] | None = None,
    sound: bool = True,
    ending: str = "",
    kind: str = "healthy",
    steps: tuple[int, ...] = (),
    turned: bool = False,
    aspect: Fraction | None = None,
    lasts: float | None = None,
) -> Made:
    """A video of FORMATS[form]. ``steps``: of a second of ``sum(steps)`` ticks, from picture to picture."""
    own, codec, sound_codec = FORMATS[form]
    slots = slots or draw.randrange(1, 7)
    above, below = colours(draw, slots), colours(draw, slots)
    width, height = size or draw.choice(SIZES)
    name = f"{stem}.{ending or own}"
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    options = {"fflags": "+bitexact"}
    formats = {"mkv": "matroska", "ts": "mpegts"}
    heard = sound and sound_codec is not None
    with av.open(str(path), "w", format=formats.get(own, own), options=options) as output:
        rate = 24 if codec == "mpeg2video" else 10
        pictures = output.add_stream(codec, rate=rate, options=CODECS[codec])
        pictures.width, pictures.height = (height, width) if turned else (width, height)
        pictures.pix_fmt = "yuv420p"
        pictures.codec_context.thread_count = 1
        if turned:
            pictures.set_display_rotation(90)
        if aspect is not None:
            pictures.codec_context.sample_aspect_ratio = aspect
        pictures.codec_context.time_base = base = Fraction(1, sum(steps) or rate)
        voice = add_voice(output, sound_codec) if heard else None
        frames = [
            av.VideoFrame.from_ndarray(picture(a, b, (width, height), turned), "rgb24").reformat(format="yuv420p")
            for a, b in zip(above, below)
        ]
        packets = []
        for tick in _ticks(slots, base, steps) if lasts is None else [0]:
            frame = frames[int(tick * base / Fraction(1, 2))]
            frame.pts, frame.time_base = tick, base
            packets += pictures.encode(frame)
        packets += pictures.encode(None)
        if lasts is not None:
            packets[-1].duration = round(lasts / packets[-1].time_base)
        if voice is not None:
            packets += [*voice.encode(tone(slots * SLOT_S, pitch(number), voice.rate)), *voice.encode(None)]
        for packet in sorted(packets, key=lambda p: float(p.dts * p.time_base)):
            output.mux(packet)
    return Made(
        name=name,
        kind=kind,
        verdict="ok" if heard else "no sound",
        above=above,
        below=below,
        hertz=pitch(number) if heard else None,
        size=(round(width * (aspect or 1)), height),
    )


def add_voice(output, codec: str):
    """A track for one channel of sound."""
    rate = 48000 if codec == "libopus" else RATE
    return output.add_stream(codec, rate=rate, layout="mono", options=SOUND_CODECS.get(codec, {}))


def _ticks(slots: int, base: Fraction, steps: tuple[int, ...]) -> list[int]:
    """When pictures come; each half second begins with one."""
    if not steps:
        return list(range(round(slots * Fraction(1, 2) / base)))
    second = np.cumsum((0, *steps[:-1])).tolist()
    ticks = [number * sum(steps) + tick for number in range(slots) for tick in second]
    return [tick for tick in ticks if tick < slots / 2 / base]


def tone(seconds: float, hertz: float, rate: int) -> av.AudioFrame:
    """A sine at half loudness, as one frame."""
    wave = 0.5 * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)
    frame = av.AudioFrame.from_ndarray(wave.astype(np.float32)[None], "flt", "mono")
    frame.sample_rate, frame.pts, frame.time_base = rate, 0, Fraction(1, rate)
    return frame
