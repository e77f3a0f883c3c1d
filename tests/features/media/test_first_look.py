"""One frame a clip: of the right moment, in the usual shape, and of the same clips as all readers give."""

from fractions import Fraction

import cv2
import numpy as np
import pytest
from PIL import Image

from features.errors import MediaError
from features.media import key_frames
from features.media.clip import FIRST_LOOK, FrameNeed, SoundNeed
from features.media.reader import load_reader, read_clips

NEED, WINDOW = FrameNeed(fps=50, size=24), FrameNeed(fps=4, size=48, window=4)
GROUPS = {"g": "20", "bf": "2", "sc_threshold": "0"}  # a key frame every two seconds
KINDS = [("mp4", "libx264"), ("mkv", "libx264"), ("mov", "mpeg4"), ("ts", "libx264"), ("avi", "mpeg4")]
KINDS += [("webm", "libvpx-vp9"), ("flv", "libx264")]


def read(path, reader=FIRST_LOOK, needs=(NEED, WINDOW), seconds=2.5):
    return list(read_clips(path, "v", needs, clip_seconds=seconds, reader=reader))


def compared(path, near_s, **how):
    """Clips by both readers: the same, but that the first look has one of the pictures, so near to the middle."""
    looks, usual = read(path, **how), read(path, "pyav", **how)
    for look, full in zip(looks, usual, strict=True):
        assert (look.span, look.verdict, look.note) == (full.span, full.verdict, full.note)
        assert look.source == full.source
        assert look.frames.keys() == full.frames.keys()
        for need, frames in look.frames.items():
            assert frames.pixels.shape == (1, *full.frames[need].pixels.shape[1:])
            assert look.span.start_s <= frames.times[0] <= look.span.end_s
        if NEED in full.frames:
            pixels, times = full.frames[NEED].pixels.astype(int), full.frames[NEED].times
            same = np.abs(pixels - look.frames[NEED].pixels[0]).max((1, 2, 3)) == 0
            middle = (look.span.start_s + min(look.span.end_s, times[-1] + 0.1)) / 2
            assert np.abs(times[same] - middle).min() <= near_s
    return looks


@pytest.fixture
def ramp(tmp_path, media):
    """ramp("mp4", "libx264"): ten seconds that grow brighter by 2 every tenth of a second."""

    def make(ending, codec, options=GROUPS):
        frames = [np.full((48, 64, 3), 20 + 2 * n, np.uint8) for n in range(100)]
        for n, frame in enumerate(frames):
            frame[: n % 48] //= 2
        rate = 24 if codec == "mpeg2video" else 10
        times = [Fraction(n * (rate // 10), rate) for n in range(100)]
        look = {"clock": Fraction(1, rate) if codec == "mpeg2video" else None, "options": options}
        kind = {"mpg": "mpeg"}.get(ending, ending)
        return media.write(tmp_path / f"a.{ending}", frames, times, codec=codec, kind=kind, **look)

    return make


@pytest.mark.parametrize(("ending", "codec"), KINDS)
def test_it_is_a_key_frame_near_the_middle(ramp, monkeypatch, ending, codec):
    path = ramp(ending, codec)
    with monkeypatch.context() as patch:
        patch.setattr(key_frames, "PyavPictures", None)
        assert len(read(path)) == 4
    assert len(compared(path, 1.3)) == 4


SPARSE = [("mp4", "libx264", 11), ("ts", "libx264", 11), ("webm", "libvpx", 11), ("mpg", "mpeg2video", 9)]


@pytest.mark.parametrize(("ending", "codec", "clips"), SPARSE)
def test_without_key_frames_it_is_what_is_on_display_in_the_middle(ramp, ending, codec, clips):
    assert len(compared(ramp(ending, codec, {"g": "300"}), 0.46, seconds=0.9)) == clips


@pytest.mark.parametrize("seekable", [True, False])
def test_what_cannot_be_sought_or_has_no_times_is_read_forward(ramp, ffmpeg, tmp_path, monkeypatch, seekable):
    path = ffmpeg.copy(ramp("mp4", "libx264"), tmp_path / "a.h264", "-bsf:v h264_mp4toannexb")
    if seekable:
        path = ramp("mkv", "libx264")
        monkeypatch.setattr(key_frames._KeyFrames, "_before", lambda *_: None)
    assert len(compared(path, 0.3)) >= 2


def test_pictures_are_turned_and_stretched_as_usual_and_sound_stays(tmp_path, media):
    path = tmp_path / "a.mp4"
    media.write(path, [media.quadrants()] * 20, rotation=90, aspect=2, sounds=[(0.0, media.tone(2))])
    (look,) = compared(path, 1.0, needs=(NEED, SoundNeed(rate=16000)))
    assert look.sound[SoundNeed(rate=16000)].shape == (32000,)
    assert look.reader == "pyav"


def test_images_animations_and_sound_only(tmp_path, media):
    cv2.imwrite(str(tmp_path / "a.png"), media.quadrants())
    parts = [Image.fromarray(media.plain(n)) for n in range(9)]
    parts[0].save(tmp_path / "a.gif", save_all=True, append_images=parts[1:], duration=500)
    (image,) = read(tmp_path / "a.png")
    (same,) = read(tmp_path / "a.png", "pyav")
    np.testing.assert_array_equal(image.frames[NEED].pixels, same.frames[NEED].pixels)
    clips = compared(tmp_path / "a.gif", 0.3)
    assert [media.number_of(clip.frames[NEED].pixels) for clip in clips] == [[2], [7]]
    (clip,) = compared(media.write(tmp_path / "a.mp4", sounds=[(0.0, media.tone(1))]), 0)
    assert (clip.frames, clip.verdict) == ({}, "no picture")


def test_files_that_cannot_be_read_fail_as_usual(tmp_path, media):
    (tmp_path / "a.mp4").write_text("no video")
    for reader in (FIRST_LOOK, "pyav"):
        with pytest.raises(MediaError, match="not a video"):
            read(tmp_path / "a.mp4", reader)
    assert load_reader(FIRST_LOOK) is key_frames.FirstLook
