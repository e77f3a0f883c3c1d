"""A gallery of real clips, some of which have something said or written that the picture does not show.

  python -m benchmarks.data.mixed_gallery DATA FOLDER               240 clips and their queries, 2 minutes
  python -m benchmarks.data.mixed_gallery DATA FOLDER --part dev    119 others with other sentences, to choose by

DATA holds msrvtt200 and coco159, each with captions.csv; photographs become still clips. A quarter of the clips
gets a spoken sentence, a quarter a line of text, a quarter both, a quarter neither; without a spoken one there is
no sound track. The sentences are ours (mixed_gallery.csv: kind, sentence, query) and dealt at random, so that
they say nothing about the picture.

FOLDER/videos       *.mp4, 298 x 224, 3 frames a second, 8 s or longer; speech by espeak-ng in ten voices, 140 to
                    175 words a minute; text in three fonts, looks and places, for 3 s at least
FOLDER/clips.csv    video, said, said_s, said_end_s, written, written_s, written_end_s
FOLDER/queries.csv  caption, video, kind: seen, said, written, as many of each; "said, quoted", "written, quoted"

A query of what is seen is a person's caption, of every other four clips. One of what is said or written describes
the sentence in other words ("news about borrowing becoming more expensive" has no content word of its sentence); a
quoted one is the second half of the sentence.
"""

from __future__ import annotations

import shutil
import subprocess
import wave
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

import numpy as np
import pandas as pd
from tyro.conf import Positional

from benchmarks.timing import arguments, say

POOL = Path(__file__).with_suffix(".csv")
CLIPS = {"test": 240, "dev": 119}
SECONDS, WIDTH, HEIGHT, RATE = 8.0, 298, 224, 3
VOICES = [f"{accent}{voice}" for accent in ("en-us", "en-gb") for voice in ("", "+f2", "+f3", "+m3", "+m7")]
FONTS = ("Sans", "Serif", "Monospace")
LOOKS = (
    "fontcolor=white:box=1:boxcolor=black@0.6",
    "fontcolor=white:borderw=2:bordercolor=black",
    "fontcolor=yellow:box=1:boxcolor=navy",
)
PLACES = ("12", "(h-text_h)/2", "h-text_h-12")
Part = Literal["test", "dev"]


@dataclass(frozen=True)
class MixedClip:
    """A clip of a data set, and what is said and written in it; empty: nothing."""

    source: Path
    caption: str  # by a person, of the picture
    said: str = ""
    said_query: str = ""
    written: str = ""
    written_query: str = ""

    @property
    def name(self) -> str:
        """Its video."""
        return f"{self.source.stem}.mp4"


def plan(data: Path, part: Part = "test", seed: int = 0) -> list[MixedClip]:
    """The clips of a part; the two parts share no clip and no sentence."""
    rng = np.random.default_rng(seed)
    sources = [
        (path, caption)
        for folder in ("msrvtt200/videos", "coco159/images")
        for path, caption in _captions(data / folder, rng)
    ]
    rng.shuffle(sources)
    pool = pd.read_csv(POOL)
    dealt = {
        kind: rows.sample(frac=1, random_state=rng).to_numpy().tolist() for kind, rows in pool.groupby("kind")
    }
    clips = []
    for number, (path, caption) in enumerate(sources[: sum(CLIPS.values())]):
        said = dealt["said"].pop() if number % 4 in (0, 1) else ("", "", "")
        written = dealt["written"].pop() if number % 4 in (0, 2) else ("", "", "")
        clips.append(MixedClip(path, caption, *said[1:], *written[1:]))
    return clips[: CLIPS["test"]] if part == "test" else clips[CLIPS["test"] :]


def _captions(folder: Path, rng: np.random.Generator) -> Iterator[tuple[Path, str]]:
    """Files, each with one of its captions: the data set's query, or a random one."""
    table = pd.read_csv(folder.parent / "captions.csv", dtype=str)
    table = table[table["kind"] == "query"] if "kind" in table else table
    captions = table.groupby("video_id")["caption"].agg(list)
    for path in sorted(folder.iterdir()):
        yield path, str(rng.choice(captions[path.stem]))


def queries(clips: Sequence[MixedClip]) -> pd.DataFrame:
    """caption, video, kind."""
    rows = []
    for number, clip in enumerate(clips):
        if number // 4 % 2 == 0:
            rows.append((clip.caption, clip.name, "seen"))
        for kind, sentence, query in (
            ("said", clip.said, clip.said_query),
            ("written", clip.written, clip.written_query),
        ):
            if sentence:
                rows += [(query, clip.name, kind), (second_half(sentence), clip.name, f"{kind}, quoted")]
    return pd.DataFrame(rows, columns=["caption", "video", "kind"])


def second_half(sentence: str) -> str:
    """The second half of its words."""
    words = sentence.split()
    return " ".join(words[len(words) // 2 :])


def build(clips: Sequence[MixedClip], folder: Path, seed: int = 0) -> pd.DataFrame:
    """Write videos and tables, and return the table of clips.

    Raises:
        SystemExit: ffmpeg or espeak-ng is not there.
    """
    if absent := [program for program in ("ffmpeg", "espeak-ng") if not shutil.which(program)]:
        raise SystemExit(
            f"the mixed gallery is made by the programs ffmpeg and espeak-ng; install {' and '.join(absent)}"
        )
    (folder / "videos").mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor(2) as pool:
        made = pool.map(
            lambda item: _render(item[1], folder / "videos", np.random.default_rng([seed, item[0]])),
            enumerate(clips),
        )
        table = pd.DataFrame(made)
    table.to_csv(folder / "clips.csv", index=False)
    queries(clips).to_csv(folder / "queries.csv", index=False)
    return table


def _render(clip: MixedClip, folder: Path, rng: np.random.Generator) -> dict[str, object]:
    """Write one video; what is said and written in it, and when, in seconds."""
    about: dict[str, object] = {"video": clip.name, "said": clip.said, "written": clip.written}
    still = ["-loop", "1", "-framerate", str(RATE)] if clip.source.suffix == ".jpg" else []
    fit = f"scale={WIDTH}:{HEIGHT}:force_original_aspect_ratio=decrease,pad={WIDTH}:{HEIGHT}:-1:-1,fps={RATE}"
    command, seconds = ["ffmpeg", "-v", "error", "-y", *still, "-i", str(clip.source)], SECONDS
    with TemporaryDirectory() as work:
        if clip.said:
            sound, start = Path(work, "said.wav"), rng.uniform(0.3, 1.5)
            voice, speed = str(rng.choice(VOICES)), str(rng.integers(140, 176))
            _do(["espeak-ng", "-v", voice, "-s", speed, "-w", str(sound), clip.said])
            with wave.open(str(sound)) as file:
                end = start + file.getnframes() / file.getframerate()
            seconds = max(SECONDS, end + 0.5)
            about |= {"said_s": round(start, 2), "said_end_s": round(end, 2)}
            command += ["-i", str(sound), "-af", f"adelay={round(1000 * start)}:all=1,apad", "-c:a", "aac"]
        if clip.written:
            Path(work, "line.txt").write_text(clip.written)
            start = rng.uniform(0, 2)
            end = rng.uniform(5, 7.5)
            about |= {"written_s": round(start, 2), "written_end_s": round(end, 2)}
            size = int(min(22, (WIDTH - 10) / (0.6 * len(clip.written))))
            fit += (
                f",drawtext=textfile={work}/line.txt:font={rng.choice(FONTS)}:fontsize={size}:x=(w-text_w)/2"
                f":y={rng.choice(PLACES)}:{rng.choice(LOOKS)}:enable='between(t,{start:.2f},{end:.2f})'"
            )
        encode = ["-c:v", "libx264", "-preset", "veryfast", "-crf", "23", "-pix_fmt", "yuv420p", "-threads", "1"]
        _do([*command, "-vf", fit, "-t", f"{seconds:.2f}", *encode, str(folder / clip.name)])
    return about


def _do(command: Sequence[str]) -> None:
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL)


@dataclass(frozen=True)
class Args:
    data: Positional[Path]
    folder: Positional[Path]
    part: Part = "test"
    seed: int = 0


def main() -> None:
    args = arguments(Args, __doc__)
    table = build(plan(args.data, args.part, args.seed), args.folder, args.seed)
    say(f"{args.folder}: {len(table)} clips")


if __name__ == "__main__":
    main()
