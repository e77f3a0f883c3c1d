"""Search by example: how often a changed copy of a library's file finds that file first.

example:
  mee precompute videos/ store/ --streams appearance=efficientnet-lite0 motion audio face
  mee model store/ model/ && mee index store/ model/ index/
  python -m benchmarks.interactive.examples videos/ index/ --files 40

Some files of the index, drawn by the seed, are changed by ffmpeg in the ways of VARIANTS, and each copy
is an example, as of mee search --like-file. Found: the best video is the file that it was made of; by all streams
together, and by single ones where the copy has them. The rank is the mean place of that file.
"""

from __future__ import annotations

import random
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from tyro.conf import Positional

from benchmarks.timing import arguments, print_table, say
from features.media import find_media
from index import Request, Searcher
from mee.errors import InputError
from scripts.example import ExampleMaker

EVEN = "trunc(iw*{0}/2)*2:trunc(ih*{0}/2)*2"
X264 = "-c:v libx264 -preset ultrafast -crf"
VARIANTS = {  # ffmpeg's options, and the ending
    "low quality": (f"{X264} 36 -c:a aac -b:a 32k", ".mp4"),
    "MPEG-4, MP3": ("-c:v mpeg4 -q:v 8 -c:a libmp3lame -b:a 64k", ".mkv"),
    "half the size": (f"-vf scale={EVEN.format(0.5)} {X264} 28 -c:a aac", ".mp4"),
    "10 % off each side": (f"-vf crop={EVEN.format(0.8)} {X264} 28 -c:a aac", ".mp4"),
    "the middle half in time": (f"-ss {{quarter}} -t {{half}} {X264} 28 -c:a aac", ".mp4"),
    "the sound alone": ("-vn -c:a libmp3lame -b:a 64k", ".mp3"),
    "a frame": ("-ss {half} -frames:v 1 -q:v 4", ".jpg"),
}


@dataclass(frozen=True)
class Args:
    videos: Positional[Path]  # the folder that mee precompute read
    index: Positional[Path]  # of it
    files: int = 40  # that are changed
    seed: int = 0
    first: tuple[str, ...] = ()  # files that are among them in any case


def main(argv: Sequence[str] | None = None) -> int:
    args = arguments(Args, __doc__, argv)
    maker = ExampleMaker(Searcher.load(args.index))
    found: defaultdict[str, list[dict[str, int]]] = defaultdict(list)  # by variant, of each copy its ranks
    for video in chosen(args, maker.searcher):
        (path,) = (args.videos / each for each in find_media(args.videos).videos if each == video)
        moments = maker.searcher.video_index.clips_of(video)
        sound = any("audio" in each.streams for each in moments)
        for name, (options, ending) in VARIANTS.items():
            if name == "the sound alone" and not sound:
                continue
            with tempfile.TemporaryDirectory() as folder:
                copy = Path(folder) / f"copy{ending}"
                write(path, copy, options, moments[-1].end_s)
                try:
                    found[name].append(ranks(maker, copy, video))
                except InputError as error:
                    say(f"{video}, {name}: {error}")
                    found[name].append({})
        say(f"{video}: {', '.join(f'{name} {its[-1]}' for name, its in found.items())}")
    names = ["all", *maker.searcher.modalities]
    print(f"found first, % of copies; {len(videos_of(maker.searcher))} videos in the index, seed {args.seed}\n")
    heads = {
        "copy": "{copy}",
        "copies": "{copies}",
        **{name: f"{{{name}}}" for name in names},
        "rank": "{rank:.2f}",
    }
    print_table(heads, (row(name, its, names) for name, its in found.items()))
    return 0


def videos_of(searcher: Searcher) -> list[str]:
    """All videos of an index."""
    segments = searcher.video_index.snapshot.segments
    return sorted({video for each in segments for video in each.live_table()["video"].to_pylist()})


def chosen(args: Args, searcher: Searcher) -> list[str]:
    """The files that are changed: some in any case, then others by the seed."""
    others = [video for video in videos_of(searcher) if video not in args.first]
    random.Random(args.seed).shuffle(others)
    return [*args.first, *others][: args.files]


def write(path: Path, copy: Path, options: str, seconds: float) -> None:
    """A changed copy of a file."""
    times = {"quarter": seconds / 4, "half": seconds / 2}
    command = ["ffmpeg", "-v", "error", "-nostdin", "-i", str(path), *options.format(**times).split(), str(copy)]
    subprocess.run(command, check=True)


def ranks(maker: ExampleMaker, copy: Path, video: str) -> dict[str, int]:
    """The place of a video among all, by all streams together and by each that the copy has."""
    searcher = maker.searcher
    made = maker.make(copy)
    searcher.meaning.examples["copy"] = made.queries
    wanted = Request(example="copy", by_video=True, moments=1, top=10_000)
    requests = {"all": wanted} | {name: replace(wanted, only=(name,)) for name in made.streams}
    answers = searcher.search([*requests.values()])
    places = ([hit.video for hit in answer] for answer in answers)
    return {name: its.index(video) + 1 if video in its else len(its) + 1 for name, its in zip(requests, places)}


def row(name: str, its: Sequence[dict[str, int]], streams: Sequence[str]) -> dict[str, object]:
    """Of one variant: percent of copies whose file comes first, with its standard error, and of how many."""
    made: dict[str, object] = {"copy": name, "copies": len(its)}
    made["rank"] = np.mean([each["all"] for each in its if each] or [np.nan])
    for stream in streams:
        ranked = [each.get(stream, 0) for each in its if stream == "all" or stream in each]
        if ranked:
            part = sum(rank == 1 for rank in ranked) / len(ranked)
            few = f" ({len(ranked)})" if len(ranked) < len(its) else ""
            made[stream] = f"{100 * part:.1f} ± {100 * (part * (1 - part) / len(ranked)) ** 0.5:.1f}{few}"
    return made


if __name__ == "__main__":
    sys.exit(main())
