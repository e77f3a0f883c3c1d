"""The ffmpeg program as the reference: it writes files of every kind, and tells what they show and sound like.

Frame n shows n in binary, eight columns of light or dark in its upper third, over a texture that moves.
"""

import hashlib
import subprocess
from fractions import Fraction
from pathlib import Path

import imageio_ffmpeg
import numpy as np

H264 = "-c:v libx264 -preset medium -x264-params keyint=12:bframes=3:open-gop=1:log-level=0"
HEVC = "-c:v libx265 -preset fast -x265-params log-level=none:keyint=12:min-keyint=12:bframes=4:open-gop=1"
VP9 = "-c:v libvpx-vp9 -b:v 200k -g 20 -auto-alt-ref 1 -lag-in-frames 16"
JUMPY = " -fps_mode vfr -vf setpts=(N+0.4*mod(N\\,3)+3*floor(N/10))/25/TB"
MPEG2 = "-c:v mpeg2video -q:v 3 -bf 2 -g 12"
# name -> the program's words, and settings of `make`; avi has no times of pictures that are out of order
FILES = dict.fromkeys(("h264.mp4", "h264.mkv", "h264.ts", "h264.flv", "h264.avi"), (H264, {}))
FILES |= {"fragments.mp4": (H264 + " -movflags frag_keyframe+empty_moov", {})}
FILES |= {"faststart.mp4": (H264 + " -movflags faststart", {})}
FILES |= dict.fromkeys(("late.mp4", "late.ts"), (H264 + " -output_ts_offset 3.3", {}))
FILES |= {"wrap.ts": (H264 + f" -output_ts_offset {2**33 / 90000 - 1}", {})}  # the clock of 33 bits overflows
FILES |= {"live.mkv": (H264 + " -live 1", {}), **dict.fromkeys(("jumpy.mp4", "jumpy.mkv"), (H264 + JUMPY, {}))}
FILES |= {"jumpy.webm": (VP9 + JUMPY, {}), "ntsc.mp4": (H264, {"rate": "30000/1001"})}
FILES |= {"slow.mp4": (H264, {"rate": "3"}), "fast.mkv": (H264, {"rate": "120"}), "one.mp4": (H264, {"count": 1})}
FILES |= {"deep.mp4": (H264, {"pixels": "yuv420p10le"}), "deep.mkv": (HEVC, {"pixels": "yuv420p10le"})}
FILES |= {"deep.webm": (VP9 + " -profile:v 2", {"pixels": "yuv420p10le"})}
FILES |= {"fine.mp4": (H264, {"pixels": "yuv444p"}), "grey.mkv": (H264, {"pixels": "gray"})}
FILES |= {"full_range.mp4": (H264, {"pixels": "yuvj420p"})}
FILES |= {"odd.mp4": (H264, {"size": (161, 97), "pixels": "yuv444p"}), "odd.webm": (VP9, {"size": (161, 97)})}
FILES |= {"wide_pixels.mp4": (H264 + " -vf setsar=4/3", {}), "high_pixels.mp4": (H264 + " -vf setsar=8/9", {})}
FILES |= {"interlaced.mp4": (H264 + ":tff=1 -flags +ildct+ilme", {})}
FILES |= {"interlaced.ts": (MPEG2 + " -flags +ildct+ilme -vf setfield=tff", {})}
FILES |= dict.fromkeys(("hevc.mp4", "hevc.mkv", "hevc.ts"), (HEVC, {}))
FILES |= {"faststart_hevc.mp4": (HEVC + " -movflags faststart", {})}
FILES |= {"vp8.webm": ("-c:v libvpx -b:v 200k -g 20 -auto-alt-ref 1 -lag-in-frames 16", {})}
FILES |= {"plain_vp8.webm": ("-c:v libvpx -b:v 200k -g 20", {}), "vp9.webm": (VP9, {})}
FILES |= {"av1.mp4": ("-c:v libaom-av1 -cpu-used 8 -g 20 -crf 30", {"count": 20})}
FILES |= {"av1.mkv": ("-c:v libsvtav1 -preset 10 -g 20 -svtav1-params lp=1", {})}
FILES |= dict.fromkeys(("mpeg4.avi", "mpeg4.mp4"), ("-c:v mpeg4 -q:v 3 -bf 2", {}))
FILES |= dict.fromkeys(("mpeg2.ts", "mpeg2.mpg"), (MPEG2, {}))
FILES |= {"mjpeg.avi": ("-c:v mjpeg -q:v 3", {"pixels": "yuvj420p"})}
FILES |= {"prores.mov": ("-c:v prores_ks", {"pixels": "yuv422p10le"}), "theora.ogv": ("-c:v libtheora -q:v 6", {})}
FILES |= {"wmv2.wmv": ("-c:v wmv2 -q:v 3", {}), "h263.3gp": ("-c:v h263 -q:v 3", {"size": (176, 144)})}
SIZE = (160, 96)
EXACT = "area+accurate_rnd+full_chroma_int+bitexact"  # the way our reader scales


def run(*words, given: bytes | None = None) -> bytes:
    """What the program writes to stdout."""
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-hide_banner", "-loglevel", "error", "-y", *map(str, words)]
    done = subprocess.run(command, input=given, stdin=None if given else subprocess.DEVNULL, capture_output=True)
    run.said = done.stderr.decode(errors="replace")
    return done.stdout


def there(path: Path) -> Path:
    """The file that was just written; what the program said, where it was not."""
    assert path.exists(), run.said
    assert path.stat().st_size, run.said
    return path


def numbered(count: int, size: tuple[int, int] = SIZE) -> np.ndarray:
    """(N, H, W) grey."""
    width, height = size
    texture = np.random.default_rng(0).integers(60, 200, (height // 8 + 2, width // 8 + 40)).astype(np.uint8)
    texture = np.kron(texture, np.ones((8, 8), np.uint8))
    frames = np.stack([texture[:height, 2 * (n % 100) : 2 * (n % 100) + width] for n in range(count)])
    for number, frame in enumerate(frames):
        for bit in range(8):
            frame[: height // 3, bit * width // 8 : (bit + 1) * width // 8] = 225 if number >> bit & 1 else 30
    return frames


def numbers(pixels: np.ndarray) -> list[int]:
    """(T, H, W, 3) upright -> the number that each frame shows."""
    grey = pixels.astype(float).mean(-1)
    height, width = grey.shape[1:]
    places = [slice(bit * width // 8 + width // 32, (bit + 1) * width // 8 - width // 32) for bit in range(8)]
    shown = [[frame[height // 12 : height // 4, place].mean() > 127 for place in places] for frame in grey]
    return [sum(int(light) << bit for bit, light in enumerate(row)) for row in shown]


def make(path: Path, how: str, count: int = 50, size: tuple[int, int] = SIZE, rate: str = "25", pixels="yuv420p"):
    """Write `count` numbered frames; `how` holds the program's own words."""
    raw = ["-f", "rawvideo", "-pix_fmt", "gray", "-s", f"{size[0]}x{size[1]}", "-r", rate, "-i", "-"]
    run(*raw, "-threads", "1", "-pix_fmt", pixels, *how.split(), path, given=numbered(count, size).tobytes())
    return there(path)


def copy(source: Path, target: Path, before: str = "", after: str = "") -> Path:
    """The same packets in another file; words before and after the input."""
    run(*before.split(), "-i", source, "-c", "copy", *after.split(), target)
    return there(target)


def decoded(path: Path) -> list[tuple[float, str]]:
    """Time in the file's own seconds, and the digest of the planes, of every picture that the program decodes."""
    # one thread: with more, the program's theora decoder now and then gives other pictures
    words = ["-map", "0:v:0", "-fps_mode", "passthrough", "-copyts", "-enc_time_base", "demux", "-c:v", "rawvideo"]
    hashed = run("-threads", "1", "-noautorotate", "-i", path, *words, "-f", "framehash", "-hash", "md5", "-")
    lines = hashed.decode().splitlines()
    base = next((Fraction(line[7:]) for line in lines if line.startswith("#tb 0: ")), None)
    rows = [line.split(",") for line in lines if line and line[0] != "#"]
    return [(float(int(row[2]) * base), row[5].strip()) for row in rows]


def digest(frame) -> str:
    """The same digest, of a frame that PyAV decoded."""
    whole = hashlib.md5()
    for number, plane in enumerate(frame.planes):
        parts = [part for part in frame.format.components if part.plane == number]
        row = plane.width * len(parts) * ((parts[0].bits + 7) // 8)
        stored = np.frombuffer(plane, np.uint8).reshape(plane.height, plane.line_size)
        whole.update(np.ascontiguousarray(stored[:, :row]))
    return whole.hexdigest()


def upright(path: Path, height: int, width: int) -> np.ndarray:
    """(N, H, W, 3) RGB of all pictures, one field of interlaced ones, turned upright and scaled by the program."""
    field = "field=top," if path.stem == "interlaced" else ""
    scaled = f"{field}scale={width}:{height}:flags={EXACT}:in_h_chr_pos=0:in_v_chr_pos=128,format=rgb24"
    words = ["-map", "0:v:0", "-fps_mode", "passthrough", "-vf", scaled, "-f", "rawvideo", "-"]
    return np.frombuffer(run("-threads", "1", "-i", path, *words), np.uint8).reshape(-1, height, width, 3)


def sound(path: Path, rate: int, padded: bool = False) -> np.ndarray:
    """(N,) the first sound track as the program mixes and resamples it, in [-1, 1]; ``padded``: from time 0 on."""
    pad = ["-af", "aresample=async=1:first_pts=0"] if padded else []
    raw = run("-i", path, "-map", "0:a:0", *pad, "-ac", "1", "-ar", rate, "-f", "f32le", "-")
    return np.clip(np.frombuffer(raw, np.float32), -1, 1)
