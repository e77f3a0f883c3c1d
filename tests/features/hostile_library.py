"""Writes a library as large ones are: small healthy videos of many formats, and every twentieth file hostile.

    every 20th  the kinds of HOSTILE in turn: broken, with a false header, or merely odd
    the others  healthy, FORMATS and NAMES in turn

A picture has one colour above and one below, others each half second; the sound is one tone, its pitch by the
file's number. What a reader must return of each file is known from how it was made, in `Made`.
"""

import os
import random
import struct
from collections.abc import Callable
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np

from tests.features.media_files import tone, write

EVERY = 20  # one hostile file in so many
TEN_HOURS = 36000.0
NAMES = ("v{}", "more/v{}", "more/and more/v{}", "Größe 映画 {}")
NAMES += ("a\nline {}", "t{}#t=0,10", "-v {}", "50% 'v' \"{}\"")
SLOT_S = 0.5  # how long a pair of colours is shown
LEVELS = (50, 90, 130, 170, 210)
QUIET = {"preset": "ultrafast", "crf": "10"}
CODECS = {
    "libx264": QUIET,
    "libx265": {**QUIET, "x265-params": "log-level=none:pools=none:frame-threads=1"},
    "libvpx-vp9": {"deadline": "realtime", "cpu-used": "8", "crf": "10", "b": "0"},
    "mpeg4": {"qmin": "1", "qmax": "2"},
    "mpeg2video": {"qmin": "1", "qmax": "2"},
}
# ending, codec of the pictures, of the sound: what most libraries hold, and some older things
FORMATS = (("mp4", "libx264", "aac"), ("mkv", "libx264", "libopus"), ("mov", "mpeg4", "aac"))
FORMATS += (("mp4", "libx264", None), ("webm", "libvpx-vp9", "libopus"), ("avi", "mpeg4", "pcm_s16le"))
FORMATS += (("mp4", "libx265", "aac"), ("ts", "mpeg2video", "mp2"), ("flv", "libx264", "aac"))
FORMATS += (("mkv", "mpeg4", "libmp3lame"),)
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
    known: int | None = None  # rows of the first clip that are known; None: all
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
    folder, stem, draw, number, form=0, *, slots=None, size=None, sound=True, ending="", kind="healthy", **look
) -> Made:
    """A video of FORMATS[form].

    ``look``: as of `write`; and ``steps``, of a second of ``sum(steps)`` ticks, from picture to picture.
    """
    own, codec, sound_codec = FORMATS[form]
    slots = slots or draw.randrange(1, 7)
    above, below = colours(draw, slots), colours(draw, slots)
    width, height = size or draw.choice(SIZES)
    path = folder / f"{stem}.{ending or own}"
    path.parent.mkdir(parents=True, exist_ok=True)
    rate = 24 if codec == "mpeg2video" else 10
    steps, turned = look.pop("steps", ()), "rotation" in look
    base = Fraction(1, sum(steps) or rate)
    times = [Fraction(0)] if "lasts" in look else _times(slots, base, steps)
    has_sound = sound and sound_codec is not None
    frames = [picture(above[int(2 * time)], below[int(2 * time)], (width, height), turned) for time in times]
    sounds = [(0.0, tone(slots * SLOT_S, pitch(number)))] if has_sound else ()
    formats = {"codec": codec, "sound_codec": sound_codec, "kind": own, "options": CODECS[codec], "clock": base}
    write(path, frames, times, sounds=sounds, container={"fflags": "+bitexact"}, **formats, **look)
    verdict, hertz = ("ok", pitch(number)) if has_sound else ("no sound", None)
    upright = (round(width * look.get("aspect", 1)), height)
    return Made(path.relative_to(folder).as_posix(), kind, verdict, "", above, below, hertz, upright)


def _times(slots: int, base: Fraction, steps: tuple[int, ...]) -> list[Fraction]:
    """When pictures come; each half second begins with one."""
    if not steps:
        return [number * base for number in range(round(slots * Fraction(1, 2) / base))]
    second = np.cumsum((0, *steps[:-1])).tolist()
    ticks = [number * sum(steps) + tick for number in range(slots) for tick in second]
    return [tick * base for tick in ticks if tick < slots / 2 / base]


def write_library(folder: Path, count: int, seed: int = 0, every: int = EVERY) -> list[Made]:
    """Write ``count`` files, one of ``every`` so many hostile; the same ones for the same seed."""
    folder.mkdir(parents=True)
    made = []
    for number in range(count):
        draw = random.Random(f"{seed} {number}")
        if number % every == every - 1:
            kind = list(HOSTILE)[number // every % len(HOSTILE)]
            made.append(HOSTILE[kind](folder, f"{kind} {number}", draw, number))
        else:
            name = NAMES[number // 3 % len(NAMES)].format(number)
            made.append(write_video(folder, name, draw, number, number % len(FORMATS)))
    return made


def _failed(made: Made, note: str) -> Made:
    return Made(made.name, made.kind, "failed", note)


def _bytes(content: Callable[[random.Random], bytes], kind: str, note: str, ending: str = "mp4") -> Callable:
    def make(folder, stem, draw, number):
        (folder / f"{stem}.{ending}").write_bytes(content(draw))
        return Made(f"{stem}.{ending}", kind, "failed", note)

    return make


def _odd(kind: str, form: int = 0, **settings) -> Callable:
    def make(folder, stem, draw, number):
        return write_video(folder, stem, draw, number, form, kind=kind, **settings)

    return make


def _cut_mp4(folder, stem, draw, number):
    made = write_video(folder, stem, draw, number, 0, kind="cut mp4")
    os.truncate(folder / made.name, int((folder / made.name).stat().st_size * draw.uniform(0.2, 0.9)))
    return _failed(made, r"cut short or damaged: the index \(moov\) is missing")


def _cut_mkv(folder, stem, draw, number):
    made = write_video(folder, stem, draw, number, 1, kind="cut mkv", slots=8)
    os.truncate(folder / made.name, int((folder / made.name).stat().st_size * 0.6))
    note = r"(\d+ bad packets?; )?[12]\.\d of 4\.0 s could be decoded"
    return replace(made, verdict="degraded", note=note, known=2)


def _spoilt(folder, stem, draw, number):
    """Bytes in the middle of the pictures are others."""
    made = write_video(folder, stem, draw, number, 3, kind="spoilt", slots=6)
    path = folder / made.name
    content = bytearray(path.read_bytes())
    begin = content.index(b"mdat") + 4
    length = struct.unpack(">I", content[begin - 8 : begin - 4])[0] - 8
    content[begin + length // 2 : begin + 3 * length // 4] = draw.randbytes(3 * length // 4 - length // 2)
    path.write_bytes(content)
    return replace(made, verdict="degraded", note=r"\d+ bad packets?.*", known=1)


def _ten_hours(folder, stem, draw, number):
    """The header says ten hours, and there is one picture."""
    made = write_video(folder, stem, draw, number, 1, kind="ten hours", slots=1, sound=False, lasts=0.04)
    path = folder / made.name
    content = bytearray(path.read_bytes())
    place = content.index(b"\x44\x89\x88") + 3  # Matroska's Duration, a float of 8 bytes, in milliseconds
    content[place : place + 8] = struct.pack(">d", TEN_HOURS * 1000)
    path.write_bytes(content)
    return replace(made, verdict="degraded", note=r"0\.\d of 36000\.0 s could be decoded")


def _ten_hour_picture(folder, stem, draw, number):
    """One picture is said to stay for ten hours: one hour is believed."""
    kind = {"kind": "ten hour picture", "slots": 1, "sound": False, "lasts": TEN_HOURS}
    made = write_video(folder, stem, draw, number, **kind)
    return replace(made, above=made.above.repeat(7200, 0), below=made.below.repeat(7200, 0))


def _sound_alone(folder, stem, draw, number):
    path = write(
        folder / f"{stem}.mp4", sounds=[(0.0, tone(2.0, pitch(number)))], container={"fflags": "+bitexact"}
    )
    return Made(path.name, "sound alone", "no picture", hertz=pitch(number))


def _image(ending: str, kind: str) -> Callable:
    def make(folder, stem, draw, number):
        above, below = colours(draw, 1), colours(draw, 1)
        _, content = cv2.imencode(".png", picture(above, below, (96, 64))[..., ::-1])
        (folder / f"{stem}.{ending}").write_bytes(content.tobytes())
        verdict = "ok" if kind == "image" else "no sound"
        return Made(f"{stem}.{ending}", kind, verdict, above=above, below=below, size=(96, 64))

    return make


def _pipe(folder, stem, draw, number):
    os.mkfifo(folder / f"{stem}.mp4")
    return Made(f"{stem}.mp4", "pipe", "failed", "not a file")


def _dangling(folder, stem, draw, number):
    (folder / f"{stem}.mp4").symlink_to("nowhere.mp4")
    return Made(f"{stem}.mp4", "dangling link", "failed", "there is no such file")


NO_IMAGE = "not a gif, jpg, png or webp image.*"
HOSTILE: dict[str, Callable[[Path, str, random.Random, int], Made]] = {
    "cut mp4": _cut_mp4,
    "cut mkv": _cut_mkv,
    "spoilt": _spoilt,
    "garbage": _bytes(lambda draw: draw.randbytes(20_000), "garbage", "(not a video|damaged): .*"),
    "zero length": _bytes(lambda draw: b"", "zero length", r"the file is empty \(0 bytes\)"),
    "text": _bytes(lambda draw: b"<html>moved</html>\n" * 50, "text", "not a video: .*"),
    "8k": _odd("8k", size=(7680, 4320), slots=1, sound=False, lasts=0.04),
    "ten hours": _ten_hours,
    "ten hour picture": _ten_hour_picture,
    "sound alone": _sound_alone,
    "no sound": _odd("no sound", 2, sound=False),
    "wrong ending": _odd("wrong ending", 0, ending="avi"),
    "image called video": _image("mkv", "image called video"),
    "video called image": lambda *at: _failed(_odd("video called image", ending="jpg")(*at), NO_IMAGE),
    "variable rate": _odd("variable rate", 0, steps=(1, 7, 2, 10, 3, 17)),
    "rotated": _odd("rotated", 0, size=(48, 80), rotation=90),
    "odd size": _odd("odd size", 4, size=(63, 47)),
    "thin": _odd("thin", 4, size=(5, 301)),
    "wide pixels": _odd("wide pixels", 0, size=(48, 64), aspect=Fraction(2)),
    "image": _image("png", "image"),
    "broken image": _bytes(lambda draw: b"\x89PNG\r\n\x1a\n" + draw.randbytes(500), "broken image", ".+", "png"),
    "pipe": _pipe,
    "dangling link": _dangling,
}
