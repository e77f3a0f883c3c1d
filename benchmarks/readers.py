"""Processor seconds of reading frames: our readers beside decord alone and the ffmpeg program.

example:
  python -m benchmarks.readers
  python -m benchmarks.readers --folder CLIPS --rounds 9 --json

Two tasks: frames at 2 a second, and every frame, both with a short side of 224. Sides, each in a process of its
own for each round, taking turns, one thread each; imports and one file to warm up are not counted:

  pyav      our default reader, with all that it finds out about a file beforehand
  decord    decord.VideoReader itself, told the size of frames, asked for the frames that are on display
  guarded   our reader on decord
  ffmpeg    the ffmpeg program, decoding all and scaling the frames of the task, into a pipe

A ratio is that of two sides of one round. Without a folder, files are made: H.264 at 640 x 360 and 30 a second, in
closed groups of up to 250, of moving test pictures with noise.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

SIDES = ("pyav", "decord", "guarded", "ffmpeg")
TASKS = {"2 a second": 2.0, "every frame": None}
SIZE, BATCH = 224, 32


def main(argv: list[str] | None = None) -> int:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, help="files to read; default: made ones")
    parser.add_argument("--files", type=int, default=4, help="how many to make")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--one", nargs="+", help=argparse.SUPPRESS)  # side, task, files: one round, for the parent
    args = parser.parse_args(argv)
    if args.one:
        side, task, *files = args.one
        seconds, frames = _timed(side, TASKS[task], [Path(file) for file in files])
        print(json.dumps([seconds, frames]))
        return 0
    with tempfile.TemporaryDirectory() as scratch:
        files = sorted(args.folder.glob("*.m[pko][4kv]")) if args.folder else _make(Path(scratch), args.files)
        report = {task: _rounds(task, files, args.rounds) for task in TASKS}
    if args.json:
        print(json.dumps({"files": len(files), "load": os.getloadavg()[0], "tasks": report}))
        return 0
    print(f"{len(files)} files, {args.rounds} rounds, load {os.getloadavg()[0]:.1f}")
    for task, sides in report.items():
        print(f"\n{task:12}{'frames':>8}{'CPU s':>9}   ratio to decord: min, median, max")
        for side, row in sides.items():
            low, middle, high = (row[key] for key in ("min", "median", "max"))
            print(f"{side:12}{row['frames']:8}{row['seconds']:9.3f}   {low:.2f}  {middle:.2f}  {high:.2f}")
    return 0


def _make(folder: Path, count: int) -> list[Path]:
    import imageio_ffmpeg

    for number in range(count):
        pictures = f"testsrc2=size=640x360:rate=30:duration={8 + 4 * number}"
        tone = f"sine=duration={8 + 4 * number}"
        words = ["-vf", f"noise=alls=6:allf=t:all_seed={number}", "-c:v", "libx264", "-pix_fmt", "yuv420p"]
        command = [imageio_ffmpeg.get_ffmpeg_exe(), "-loglevel", "error", "-f", "lavfi", "-i", pictures]
        subprocess.run(
            [*command, "-f", "lavfi", "-i", tone, *words, "-threads", "1", folder / f"{number}.mp4"], check=True
        )
    return sorted(folder.iterdir())


def _rounds(task: str, files: Sequence[Path], rounds: int) -> dict[str, dict[str, float]]:
    seconds: dict[str, list[float]] = {side: [] for side in SIDES}
    frames = {}
    for number in range(rounds):
        for side in SIDES[number % len(SIDES) :] + SIDES[: number % len(SIDES)]:
            command = [sys.executable, "-m", "benchmarks.readers", "--one", side, task, *map(str, files)]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            spent, frames[side] = json.loads(done.stdout.splitlines()[-1])
            seconds[side].append(spent)
    return {
        side: {"frames": frames[side], "seconds": statistics.median(seconds[side])}
        | _spread([ours / theirs for ours, theirs in zip(seconds[side], seconds["decord"])])
        for side in SIDES
    }


def _spread(ratios: list[float]) -> dict[str, float]:
    return {"min": min(ratios), "median": statistics.median(ratios), "max": max(ratios)}


def _timed(side: str, fps: float | None, files: Sequence[Path]) -> tuple[float, int]:
    """Processor seconds, those of child processes too, and how many frames came."""
    os.environ["OMP_NUM_THREADS"] = "1"
    from features.job.process import use_one_thread
    from features.media.probe import probe

    reads: dict[str, Callable[[Path, float, tuple[int, int]], int]] = {
        "pyav": _ours("pyav"),
        "decord": _decord,
        "guarded": _ours("decord"),
        "ffmpeg": _ffmpeg,
    }
    if side in ("decord", "guarded"):
        from features.media.decord_reader import import_decord

        import_decord()
    use_one_thread()
    from features.media.pyav_reader import shape_of

    plans = []
    for file in files:
        facts = probe(file).picture
        assert facts is not None
        plans.append((file, fps or facts.rate or 25.0, shape_of(facts, SIZE)))
    reads[side](*plans[0])
    before = _processor_seconds()
    frames = sum(reads[side](*plan) for plan in plans)
    return _processor_seconds() - before, frames


def _processor_seconds() -> float:
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def _ours(name: str) -> Callable[[Path, float, tuple[int, int]], int]:
    from features.media.clip import FrameNeed
    from features.media.cutting import Cutting
    from features.media.reader import open_reader

    def read(file: Path, fps: float, shape: tuple[int, int]) -> int:
        need = FrameNeed(fps=fps, size=SIZE)
        clips = open_reader(name, file).read(file, file.name, (need,), Cutting())
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
        count = 0
        while frame := program.stdout.read(3 * height * width):
            count += len(frame) > 0
    return count


if __name__ == "__main__":
    sys.exit(main())
