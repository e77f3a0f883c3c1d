"""Writes a library as large ones are: small healthy videos of many formats, and every twentieth file hostile.

    every 20th  the kinds of HOSTILE in turn: broken, lying about themselves, or merely odd
    the others  healthy, FORMATS and NAMES in turn

What a reader must make of each file is known from how it was made, in `Made`.
"""

import os
import random
import struct
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import cv2
from known_video import FORMATS, RATE, Made, add_voice, colours, picture, pitch, tone, write_video

EVERY = 20  # one hostile file in so many
TEN_HOURS = 36000.0
NAMES = (
    "v{}",
    "more/v{}",
    "more/and more/v{}",
    "Größe 映画 {}",
    "a\nline {}",
    "t{}#t=0,10",
    "-v {}",
    "50% 'v' \"{}\"",
)


def write_library(folder: Path, count: int, seed: int = 0, every: int = EVERY) -> list[Made]:
    """Write ``count`` files, one of ``every`` so many hostile; the same ones for the same seed."""
    folder.mkdir(parents=True)
    made = []
    for number in range(count):
        draw = random.Random(f"{seed} {number}")
        if number % every == every - 1:
            kinds = list(HOSTILE)
            kind = kinds[number // every % len(kinds)]
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
    """One picture is said to stay for ten hours: half a minute is believed."""
    made = write_video(
        folder, stem, draw, number, 0, kind="ten hour picture", slots=1, sound=False, lasts=TEN_HOURS
    )
    shown = {"above": made.above.repeat(60, 0), "below": made.below.repeat(60, 0)}
    return replace(made, kind="ten hour picture", **shown)


def _sound_alone(folder, stem, draw, number):
    path = folder / f"{stem}.mp4"
    with av.open(str(path), "w", options={"fflags": "+bitexact"}) as output:
        voice = add_voice(output, "aac")
        for packet in [*voice.encode(tone(2.0, pitch(number), RATE)), *voice.encode(None)]:
            output.mux(packet)
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
    "video called image": lambda *at: _failed(
        _odd("video called image", ending="jpg")(*at), "not a jpg, png or webp image.*"
    ),
    "variable rate": _odd("variable rate", 0, steps=(1, 7, 2, 10, 3, 17)),
    "rotated": _odd("rotated", 0, size=(48, 80), turned=True),
    "odd size": _odd("odd size", 4, size=(63, 47)),
    "thin": _odd("thin", 4, size=(5, 301)),
    "wide pixels": _odd("wide pixels", 0, size=(48, 64), aspect=Fraction(2)),
    "image": _image("png", "image"),
    "broken image": _bytes(lambda draw: b"\x89PNG\r\n\x1a\n" + draw.randbytes(500), "broken image", ".+", "png"),
    "pipe": _pipe,
    "dangling link": _dangling,
}
