"""Still images as clips."""

import struct
import zlib

import cv2
import numpy as np
import pytest

from features.errors import MediaError
from features.media.clip import OK, FrameNeed, SoundNeed
from features.media.image_reader import read_image
from features.media.library import Limits
from features.media.reader import read_clips

NEED = FrameNeed(fps=1, size=32)


def save(path, image):
    assert cv2.imwrite(str(path), image)
    return path


def pixels(path):
    return read_image(path, "x/" + path.name, [NEED]).frames[NEED].pixels[0]


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp"])
def test_one_clip_with_one_frame_whose_size_is_read_before_its_pixels(tmp_path, media, suffix):
    path = save(tmp_path / f"a.{suffix.upper()}", media.quadrants((570, 310))[..., ::-1])
    with pytest.raises(MediaError, match="570 x 310 pixels"):
        read_image(path, "a", [NEED], Limits(max_megapixels=0.1))
    windows, twice = FrameNeed(fps=10, size=32, window=8), FrameNeed(fps=5, size=16)
    needs = [NEED, windows, SoundNeed(rate=16000), twice]
    (clip,) = read_clips(path, "x/a", needs, clip_seconds=1, reader="decord")
    assert (clip.span.clip_id, clip.span.start_s, clip.span.end_s) == ("x/a", 0.0, 0.0)
    assert (clip.reader, clip.verdict, clip.sound) == ("image", OK, {})
    assert set(clip.frames) == {NEED, twice}
    facts = clip.source.width, clip.source.height, clip.source.video_codec
    assert facts == (570, 310, {"jpg": "jpeg"}.get(suffix, suffix))
    frame = clip.frames[NEED].pixels
    assert frame.shape == (1, 32, 59, 3)
    assert clip.frames[NEED].times.tolist() == [0.0]
    assert np.abs(frame[0, 4, 4].astype(int) - (255, 0, 0)).max() < 12  # red, so RGB


def with_orientation(jpeg: bytes, orientation: int) -> bytes:
    tiff = b"II*\0" + struct.pack("<IHHHIII", 8, 1, 0x0112, 3, 1, orientation, 0)
    body = b"Exif\0\0" + tiff
    return jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(body) + 2) + body + jpeg[2:]


def test_nothing_but_an_image_is_read_and_orientation_and_alpha_apply(tmp_path, media):
    (tmp_path / "empty.jpg").write_bytes(b"")
    (tmp_path / "text.jpg").write_text("hello")
    png = save(tmp_path / "cut.png", np.zeros((31, 57, 3), np.uint8))
    giant = bytearray(png.read_bytes())
    giant[16:24] = struct.pack(">II", 50_000, 50_000)
    giant[29:33] = struct.pack(">I", zlib.crc32(giant[12:29]))
    (tmp_path / "giant.png").write_bytes(giant)
    png.write_bytes(png.read_bytes()[:20])
    for name, words in {
        "empty.jpg": "the file is empty \\(0 bytes\\)",
        "text.jpg": "not a jpg, png or webp",
        "cut.png": "cut short or damaged",
        "giant.png": "too large: 50000 x 50000 pixels, more than 100 megapixels",
        "missing.png": "no such file",
    }.items():
        with pytest.raises(MediaError, match=words):
            pixels(tmp_path / name)
    jpeg = save(tmp_path / "a.jpg", media.quadrants()[..., ::-1])
    jpeg.write_bytes(with_orientation(jpeg.read_bytes(), 6))  # to be turned 90 degrees clockwise
    frame = pixels(jpeg)
    assert frame.shape == (48, 32, 3)
    assert np.abs(frame[4, -4].astype(int) - (255, 0, 0)).max() < 12
    image = np.zeros((40, 40, 4), np.uint8)
    image[:, 20:] = (0, 0, 255, 255)
    frame = pixels(save(tmp_path / "a.png", image))
    assert (frame[16, 4].tolist(), frame[16, 28].tolist()) == ([255, 255, 255], [255, 0, 0])
    assert pixels(save(tmp_path / "a.png", np.full((40, 60), 90, np.uint8)))[3, 3].tolist() == [90, 90, 90]
    deep = pixels(save(tmp_path / "b.png", np.full((40, 60, 3), 90 * 257, np.uint16)))
    assert np.abs(deep.astype(int) - 90).max() <= 1
