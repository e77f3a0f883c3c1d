"""HDR against zimg, the reference for colour conversion, on patches; and how it is read and noted."""

import numpy as np
import pytest

from features.media.clip import FrameNeed
from features.media.reader import read_clips

SIDE = 16
PATCHES = np.random.default_rng(0).integers(0, 256, (6, 8, 3)).astype(np.uint8)
PATCHES[0, :4] = [[255] * 3, [0] * 3, [128] * 3, [16] * 3]
KINDS = ["arib-std-b67 bt2020 bt2020nc tv yuv420p10le", "smpte2084 bt2020 bt2020nc tv yuv420p10le"]
KINDS += ["smpte2084 bt2020 bt2020nc pc yuv444p12le", "arib-std-b67 smpte432 bt709 tv yuv422p10le"]
KINDS += ["smpte2084 bt709 bt709 tv yuv420p10le", "arib-std-b67 bt2020 bt2020nc pc yuv420p"]


def patches(pixels):
    side = len(pixels) // len(PATCHES)
    return pixels[side // 2 :: side, side // 2 :: side].astype(int)


def write(ffmpeg, path, kind, light=203):
    """PATCHES, of which white has so many cd/m2."""
    transfer, primaries, matrix, extent, pixels = kind.split()
    image = np.kron(PATCHES, np.ones((SIDE, SIDE, 1), np.uint8))
    raw = f"-f rawvideo -pix_fmt rgb24 -s {image.shape[1]}x{image.shape[0]} -r 1 -i -".split()
    hdr = f"zscale=p={primaries}:t={transfer}:m={matrix}:r={extent}:npl={light},format={pixels}"
    sdr = "format=gbrpf32le,zscale=pin=bt709:tin=iec61966-2-1:rin=pc:"
    tags = f"-color_primaries {primaries} -color_trc {transfer} -colorspace {matrix} -color_range {extent}"
    ffmpeg.run(
        *raw, "-vf", sdr + hdr.removeprefix("zscale="), *tags.split(), "-c:v", "ffv1", path, given=image.tobytes()
    )
    return ffmpeg.there(path)


@pytest.mark.parametrize("kind", KINDS)
def test_colours_are_zimgs(tmp_path, ffmpeg, kind):
    path = write(ffmpeg, tmp_path / "a.mkv", kind)
    back = "zscale=t=linear:npl=203,format=gbrpf32le,zscale=p=bt709,zscale=t=iec61966-2-1:npl=203,format=gbrp"
    theirs = np.frombuffer(ffmpeg.run("-i", path, "-vf", back + ",format=rgb24", "-f", "rawvideo", "-"), np.uint8)
    name = "HLG" if kind.startswith("arib") else "PQ"
    for size in (len(PATCHES) * SIDE, 48):
        need = FrameNeed(fps=1, size=size)
        (clip,) = read_clips(path, "v", (need,), reader="decord")
        assert clip.note.endswith(f"HDR ({name}) brought to SDR")
        apart = np.abs(patches(clip.frames[need].pixels[0]) - patches(theirs.reshape(len(PATCHES) * SIDE, -1, 3)))
        assert apart.max() <= 4


def test_what_is_brighter_than_white_is_white_and_sdr_is_left_alone(tmp_path, ffmpeg):
    need = FrameNeed(fps=1, size=48)
    (clip,) = read_clips(write(ffmpeg, tmp_path / "a.mkv", KINDS[1], light=1000), "v", (need,))
    assert patches(clip.frames[need].pixels[0])[0, :2].tolist() == [[255] * 3, [0] * 3]
    path = write(ffmpeg, tmp_path / "b.mkv", "bt709 bt709 bt709 tv yuv420p10le")
    (clip,) = read_clips(path, "v", (need,))
    assert clip.note == ""


@pytest.mark.parametrize(("tag", "note"), [("dvh1", True), ("hvc1", False)])
def test_dolby_vision_alone_is_said(tmp_path, ffmpeg, says, tag, note):
    path = tmp_path / "a.mp4"
    how = f"-c:v libx265 -x265-params log-level=none -tag:v {tag} -strict unofficial"
    (clip,) = read_clips(ffmpeg.make(path, how, count=5, pixels="yuv420p10le"), "v", (FrameNeed(fps=1, size=48),))
    assert bool(clip.note) is note
    says(clip.note)
