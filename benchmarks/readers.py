"""Processor seconds of reading frames: our readers beside decord alone and the ffmpeg program.

example:
  python -m benchmarks.readers
  python -m benchmarks.readers --folder CLIPS --rounds 9

Two tasks: frames at 2 a second, and every frame, both with a short side of 224. Sides, each in a new process for
each round, taking turns, one thread each; imports and one file to warm up are not counted:

  pyav      our default reader, probing of the file included
  decord    decord.VideoReader itself, given the size of frames and the numbers of those on display
  guarded   our reader on decord
  ffmpeg    the ffmpeg program, decoding all and scaling the frames of the task, into a pipe

A ratio is that of two sides of one round. Without a folder, files are made: H.264 at 640 x 360 and 30 a second, in
closed groups of up to 250, of moving test pictures with noise.
"""

from __future__ import annotations

import os
import resource
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median

import numpy as np

from benchmarks.timing import apart_in_turns, arguments, print_table, ratios

SIDES = ("pyav", "decord", "guarded", "ffmpeg")
TASKS = {"2 a second": 2.0, "every frame": None}
SIZE, BATCH = 224, 32
Read = Callable[[Path, float, tuple[int, int]], int]
COLUMNS = {
    "side": "{side}", "frames": "{frames}", " CPU s": "{seconds:.3f}", "ratio: min": "{min:.2f}",
    "median": "{median:.2f}", " max": "{max:.2f}",
}  # fmt: skip


@dataclass(frozen=True)
class Args:
    folder: Path | None = None  # files to read; default: made ones
    files: int = 4  # how many to make
    rounds: int = 7


def main() -> None:
    args = arguments(Args, __doc__)
    os.environ["OMP_NUM_THREADS"] = "1"  # of each side's process
    with tempfile.TemporaryDirectory() as scratch:
        files = sorted(args.folder.glob("*.m[pko][4kv]")) if args.folder else make_files(Path(scratch), args.files)
        print(f"{len(files)} files, {args.rounds} rounds")
        for task, fps in TASKS.items():
            print(f"\n{task}\n")
            found = apart_in_turns(_timed, {side: (side, fps, files) for side in SIDES}, args.rounds)
            seconds = {side: [spent for spent, _ in own] for side, own in found.items()}
            rows = [
                {
                    "side": side,
                    "frames": found[side][0][1],
                    "seconds": median(own),
                    **ratios(own, seconds["decord"]),
                }
                for side, own in seconds.items()
            ]
            print_table(COLUMNS, rows, 8, threads=1)


def make_files(folder: Path, count: int) -> list[Path]:
    """Write so many files of noisy test pictures and a tone; the first has 8 s."""
    import imageio_ffmpeg  # type: ignore[import-untyped]

    for number in range(count):
        pictures = f"testsrc2=size=640x360:rate=30:duration={8 + 4 * number}"
        words = f"-f lavfi -i {pictures} -f lavfi -i sine=duration={8 + 4 * number} -c:v libx264 -pix_fmt yuv420p"
        words += f" -vf noise=alls=6:allf=t:all_seed={number} -threads 1"
        command = [imageio_ffmpeg.get_ffmpeg_exe(), "-loglevel", "error", *words.split(), folder / f"{number}.mp4"]
        subprocess.run(command, check=True)
    return sorted(folder.iterdir())


def _timed(side: str, fps: float | None, files: Sequence[Path]) -> tuple[float, int]:
    """Processor seconds, those of child processes too, and how many frames came."""
    from features.job.process import use_one_thread
    from features.media.probe import probe_file

    reads = {"pyav": _ours("pyav"), "decord": _decord, "guarded": _ours("decord"), "ffmpeg": _ffmpeg}
    if side in ("decord", "guarded"):
        from features.media.decord_reader import import_decord

        import_decord()
    use_one_thread()
    plans = []
    for file in files:
        facts = probe_file(file).picture
        assert facts is not None
        plans.append((file, fps or facts.rate or 25.0, facts.shape(SIZE)))
    reads[side](*plans[0])
    before = _processor_seconds()
    frames = sum(reads[side](*plan) for plan in plans)
    return _processor_seconds() - before, frames


def _processor_seconds() -> float:
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def _ours(name: str) -> Read:
    from features.media.clip import FrameNeed
    from features.media.reader import read_clips

    def read(file: Path, fps: float, shape: tuple[int, int]) -> int:
        need = FrameNeed(fps=fps, size=SIZE)
        clips = read_clips(file, file.name, (need,), reader=name)
        return sum(len(clip.frames[need].times) for clip in clips if need in clip.frames)

    return read


def _decord(file: Path, fps: float, shape: tuple[int, int]) -> int:
    import decord

    height, width = shape
    video = decord.VideoReader(str(file), decord.cpu(0), width=width, height=height, num_threads=1)
    times = video.get_frame_timestamp(range(len(video)))
    wanted = times[0, 0] + np.arange(0, times[-1, 1] - times[0, 0] - 1e-3, 1 / fps)
    numbers = np.maximum(np.searchsorted(times[:, 0], wanted + 1e-4, side="right") - 1, 0)
    parts = (numbers[start : start + BATCH].tolist() for start in range(0, len(numbers), BATCH))
    return sum(len(video.get_batch(part).asnumpy()) for part in parts)


def _ffmpeg(file: Path, fps: float, shape: tuple[int, int]) -> int:
    import imageio_ffmpeg

    height, width = shape
    chosen = f"fps={fps}:round=down,scale={width}:{height}:flags=area,format=rgb24"
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-loglevel", "error", "-threads", "1", "-i", str(file)]
    words = ["-map", "0:v:0", "-vf", chosen, "-filter_threads", "1", "-threads", "1", "-f", "rawvideo", "-"]
    with subprocess.Popen([*command, *words], stdout=subprocess.PIPE, stdin=subprocess.DEVNULL) as program:
        assert program.stdout is not None
        return sum(1 for _ in iter(partial(program.stdout.read, 3 * height * width), b""))


if __name__ == "__main__":
    main()
