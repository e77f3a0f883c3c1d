"""Damaged files of every kind: at least as many pictures as the ffmpeg program saves, or one sentence."""

import numpy as np
import pytest

from features.errors import MediaError
from features.media.clip import DEGRADED, FrameNeed, SoundNeed
from features.media.container import Decoder
from features.media.probe import probe_file
from features.media.reader import read_clips
from tests.features.ffmpeg_program import FILES, H264

ALL, SOUND = FrameNeed(fps=50, size=96), SoundNeed(rate=16000)
NAMES = (
    "faststart.mp4 fragments.mp4 h264.mkv h264.ts h264.flv faststart_hevc.mp4 hevc.mkv hevc.ts vp9.webm vp8.webm"
)
NAMES += " av1.mkv mpeg4.avi mpeg2.ts mpeg2.mpg theora.ogv"


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


def test_a_track_that_nobody_can_decode(tmp_path, ffmpeg):
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
