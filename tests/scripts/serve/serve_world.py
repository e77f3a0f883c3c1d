"""The world that the browser sees: a library of every container, each picture with a clock, and an index over it.

Frame n of ten a second shows n in binary, eight columns of light or dark in its upper third, over its moment's
colour; each second of the sound beeps. Stream `seen` says the colour, so a colour's name finds its moments.
"""

import csv
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np

from tests.features.ffmpeg_program import copy, run, there
from tests.features.media_files import own_content

RATE, SIZE, CLIP_S, SECONDS = 10, (160, 96), 4, 12
COLOURS = {"red": (200, 60, 60), "green": (60, 180, 60), "blue": (60, 80, 220), "white": (200, 200, 200)}
AAC, FAST = "-c:a aac -b:a 48k", "-g 30"  # a key frame each 3 s: none where a moment of 4 s begins
X264 = f"-c:v libx264 -preset ultrafast -crf 20 {FAST}"
X265 = f"-c:v libx265 -preset ultrafast -x265-params log-level=none:pools=none:frame-threads=1 {FAST}"
PQ = " -color_primaries bt2020 -color_trc smpte2084 -colorspace bt2020nc"
MPEG2 = "-c:v mpeg2video -q:v 3 -r 25 -g 75 -bf 2 -c:a mp2"
CONTAINERS = {
    "h264.mp4": f"{X264} {AAC}",
    "hevc.mp4": f"{X265} {AAC}",
    "vp9.webm": f"-c:v libvpx-vp9 -deadline realtime -cpu-used 8 -b:v 300k {FAST} -c:a libopus -b:a 32k",
    "av1.mp4": f"-c:v libsvtav1 -preset 12 -svtav1-params lp=1 {FAST} {AAC}",
    "mpeg2.ts": f"{MPEG2} -output_ts_offset 3.3",
    "mpeg2.mpg": MPEG2,
    "xvid.avi": f"-c:v mpeg4 -vtag xvid -q:v 3 {FAST} -bf 2 -c:a libmp3lame",
    "prores.mov": "-c:v prores_ks -pix_fmt yuv422p10le -c:a pcm_s16le",
    "wmv2.wmv": f"-c:v wmv2 -q:v 3 {FAST} -c:a wmav2",
}
OTHERS = {"hdr.mp4": f"{X265} -pix_fmt yuv420p10le{PQ} {AAC}", "silent.mp4": X264}
PLAYED = ("h264.mkv", *CONTAINERS)  # the ten
RUNS = "window.ran=1"  # what no page may do
HOSTILE = (
    f"<img src=x onerror={RUNS}>.mp4",
    f'"><script>{RUNS}</script>.mp4',  # a folder and a file
    "a&b#t=1,2.mp4",
    "%2e%2e%2f.mp4",
    "two\nlines '\"`${x}{{x}}.mp4",
    "\u202egpj.\u2066\U0001f600.mp4",
)
UTTERANCE = f"'\"><img src=x onerror={RUNS} "  # subtitles lose whole tags when they are read
VALUE, COLUMN = f"<svg onload={RUNS}>", "<b>=cmd</b>"  # of metadata


def colour_of(number: int, moment: int) -> str:
    """Of a moment of the library's file of this number."""
    return list(COLOURS)[(number + moment) % len(COLOURS)]


def frames(number: int, seconds: float) -> np.ndarray:
    """(N, H, W, 3)"""
    (width, height), count = SIZE, round(RATE * seconds)
    shown = np.empty((count, height, width, 3), np.uint8)
    for n, frame in enumerate(shown):
        frame[:] = COLOURS[colour_of(number, n // (RATE * CLIP_S))]
        frame[height // 2 + 8 :, n % width :][:, :16] = 20  # something moves
        for bit in range(8):
            frame[: height // 3, bit * width // 8 : (bit + 1) * width // 8] = 235 if n >> bit & 1 else 16
    return shown


def write(path: Path, number: int, how: str, seconds: float = SECONDS) -> None:
    raw = f"-f rawvideo -pix_fmt rgb24 -s {SIZE[0]}x{SIZE[1]} -r {RATE} -i -".split()
    beeps = [] if "-c:a" not in how else ["-f", "lavfi", "-i", f"sine=220:beep_factor=4:duration={seconds}"]
    pixels = [] if "-pix_fmt" in how else ["-pix_fmt", "yuv420p"]
    given = frames(number, seconds).tobytes()
    run(*raw, *beeps, *pixels, "-threads", "1", *how.split(), path, given=given)
    there(path)


def make_library(videos: Path) -> None:
    videos.mkdir()
    for number, (name, how) in enumerate((CONTAINERS | OTHERS).items()):
        write(videos / name, number, how)
    copy(videos / "h264.mp4", videos / "h264.mkv")
    copy(videos / "h264.mp4", videos / "turned.mp4", before="-display_rotation 90")
    write(videos / "short.mp4", 0, f"{X264} {AAC}", 6)
    for name in HOSTILE:
        (videos / name).parent.mkdir(exist_ok=True)
        own_content(Path(shutil.copy(videos / "short.mp4", videos / name)), name)
    for name in ("still.jpg", "still.png"):
        run("-i", videos / "h264.mp4", "-frames:v", "1", videos / name)
    run("-f", "lavfi", "-i", f"sine=220:beep_factor=4:duration={SECONDS}", videos / "tone.mp3")
    for name, text in {"h264.mp4": "a dog barks twice", HOSTILE[0]: UTTERANCE, "vp9.webm": "rain falls"}.items():
        cue = f"1\n00:00:05,000 --> 00:00:05,900\n{text}\n"
        (videos / name).with_suffix(".srt").write_text(cue)


def make_world(place: Path) -> SimpleNamespace:
    """Library, store, model and index by the commands themselves, where they are not yet."""
    from features.store import FeatureStore
    from scripts.build_index import main as build_index
    from scripts.import_features import main as import_features
    from scripts.model import main as model
    from scripts.precompute import main as precompute
    from tests.mee.tiny_models import save

    made = SimpleNamespace(**{name: place / name for name in ("videos", "store", "model", "index")})
    if made.index.exists():
        return made
    make_library(made.videos)
    streams = ["audio", "motion", "speech=subtitles"]
    flags = ["--clip-seconds", str(CLIP_S), "--workers", "2", "--streams"]
    assert precompute([str(made.videos), str(made.store), *flags, *streams]) == 0
    clips = FeatureStore(made.store).clips
    files = {name: number for number, name in enumerate(CONTAINERS | OTHERS)}
    seen = {
        clip: (np.eye(4) * 0.9 + 0.025)[(files.get(row.video, 0) + int(row.start_s // CLIP_S)) % 4][None].astype(
            "f4"
        )
        for clip, row in clips.iterrows()
        if not row.video.endswith("mp3") and "\n" not in clip  # import takes no such name
    }
    np.savez(place / "seen.npz", **seen)
    (place / "names.txt").write_text("\n".join(COLOURS))
    given = (f"seen={place / 'seen.npz'}", "--columns", f"seen={place / 'names.txt'}")
    assert import_features([str(made.store), *given]) == 0
    assert model([str(made.store), str(made.model), "--text", str(save("bert", place / "bert"))]) == 0
    with (place / "metadata.csv").open("w", newline="") as file:
        rows = ((video, VALUE if "<" in video else video.rpartition(".")[2]) for video in sorted(set(clips.video)))
        csv.writer(file).writerows([("video_id", COLUMN), *rows])
    index = [str(made.store), str(made.model), str(made.index), "--metadata", str(place / "metadata.csv")]
    assert build_index(index) == 0
    return made
