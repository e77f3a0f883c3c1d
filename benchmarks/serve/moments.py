"""What a moment costs: 10 s from the middle of a minute, for every kind of file, copied or converted.

example:
  python -m benchmarks.serve.moments
  python -m benchmarks.serve.moments --seconds 30 --rounds 5

Files are made by the ffmpeg program: 1280 x 720, 25 a second, moving test pictures with a little noise, a key
picture every 2 s, and a tone. Each moment is written in a new process with one thread, as `mee serve` does; its
imports are not counted, looking at the file is. The header of what is written comes first, so nothing can be sent
before all is written: seconds to the first byte are those of the clock for the whole.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from benchmarks.timing import apart_in_turns, arguments, print_table, say

H264 = "-c:v libx264 -preset veryfast -g 50"
HEVC = "-c:v libx265 -preset ultrafast -x265-params log-level=none:keyint=50"
MPEG2, XVID = "-c:v mpeg2video -b:v 8M -bf 2 -g 50", "-c:v mpeg4 -vtag xvid -b:v 4M -g 50"
VP9 = "-c:v libvpx-vp9 -deadline realtime -cpu-used 8 -b:v 3M -g 50"
AV1 = "-c:v libsvtav1 -preset 12 -crf 35 -g 50 -svtav1-params lp=2"
AAC, AC3, OPUS, MP2, MP3 = "-c:a aac", "-c:a ac3", "-c:a libopus", "-c:a mp2", "-c:a libmp3lame"
DEEP = " -pix_fmt yuv420p10le"
HDR = HEVC + ":colorprim=bt2020:transfer=smpte2084:colormatrix=bt2020nc" + DEEP
# container -> codecs, and the program's words
FILES = {
    "mp4": {"H.264 + AAC": H264 + " " + AAC, "HEVC + AAC": HEVC + " " + AAC, "AV1 + Opus": AV1 + " " + OPUS},
    "mkv": {
        "H.264 + AC-3": H264 + " " + AC3,
        "HEVC 10 bit + AC-3": HEVC + DEEP + " " + AC3,
        "HEVC HDR10 + AC-3": HDR + " " + AC3,
    },
    "webm": {"VP9 + Opus": VP9 + " " + OPUS},
    "mov": {"ProRes + PCM": "-c:v prores_ks -profile:v 0 -pix_fmt yuv422p10le -c:a pcm_s16le"},
    "ts": {
        "H.264 + AAC": H264 + " " + AAC,
        "HEVC + AC-3": HEVC + " " + AC3,
        "MPEG-2 interlaced + MP2": MPEG2 + " -flags +ildct+ilme -vf setfield=tff " + MP2,
    },
    "mpg": {"MPEG-2 + MP2": MPEG2 + " " + MP2},
    "avi": {"Xvid + MP3": XVID + " " + MP3},
    "wmv": {"WMV2 + WMA": "-c:v wmv2 -b:v 4M -g 50 -c:a wmav2"},
}
COLUMNS = {
    "container": "{container}", "codecs": "{codecs}", "pictures": "{video}", "sound": "{audio}",
    "CPU s": "{processor:.2f}", "first byte s": "{clock:.2f}", "kB": "{kilobytes:.0f}",
}  # fmt: skip


@dataclass(frozen=True)
class Args:
    seconds: float = 10.0  # of the moment, at most 30
    rounds: int = 3
    folder: Path | None = None  # where files are kept from one run to the next; default: a scratch folder


def main() -> None:
    args = arguments(Args, __doc__)
    os.environ["OMP_NUM_THREADS"] = "1"
    with tempfile.TemporaryDirectory() as scratch:
        folder = args.folder or Path(scratch)
        folder.mkdir(exist_ok=True)
        names = [(container, codecs) for container, kinds in FILES.items() for codecs in kinds]
        files = {name: make(folder, *name) for name in names}
        sides = {" ".join(name): (files[name], args.seconds) for name in names}
        found = apart_in_turns(_written, sides, args.rounds)
        print(f"{args.seconds:g} s from the middle of 60 s, 1280 x 720, {args.rounds} rounds, medians\n")
        rows = []
        for container, codecs in names:
            runs = found[f"{container} {codecs}"]
            processor, clock = (median(run[n] for run in runs) for n in (0, 1))
            row = {"container": container, "codecs": codecs, "processor": processor, "clock": clock}
            rows.append(row | {"kilobytes": runs[0][2], "video": runs[0][3], "audio": runs[0][4]})
        print_table(COLUMNS, rows, 9, threads=1)


def make(folder: Path, container: str, codecs: str) -> Path:
    """Write one of FILES, unless it is there."""
    import imageio_ffmpeg  # type: ignore[import-untyped]

    path = folder / f"{codecs.replace(' ', '_')}.{container}"
    if not path.exists():
        say(f"writing {path.name}")
        inputs = (
            "-f lavfi -i testsrc2=size=1280x720:rate=25:duration=60 -f lavfi -i sine=duration=60:sample_rate=48000"
        )
        words = FILES[container][codecs].split()
        noise = "noise=alls=4:allf=t"
        if "-vf" in words:
            words[words.index("-vf") + 1] = f"{noise},{words[words.index('-vf') + 1]}"
        else:
            words += ["-vf", noise]
        shape = [] if "-pix_fmt" in words else ["-pix_fmt", "yuv420p"]
        program = [imageio_ffmpeg.get_ffmpeg_exe(), "-loglevel", "error", *inputs.split(), *words, *shape]
        subprocess.run([*program, "-ac", "2", path], check=True)
    return path


def _written(path: Path, seconds: float) -> tuple[float, float, float, str, str]:
    """Processor and clock seconds, kB, and how pictures and sound were written."""
    from features.job import use_one_thread
    from features.playback import write_moment

    use_one_thread()
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder, "moment.mp4")
        clock, processor = time.perf_counter(), time.process_time()
        made = write_moment(path, 30 - seconds / 2, 30 + seconds / 2, out)
        spent = time.process_time() - processor, time.perf_counter() - clock
        return *spent, out.stat().st_size / 1000, made.video, made.audio


if __name__ == "__main__":
    main()
