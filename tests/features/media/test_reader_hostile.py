"""Damaged files and files that are not what they seem: as many pictures as ffmpeg gives, or one sentence."""

import os
import shutil

import numpy as np
import pytest

from features.errors import MediaError
from features.media.clip import DEGRADED, NO_PICTURE, NO_SOUND, FrameNeed, SoundNeed
from features.media.container import Decoder
from features.media.library import Limits
from features.media.probe import probe_file
from features.media.reader import read_clips
from tests.features.ffmpeg_program import FILES, H264

NEED, SOUND = FrameNeed(fps=2, size=32), SoundNeed(rate=16000)
FAST = "-c:v libx264 -preset ultrafast -x264-params log-level=0"


def read(path, limits=Limits()):  # noqa: B008
    return list(read_clips(path, "v", (NEED, SOUND), limits=limits))


@pytest.fixture(scope="module")
def movie(tmp_path_factory, ffmpeg):
    return ffmpeg.make(tmp_path_factory.mktemp("movie") / "a.mp4", FAST)


def test_a_suffix_of_another_format(tmp_path, movie, ffmpeg):
    for suffix in ("avi", "mkv", "ts", "wmv"):
        (clip,) = read(shutil.copy(movie, tmp_path / f"a.{suffix}"))
        assert (clip.verdict, len(clip.frames[NEED].times)) == (NO_SOUND, 4)
    for suffix, pixels in (("jpg", "yuvj420p"), ("png", "rgb24")):
        image = ffmpeg.make(tmp_path / f"a.{suffix}", "-frames:v 1", count=1, pixels=pixels)
        (clip,) = read(image.rename(tmp_path / "a.mp4"))
        assert ffmpeg.numbers(clip.frames[NEED].pixels) == [0]
    for suffix in ("jpg", "png", "webp"):
        with pytest.raises(MediaError, match="not a gif, jpg, png or webp image"):
            read(shutil.copy(movie, tmp_path / f"a.{suffix}"))


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.mp4"])
def test_pipes_and_devices_are_not_waited_for(tmp_path, name):
    os.mkfifo(tmp_path / name)
    (tmp_path / f"endless_{name}").symlink_to("/dev/zero")
    for path in (tmp_path / name, tmp_path / f"endless_{name}"):
        with pytest.raises(MediaError, match="not a file"):
            read(path)


NO_VIDEOS = {"pnm": b"P6 60000 60000 255\n" + bytes(1000)}
NO_VIDEOS |= {
    "zeros": bytes(300_000),
}
NO_VIDEOS |= {"y4m": b"YUV4MPEG2 W30000 H30000 F25:1\nFRAME\n" + bytes(1000)}
NO_VIDEOS |= {"garbage": np.random.default_rng(0).bytes(300_000)}


@pytest.mark.parametrize("kind", NO_VIDEOS)
def test_what_is_no_video_says_so(tmp_path, kind):
    path = tmp_path / "a.mp4"
    path.write_bytes(NO_VIDEOS[kind])
    with pytest.raises(MediaError, match=r"not a video|too large|can be decoded"):
        read(path)


def test_sound_alone_moving_images_and_a_clock_that_leaps_by_ten_hours(tmp_path, ffmpeg):
    path = tmp_path / "a.mp4"
    ffmpeg.run("-f", "lavfi", "-i", "sine=duration=3", path)
    (clip,) = read(path)
    assert (clip.verdict, clip.frames, clip.sound[SOUND].shape) == (NO_PICTURE, {}, (48000,))
    assert clip.source.video_codec is None
    with pytest.raises(MediaError, match=r"too long: more than 2.5 s"):
        read(path, Limits(max_seconds=2.5))
    webp = ffmpeg.make(tmp_path / "a.webp", "-c:v libwebp_anim -lossless 1", count=5)
    png = ffmpeg.make(tmp_path / "a.apng", "-c:v apng", count=5, pixels="rgb24").rename(tmp_path / "a.png")
    for path in (webp, png):
        (clip,) = read(path)
        assert (ffmpeg.numbers(clip.frames[NEED].pixels), clip.span.end_s) == ([0], pytest.approx(0.2))
    # A picture makes clips for an hour at most, and only they count for the limit.
    leap = " -fps_mode vfr -vf setpts=if(eq(N\\,24)\\,36000/TB\\,PTS)"
    path = ffmpeg.make(tmp_path / "a.mp4", FAST + leap, count=25)
    clips = list(read_clips(path, "v", (NEED,), clip_seconds=300, limits=Limits(max_seconds=3660)))
    assert [clip.span.start_s for clip in clips] == [*range(0, 3900, 300), 35700.0]


def test_too_long_and_too_large(tmp_path, ffmpeg):
    path = ffmpeg.make(tmp_path / "a.mkv", FAST, rate="1")
    assert len(read(path, Limits(max_seconds=50.5))) == 5
    with pytest.raises(MediaError, match=r"^it is too long: more than 49 s \(--max-seconds\)$"):
        read(path, Limits(max_seconds=49))
    words = r"too large: 160 x 96 pixels, more than 0.015 megapixels \(--max-megapixels\)"
    image = ffmpeg.make(tmp_path / "a.png", "-frames:v 1", count=1, pixels="rgb24")
    for path in (ffmpeg.make(tmp_path / "a.mp4", FAST), image):
        assert read(path, Limits(max_megapixels=0.0154))
        with pytest.raises(MediaError, match=words):
            read(path, Limits(max_megapixels=0.015))
    for settings in ({"max_seconds": 0}, {"max_megapixels": 0}, {"max_seconds": float("nan")}):
        with pytest.raises(ValueError, match=r"max-(seconds|megapixels) must be positive, got"):
            Limits(**settings)


def test_pictures_that_grow_on_the_way(tmp_path, ffmpeg):
    """The header's size is within the limit; the second part's is not, and is not decoded."""
    small, large = (ffmpeg.make(tmp_path / f"{n}.ts", FAST, size=(160 * n, 96 * n)) for n in (1, 2))
    path = tmp_path / "a.ts"
    path.write_bytes(small.read_bytes() + large.read_bytes())
    (clip,) = read(path)
    assert len(clip.frames[NEED].times) == 8
    (clip,) = read(path, Limits(max_megapixels=0.02))
    assert (clip.verdict, clip.span.end_s) == (DEGRADED, 4.0)
    assert "bad packets" in clip.note


ALL, SOUND = FrameNeed(fps=50, size=96), SoundNeed(rate=16000)
NAMES = "faststart.mp4 fragments.mp4 h264.mkv h264.ts h264.flv faststart_hevc.mp4 hevc.mkv hevc.ts vp9.webm"
NAMES += " vp8.webm plain_vp8.webm av1.mkv mpeg4.avi mpeg2.ts mpeg2.mpg theora.ogv"


def damaged(whole: bytes, how: str, rng: np.random.Generator) -> bytes:
    data, size = bytearray(whole), len(whole)
    place, length = int(size * rng.uniform(0.1, 0.8)), max(10, int(size * rng.uniform(0.01, 0.2)))
    if how == "cut short":
        return bytes(data[: int(size * rng.uniform(0.2, 0.95))])
    if how == "start missing":
        return bytes(data[int(size * rng.uniform(0.01, 0.4)) :])
    if how == "garbage":
        data[place : place + length] = rng.bytes(length)
    elif how == "zeros":
        data[place : place + length] = bytes(length)
    elif how == "hole":
        del data[place : place + length]
    else:
        for each in rng.integers(size, size=20):
            data[each] = rng.integers(256)
    return bytes(data)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES.split())
@pytest.mark.parametrize("how", ["cut short", "start missing", "garbage", "zeros", "hole", "single bytes"])
def test_no_fewer_pictures_than_the_ffmpeg_program(tmp_path, ffmpeg, name, how):
    whole = ffmpeg.make(tmp_path / f"whole_{name}", FILES[name][0]).read_bytes()
    for seed in range(3):
        path = tmp_path / name
        path.write_bytes(damaged(whole, how, np.random.default_rng(seed)))
        theirs = ffmpeg.decoded(path)
        try:
            facts = probe_file(path)
        except MediaError:
            assert len(theirs) == 0
            continue
        decoder = Decoder(path, "video", facts.timeline)
        assert len(list(decoder.frames())) >= len(theirs)
        clips = list(read_clips(path, "v", (ALL, SOUND), clip_seconds=5))
        shown = {number for clip in clips if ALL in clip.frames for number in map(bytes, clip.frames[ALL].pixels)}
        assert bool(shown) == bool(theirs)
        if decoder.bad_packets > 2:
            assert any(clip.verdict == DEGRADED for clip in clips)


def test_what_is_spared_is_not_missed_where_it_is_needed(tmp_path, ffmpeg):
    """After the first bad packet every picture is decoded: any of those that are left may be on display."""
    path = ffmpeg.make(tmp_path / "a.ts", H264, count=100)
    data = bytearray(path.read_bytes())
    data[len(data) // 3 : len(data) // 3 + 2000] = np.random.default_rng(0).bytes(2000)
    path.write_bytes(data)
    need = FrameNeed(fps=2, size=96)
    (clip,) = read_clips(path, "v", (need,), clip_seconds=100)
    frames = clip.frames[need]
    pictures = ffmpeg.decoded(path)
    times = np.array([time for time, _ in pictures]) - pictures[0][0]
    expected = ffmpeg.upright(path, *frames.pixels.shape[1:3])
    expected = expected[np.searchsorted(times, frames.times + 1e-4, side="right") - 1]
    assert ffmpeg.numbers(frames.pixels) == ffmpeg.numbers(expected)


def test_a_track_without_a_decoder(tmp_path, ffmpeg):
    path = ffmpeg.make(tmp_path / "a.mkv", H264)
    path.write_bytes(path.read_bytes().replace(b"V_MPEG4/ISO/AVC", b"V_MPEG9/ISO/XYZ"))
    with pytest.raises(MediaError, match="no decoder for the pictures and the sound in it"):
        probe_file(path)
    both = tmp_path / "both.mkv"
    whole = ffmpeg.make(tmp_path / "whole.mkv", H264)
    ffmpeg.run("-i", whole, "-f", "lavfi", "-i", "sine=duration=2", "-c:v", "copy", both)
    both.write_bytes(both.read_bytes().replace(b"V_MPEG4/ISO/AVC", b"V_MPEG9/ISO/XYZ"))
    (clip,) = read_clips(both, "v", (ALL, SOUND))
    assert (set(clip.frames), set(clip.sound)) == (set(), {SOUND})
    assert (clip.verdict, clip.note) == (DEGRADED, "the picture track cannot be decoded")
