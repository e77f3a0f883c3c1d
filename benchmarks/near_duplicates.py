"""How well hashes of frames tell copies of a video from other videos: recall and false alarms by threshold.

example:
  python -m benchmarks.near_duplicates VIDEOS
  python -m benchmarks.near_duplicates VIDEOS --fps 1 --share 0.8

Of every video in the folder, the first seconds are encoded again in the ways of VERSIONS, by the ffmpeg program.
Every version is then compared with every video, as mee overlap does:

  recall         versions that are at most so many bits apart from the video they were made of
  false alarms   versions that are so near to another video of the folder, and videos so near to each other

A folder that holds a video twice reports that as a false alarm; the nearest pair is named.
"""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
import tempfile
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tyro.conf import Positional

from benchmarks.timing import arguments, print_table, say
from features.errors import InputError
from features.hashing import BITS, HashedVideo, hash_videos
from features.media.library import find_media
from mee.near_duplicates.frames import FRAME_THRESHOLD, SHARE, near_frames
from mee.near_duplicates.overlap import Side, bits_apart

THRESHOLDS = (16, 20, 24, 28, 32, 36, 40, 44, 48)
EVEN = "trunc(iw*{0}/2)*2:trunc(ih*{0}/2)*2"
PLAIN = "-c:v libx264 -preset ultrafast -crf 28"
VERSIONS = {
    "as it is": PLAIN,
    "low quality": "-c:v libx264 -preset veryfast -crf 38",
    "MPEG-4": "-c:v mpeg4 -q:v 12",
    "half the size": f"-vf scale={EVEN.format(0.5)} {PLAIN}",
    "720 high": f"-vf scale=-2:720 {PLAIN}",
    "squeezed to a square": f"-vf scale=320:320 {PLAIN}",
    "cropped by 5 %": f"-vf crop={EVEN.format(0.95)} {PLAIN}",
    "cropped by 10 %": f"-vf crop={EVEN.format(0.9)} {PLAIN}",
    "cropped by 10 %, corner": f"-vf crop={EVEN.format(0.9)}:0:0 {PLAIN}",
    "letterbox": f"-vf pad=iw:trunc(ih*1.33/2)*2:0:trunc(ih*0.33/4)*2 {PLAIN}",
    "pillarbox": f"-vf pad=trunc(iw*1.4/2)*2:ih:trunc(iw*0.4/4)*2:0 {PLAIN}",
    "6 s of it, from 1.3 s": f"-ss 1.3 -t 6 {PLAIN}",
    "8 frames a second": f"-r 8 {PLAIN}",
    "brighter, more contrast": f"-vf eq=brightness=0.1:contrast=1.2 {PLAIN}",
    "grey": f"-vf hue=s=0 {PLAIN}",
    "with a logo": f"-vf drawbox=x=iw*0.78:y=ih*0.05:w=iw*0.17:h=ih*0.1:color=white:t=fill {PLAIN}",
    "cut, cropped, scaled, boxed": f"-ss 0.7 -vf crop={EVEN.format(0.95)},scale=-2:240,pad=iw:300:0:30 {PLAIN}",
    "mirrored": f"-vf hflip {PLAIN}",
}

Copies = Mapping[tuple[str, str], HashedVideo]  # by version and video


@dataclass(frozen=True)
class Args:
    videos: Positional[Path]  # folder of videos, of different things
    seconds: float = 20.0  # of each video
    fps: float = 2.0  # frames a second that are hashed
    share: float = SHARE  # of one's frames that the other has too
    workers: int = len(os.sched_getaffinity(0))


def main(argv: Sequence[str] | None = None) -> int:
    args = arguments(Args, __doc__, argv)
    try:
        rows, differing = measure(args)
    except InputError as error:
        say(f"error: {error}")
        return 1
    columns = {"found at most so many bits apart": "{what}"} | {f"{t}": f"{{at_{t}}}" for t in THRESHOLDS}
    print_table(columns | {"median": "{median}", "most": "{most}"}, rows, 46)
    print(f"\n{args.fps:g} frames a second, share {args.share:g}\n{differing}")
    return 0


def measure(args: Args) -> tuple[list[dict[str, Any]], str]:
    """Write all versions, hash them, and count: a row a version, and what is known of different videos."""
    library = find_media(args.videos)
    with tempfile.TemporaryDirectory() as made:
        names, versions = {}, {}
        for number, video in enumerate(library.videos):
            if name := _write(library.root / video, Path(made), f"{number}", "-c copy", args.seconds):
                names[video] = name
                for place, (version, words) in enumerate(VERSIONS.items()):
                    copy = _write(library.root / video, Path(made), f"{number}-{place}", words, args.seconds)
                    versions[version, video] = copy
        files = [name for name in (*names.values(), *versions.values()) if name]
        hashed = {each.video: each for each in hash_videos(Path(made), files, args.fps, args.workers)}
    read = {video: hashed[name] for video, name in names.items() if not hashed[name].failure}
    if len(read) < 2:
        raise InputError(f"'{args.videos}' holds {len(read)} videos that can be read; two at least are needed")
    copies = {key: hashed[name] for key, name in versions.items() if name and key[1] in read}
    return _counted(read, copies, args.share)


def _write(source: Path, folder: Path, name: str, words: str, seconds: float) -> str:
    """Write one version; its name, or nothing where the program could not."""
    import imageio_ffmpeg  # type: ignore[import-untyped]

    copied = words == "-c copy"
    target = folder / f"{name}{source.suffix if copied else '.mp4'}"
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-loglevel", "error", "-y", "-threads", "1", "-t", str(seconds)]
    words += "" if copied else " -pix_fmt yuv420p"
    command += ["-i", str(source), "-an", *words.split(), str(target)]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    if done.returncode or not target.exists():
        say(f"not written: {source.name} {words}: {done.stderr.decode(errors='replace')[-200:]}")
        return ""
    return target.name


def _counted(
    originals: Mapping[str, HashedVideo], copies: Copies, share: float
) -> tuple[list[dict[str, Any]], str]:
    itself = {("", video): each for video, each in originals.items()}
    apart = _all_apart({**copies, **itself}, originals, share)
    rows = []
    for version in VERSIONS:
        own = [apart.get((video, version, video), BITS) for name, video in copies if name == version]
        ends = {"median": int(np.median(own)), "most": max(own)}
        rows.append({"what": f"{version} ({len(own)})", **_counts(own), **ends})
    others = {key: bits for key, bits in apart.items() if key[0] != key[2] and (key[1] or key[0] < key[2])}
    total = len(originals)
    for what, some, count in (
        ("versions", True, len(copies) * (total - 1)),
        ("videos", False, total * (total - 1) // 2),
    ):
        found = [bits for (_, version, _), bits in others.items() if bool(version) == some]
        rows.append({"what": f"false alarms: {what} ({count:,} pairs)", **_counts(found)})
    (video, version, of), bits = min(others.items(), key=lambda item: item[1])
    nearest = f"'{version}' of {of}" if version else of
    pairs = itertools.combinations([each.hashes for each in originals.values()], 2)
    frames = np.concatenate([bits_apart(*pair).ravel() for pair in pairs])
    return rows, (
        f"nearest of {total} different videos: {nearest} and {video}, {bits} bits\n"
        f"frames of different videos: {frames.mean():.1f} +- {frames.std():.1f} bits apart, {frames.min()} "
        f"at the least, of {len(frames):,} pairs; default threshold {FRAME_THRESHOLD} of {BITS}"
    )


def _all_apart(
    copies: Copies, originals: Mapping[str, HashedVideo], share: float
) -> dict[tuple[str, str, str], int]:
    """(video, version, video that this is of) -> bits apart, of all pairs that have frames."""
    train = _frames(list(originals), list(originals.values()))
    names = {f"{version}\n{video}": (version, video) for version, video in copies}
    test = _frames(list(names), list(copies.values()))
    overlap = near_frames(train, test, threshold=BITS - 1, share=share, keep=len(originals))
    return {(p.train, *names[p.test]): int(p.value) for p in overlap.pairs if p.value is not None}


def _frames(names: Sequence[str], hashed: Sequence[HashedVideo]) -> Side:
    nothing = ("",) * len(names)  # a copy of a file is not found by its content here
    return Side.of(tuple(names), nothing, [each.hashes for each in hashed], [each.times for each in hashed])


def _counts(bits: Collection[int]) -> dict[str, int]:
    return {f"at_{threshold}": sum(value <= threshold for value in bits) for threshold in THRESHOLDS}


if __name__ == "__main__":
    sys.exit(main())
