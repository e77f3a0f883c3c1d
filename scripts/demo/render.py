"""render_world: the demo's world as files, by several processes, resumed where it was stopped.

folder/videos/clip_0001.mp4 ...   H.264 with AAC, VP9 with Opus, and still images
folder/captions.csv               video_id,caption,split: what `mee train` reads
folder/captions.jsonl             the same, with the modalities that each caption speaks of
folder/facts.jsonl                what is true of each clip, and what drew it
"""

from __future__ import annotations

import csv
import io
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

from features.job.process import use_one_thread
from scripts.demo.captions import Caption, make_captions
from scripts.demo.facts import IMAGE_FORMS, DemoClip
from scripts.demo.picture import FPS, FRAMES, HEIGHT, WIDTH, draw_frames
from scripts.demo.sound import RATE, synthesise
from scripts.demo.world import make_clips

VERSION = 1  # raised whenever a clip's picture or sound changes
VIDEO_CODECS = {
    "mp4": ("libx264", {"preset": "veryfast", "crf": "20", "threads": "1"}),
    "webm": ("libvpx-vp9", {"deadline": "realtime", "cpu-used": "8", "crf": "28", "b": "0", "threads": "1"}),
}
SOUND_CODECS = {"mp4": ("aac", "fltp"), "webm": ("libopus", "flt")}  # codec, its sample format


def render_world(folder: Path, seed: int, workers: int, on_file: Callable[[str], None] | None = None) -> None:
    """Write the files that are not there yet; ``on_file`` hears the name of each one that is.

    What an earlier call wrote for another seed, or by older code, is removed first.
    """
    clips = make_clips(seed)
    videos = folder / "videos"
    videos.mkdir(parents=True, exist_ok=True)
    _write_tables(folder, clips, make_captions(clips, seed))
    missing = [clip for clip in clips if not (videos / clip.name).exists()]
    for clip in clips:
        if on_file and clip not in missing:
            on_file(clip.name)
    if not missing:
        return
    context = multiprocessing.get_context("spawn")  # a fork would inherit the caller's threads, half alive
    with ProcessPoolExecutor(max_workers=workers, mp_context=context, initializer=use_one_thread) as pool:
        for done in as_completed([pool.submit(write_clip, clip, videos) for clip in missing]):
            name = done.result()
            if on_file:
                on_file(name)


def write_clip(clip: DemoClip, videos: Path) -> str:
    """Render one clip aside, then give it its name; returns the name."""
    aside = videos.parent / f"{clip.name}.part"
    if clip.form in IMAGE_FORMS:
        _write_image(clip, aside)
    else:
        _write_video(clip, aside)
    aside.replace(videos / clip.name)
    return clip.name


def _write_image(clip: DemoClip, path: Path) -> None:
    (frame,) = draw_frames(clip)
    _, data = cv2.imencode(f".{clip.form}", cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))
    path.write_bytes(data.tobytes())


def _write_video(clip: DemoClip, path: Path) -> None:
    codec, options = VIDEO_CODECS[clip.form]
    with av.open(str(path), "w", format=clip.form) as container:
        picture = cast(av.VideoStream, container.add_stream(codec, rate=FPS, options=options))
        picture.width, picture.height, picture.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        if clip.facts.sound:
            sound_codec, sample_format = SOUND_CODECS[clip.form]
            sound = cast(av.AudioStream, container.add_stream(sound_codec, rate=RATE, layout="mono"))
        for pixels in draw_frames(clip):
            container.mux(picture.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(picture.encode())
        if clip.facts.sound:
            generator = np.random.default_rng([clip.seed, 4])
            wave = synthesise(clip.facts.sound, FRAMES / FPS, generator)
            samples = av.AudioFrame.from_ndarray(wave[None], format=sample_format, layout="mono")
            samples.sample_rate, samples.pts, samples.time_base = RATE, 0, Fraction(1, RATE)
            container.mux(sound.encode(samples))
            container.mux(sound.encode())


def _write_tables(folder: Path, clips: Sequence[DemoClip], captions: Sequence[Caption]) -> None:
    facts = "".join(
        json.dumps(
            {"video_id": clip.name, "split": clip.split, **clip.facts.values(), "drawn_by": [VERSION, clip.seed]}
        )
        + "\n"
        for clip in clips
    )
    table = folder / "facts.jsonl"
    if table.exists() and table.read_text("utf-8") != facts:
        for line in table.read_text("utf-8").splitlines():
            (folder / "videos" / json.loads(line)["video_id"]).unlink(missing_ok=True)
    _write_text(table, facts)
    rows = io.StringIO()
    writer = csv.writer(rows, lineterminator="\n")
    writer.writerow(["video_id", "caption", "split"])
    writer.writerows([caption.video_id, caption.text, caption.split] for caption in captions)
    _write_text(folder / "captions.csv", rows.getvalue())
    told = (
        {"video_id": each.video_id, "caption": each.text, "split": each.split, "speaks_of": each.speaks_of}
        for each in captions
    )
    _write_text(folder / "captions.jsonl", "".join(json.dumps(row) + "\n" for row in told))


def _write_text(path: Path, text: str) -> None:
    aside = path.with_name(f"{path.name}.part")
    aside.write_text(text, "utf-8")
    aside.replace(path)
