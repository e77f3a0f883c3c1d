"""render_world: the demo's world as files, by several processes, resumed where it was stopped.

folder/videos/clip_0001.mp4 ...   H.264 with AAC, VP9 with Opus, and still images
folder/captions.csv               video_id,caption,split: what `mee train` reads
folder/facts.jsonl                what is true of each clip
"""

from __future__ import annotations

import csv
import json
import multiprocessing
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from fractions import Fraction
from pathlib import Path
from typing import cast

import av
import cv2
import numpy as np

from features.job import use_one_thread
from scripts.demo.objects import FPS, FRAMES, HEIGHT, WIDTH, draw_frames
from scripts.demo.sound import RATE, synthesise
from scripts.demo.words import Caption
from scripts.demo.world import STILL_FORMS, DemoClip

VERSION = 2  # raised whenever a clip's picture, sound or captions change
VIDEO_CODECS = {
    "mp4": ("libx264", {"preset": "veryfast", "crf": "20", "threads": "1"}),
    "webm": ("libvpx-vp9", {"deadline": "realtime", "cpu-used": "8", "crf": "28", "b": "0", "threads": "1"}),
}
SOUND_CODECS = {"mp4": ("aac", "fltp"), "webm": ("libopus", "flt")}  # codec, its sample format


def render_world(
    folder: Path, clips: Sequence[DemoClip], captions: Sequence[Caption], workers: int, on_file: Callable[[], None]
) -> None:
    """Write the tables, and the files that are not there yet; ``on_file`` is called once a file."""
    videos = folder / "videos"
    videos.mkdir(parents=True, exist_ok=True)
    with (folder / "captions.csv").open("w", encoding="utf-8", newline="") as table:
        writer = csv.writer(table, lineterminator="\n")
        writer.writerow(["video_id", "caption", "split"])
        writer.writerows([caption.video_id, caption.text, caption.split] for caption in captions)
    facts = ({"video_id": clip.name, "split": clip.split, **clip.facts} for clip in clips)
    (folder / "facts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in facts), "utf-8")
    missing = [clip for clip in clips if not (videos / clip.name).exists()]
    for _ in range(len(clips) - len(missing)):
        on_file()
    if not missing:
        return
    context = multiprocessing.get_context("spawn")  # a fork would inherit the caller's threads, half alive
    with ProcessPoolExecutor(max_workers=workers, mp_context=context, initializer=use_one_thread) as pool:
        for done in as_completed([pool.submit(write_clip, clip, videos) for clip in missing]):
            done.result()
            on_file()


def write_clip(clip: DemoClip, videos: Path) -> Path:
    """Render one clip under another name, then rename it, so that no half-written file is taken for a clip."""
    aside = videos.parent / f"{clip.name}.part"
    if clip.form in STILL_FORMS:
        (frame,) = draw_frames(clip)
        _, data = cv2.imencode(f".{clip.form}", cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))
        aside.write_bytes(data.tobytes())
    else:
        _write_video(clip, aside)
    return aside.replace(videos / clip.name)


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
