"""render_world: the demo's clips as files, by several processes; a stopped run is resumed.

folder/videos/clip_0001.mp4 ...   H.264 with AAC, VP9 with Opus, and still images
folder/captions.csv               video_id,caption,split: what `mee train` reads

The sound of a clip is synthesised here.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any, cast

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from features.job import Failed, run_isolated
from mee.errors import InputError
from scripts.demo.drawing import FPS, FRAMES, HEIGHT, WIDTH, draw_frames
from scripts.demo.words import Caption
from scripts.demo.world import STILL_FORMS, DemoClip

VERSION = 2  # raised whenever a clip's picture, sound or captions change
VIDEO_CODECS = {
    "mp4": ("libx264", {"preset": "veryfast", "crf": "20", "threads": "1"}),
    "webm": ("libvpx-vp9", {"deadline": "realtime", "cpu-used": "8", "crf": "28", "b": "0", "threads": "1"}),
}
SOUND_CODECS = {"mp4": ("aac", "fltp"), "webm": ("libopus", "flt")}  # codec, its sample format
RATE = 48_000  # what both AAC and Opus take
STROKES = {"slow": 1.8, "fast": 6.5}  # a second
BEEPS = {"low": 330.0, "high": 1900.0}  # Hz
TONES = {"low": 150.0, "high": 3100.0}
BELL = ((520, 1.0, 2.5), (1088, 0.6, 3.5), (1430, 0.5, 4.5), (2340, 0.35, 7), (3420, 0.2, 10))  # Hz, loud, fall
Wave = NDArray[np.floating[Any]]  # (N,) samples at RATE


def render_world(
    folder: Path,
    clips: Sequence[DemoClip],
    captions: Sequence[Caption],
    workers: int,
    progress: Callable[[int, int], None],
) -> None:
    """Write the captions and the missing files; ``progress`` is called with (done, total)."""
    videos = folder / "videos"
    videos.mkdir(parents=True, exist_ok=True)
    with (folder / "captions.csv").open("w", encoding="utf-8", newline="") as table:
        writer = csv.writer(table, lineterminator="\n")
        writer.writerow(["video_id", "caption", "split"])
        writer.writerows([caption.video_id, caption.text, caption.split] for caption in captions)
    missing = [clip for clip in clips if not (videos / clip.name).exists()]
    written = run_isolated(write_clip, [(clip, videos) for clip in missing], workers=workers)
    for done, ((clip, _), made) in enumerate(written, start=len(clips) - len(missing) + 1):
        if isinstance(made, Failed):
            reason = made.reason.removeprefix("it cannot be read: ")
            raise InputError(f"'{videos / clip.name}' cannot be rendered: {reason}")
        progress(done, len(clips))


def write_clip(task: tuple[DemoClip, Path]) -> Iterator[Path]:
    """Render one clip into a folder; the write is atomic."""
    clip, videos = task
    aside = videos.parent / f"{clip.name}.part"
    if clip.form in STILL_FORMS:
        (frame,) = draw_frames(clip)
        _, data = cv2.imencode(f".{clip.form}", cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))
        aside.write_bytes(data.tobytes())
    else:
        _write_video(clip, aside)
    yield aside.replace(videos / clip.name)


def middle_frame(path: Path) -> Iterator[NDArray[np.uint8]]:
    """(H, W, 3) RGB: the middle frame of a short video, or a still image, which has one."""
    with av.open(str(path)) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    yield np.asarray(frames[len(frames) // 2], np.uint8)


def _write_video(clip: DemoClip, path: Path) -> None:
    codec, options = VIDEO_CODECS[clip.form]
    with av.open(str(path), "w", format=clip.form) as container:
        picture = cast(av.VideoStream, container.add_stream(codec, rate=FPS, options=options))
        picture.width, picture.height, picture.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        if "sound" in clip.facts:
            sound_codec, sample_format = SOUND_CODECS[clip.form]
            sound = cast(av.AudioStream, container.add_stream(sound_codec, rate=RATE, layout="mono"))
        for pixels in draw_frames(clip):
            container.mux(picture.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(picture.encode())
        if "sound" in clip.facts:
            wave = synthesise(clip.facts["sound"], FRAMES / FPS, np.random.default_rng([clip.seed, 4]))
            samples = av.AudioFrame.from_ndarray(wave[None], format=sample_format, layout="mono")
            samples.sample_rate, samples.pts, samples.time_base = RATE, 0, Fraction(1, RATE)
            container.mux(sound.encode(samples))
            container.mux(sound.encode())


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
