"""Films that tell their time: picture n shows n in bits (`ffmpeg_program.numbers`), and at each second a tone is
heard for 0.1 s. Written by the ffmpeg program; what was made of them is read with PyAV alone.
"""

from pathlib import Path

import av
import numpy as np

from tests.features import ffmpeg_program

FPS, RATE, BEEP_S = 25, 48000, 0.1
H264 = "-c:v libx264 -preset veryfast -x264-params keyint=50:bframes=2:log-level=0"
HEVC = "-c:v libx265 -preset ultrafast -x265-params log-level=none:keyint=50:bframes=2"
TURNED = {"rotate": (0, 1, -1, 0), "mirror": (-1, 0, 0, 1)}


def beeps(seconds: float, channels: int = 1) -> bytes:
    time = np.arange(round(seconds * RATE)) / RATE
    wave = 0.5 * np.sin(2 * np.pi * 1000 * time) * (time % 1 < BEEP_S)
    return np.repeat(wave.astype("<f4")[:, None], channels, 1).tobytes()


def write(path: Path, pictures: str, sound: str = "", seconds=10, after="", late=0.0, rate=FPS, pixels="yuv420p"):
    """``pictures``, ``sound``: the program's words for each track, "" for none; ``late``: seconds, the sound."""
    words, given = [], None
    sound += f" -af asetpts=PTS+{late}/TB" if late else ""
    if sound:
        raw = path.with_suffix(".f32")
        raw.write_bytes(beeps(seconds))
        words += ["-f", "f32le", "-ar", RATE, "-ac", 1, "-i", raw]
    if pictures:
        given = ffmpeg_program.numbered(round(seconds * rate)).tobytes()
        size = "x".join(map(str, ffmpeg_program.SIZE))
        words += ["-f", "rawvideo", "-pix_fmt", "gray", "-s", size, "-r", rate, "-i", "-", "-pix_fmt", pixels]
    ffmpeg_program.run(*words, "-threads", 1, *pictures.split(), *sound.split(), *after.split(), path, given=given)
    return ffmpeg_program.there(path)


def shown(path: Path) -> tuple[np.ndarray, list[int]]:
    """(N,) seconds, and the numbers of the pictures."""
    with av.open(str(path)) as film:
        frames = list(film.decode(video=0)) if film.streams.video else []
    pixels = [frame.to_ndarray(format="rgb24") for frame in frames]
    return np.array([frame.time for frame in frames]), ffmpeg_program.numbers(np.stack(pixels)) if pixels else []


def at(path: Path, seconds: float) -> float:
    """What second of the film is on display: that of the last picture not after it."""
    times, numbers = shown(path)
    return numbers[max(0, int(np.searchsorted(times, seconds + 1e-4, side="right")) - 1)] / FPS


def heard(path: Path) -> np.ndarray:
    """(N,) seconds at which a tone begins."""
    with av.open(str(path)) as film:
        frames = list(film.decode(audio=0)) if film.streams.audio else []
    if not frames:
        return np.zeros(0)
    rate = frames[0].sample_rate
    wave = np.zeros(max(round(frame.time * rate) + frame.samples for frame in frames), np.float32)
    for frame in frames:
        resampler = av.AudioResampler("fltp", "mono", rate)
        start, samples = round(frame.time * rate), resampler.resample(frame)[0].to_ndarray()[0]
        wave[max(start, 0) : start + len(samples)] = samples[max(-start, 0) :]
    loud = np.abs(wave) > 0.1
    times = np.flatnonzero(loud) / rate
    return times[np.diff(times, prepend=-1.0) > 0.5]


def turned(path: Path, matrix) -> Path:
    """With another display matrix in its header."""
    data = bytearray(path.read_bytes())
    place = data.index(b"tkhd") + 44
    numbers = np.frombuffer(bytes(data[place : place + 36]), ">i4").copy()
    numbers[[0, 1, 3, 4]] = np.array(matrix) << 16
    data[place : place + 36] = numbers.tobytes()
    result = path.with_stem(path.stem + "".join(map(str, matrix)))
    result.write_bytes(data)
    return result
