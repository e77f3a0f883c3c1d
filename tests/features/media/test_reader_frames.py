"""The default reader against the ffmpeg program: the same pictures, at the times asked for, upright."""

from collections import Counter
from fractions import Fraction

import numpy as np
import pytest

from features.media.clip import OK, FrameNeed, SoundNeed
from features.media.container import Decoder
from features.media.probe import probe_file
from features.media.reader import read_clips
from tests.features.ffmpeg_program import H264, HEVC, JUMPY, VP9

NEED = FrameNeed(fps=17.3, size=96)
SPARSE = FrameNeed(fps=2, size=48)
MPEG2 = "-c:v mpeg2video -q:v 3 -bf 2 -g 12"

FILES = {
    "h264.mp4": (H264, {}),
    "h264.mkv": (H264, {}),
    "h264.ts": (H264, {}),
    "h264.flv": (H264, {}),
    "h264.avi": (H264, {}),  # with pictures out of order, of which avi does not tell the times
    "fragments.mp4": (H264 + " -movflags frag_keyframe+empty_moov", {}),
    "late.mp4": (H264 + " -output_ts_offset 3.3", {}),
    "late.ts": (H264 + " -output_ts_offset 3.3", {}),
    "wrap.ts": (H264 + f" -output_ts_offset {2**33 / 90000 - 1}", {}),  # the clock of 33 bits overflows
    "live.mkv": (H264 + " -live 1", {}),
    "jumpy.mp4": (H264 + JUMPY, {}),
    "jumpy.mkv": (H264 + JUMPY, {}),
    "jumpy.webm": (VP9 + JUMPY, {}),
    "ntsc.mp4": (H264, {"rate": "30000/1001"}),
    "slow.mp4": (H264, {"rate": "3"}),
    "fast.mkv": (H264, {"rate": "120"}),
    "one.mp4": (H264, {"count": 1}),
    "deep.mp4": (H264, {"pixels": "yuv420p10le"}),
    "deep.mkv": (HEVC, {"pixels": "yuv420p10le"}),
    "deep.webm": (VP9 + " -profile:v 2", {"pixels": "yuv420p10le"}),
    "fine.mp4": (H264, {"pixels": "yuv444p"}),
    "grey.mkv": (H264, {"pixels": "gray"}),
    "full_range.mp4": (H264, {"pixels": "yuvj420p"}),
    "odd.mp4": (H264, {"size": (161, 97), "pixels": "yuv444p"}),
    "odd.webm": (VP9, {"size": (161, 97)}),
    "wide_pixels.mp4": (H264 + " -vf setsar=4/3", {}),
    "high_pixels.mp4": (H264 + " -vf setsar=8/9", {}),
    "interlaced.mp4": (H264 + ":tff=1 -flags +ildct+ilme", {}),
    "interlaced.ts": (MPEG2 + " -flags +ildct+ilme -vf setfield=tff", {}),
    "hevc.mp4": (HEVC, {}),
    "hevc.mkv": (HEVC, {}),
    "hevc.ts": (HEVC, {}),
    "vp8.webm": ("-c:v libvpx -b:v 200k -g 20 -auto-alt-ref 1 -lag-in-frames 16", {}),
    "vp9.webm": (VP9, {}),
    "av1.mp4": ("-c:v libaom-av1 -cpu-used 8 -g 20 -crf 30", {"count": 20}),
    "av1.mkv": ("-c:v libsvtav1 -preset 10 -g 20 -svtav1-params lp=1", {}),
    "mpeg4.avi": ("-c:v mpeg4 -q:v 3 -bf 2", {}),
    "mpeg4.mp4": ("-c:v mpeg4 -q:v 3 -bf 2", {}),
    "mpeg2.ts": (MPEG2, {}),
    "mjpeg.avi": ("-c:v mjpeg -q:v 3", {"pixels": "yuvj420p"}),
    "prores.mov": ("-c:v prores_ks", {"pixels": "yuv422p10le"}),
    "theora.ogv": ("-c:v libtheora -q:v 6", {}),
    "wmv2.wmv": ("-c:v wmv2 -q:v 3", {}),
    "h263.3gp": ("-c:v h263 -q:v 3", {"size": (176, 144)}),
}
QUICK = {
    "h264.mp4",
    "h264.ts",
    "h264.avi",
    "jumpy.mp4",
    "deep.mp4",
    "hevc.mkv",
    "vp9.webm",
    "av1.mkv",
    "mpeg4.avi",
}


def read(path, *needs):
    (clip,) = read_clips(path, "v", needs or (NEED,), clip_seconds=100)
    return clip


def check(ffmpeg, path):
    """Every decoded picture and its time, and what is returned for the times asked for, densely and sparsely."""
    pictures = ffmpeg.decoded(path)
    facts = probe_file(path)
    ours = [(time, ffmpeg.digest(frame)) for time, frame in Decoder(path, "video", facts.timeline).frames()]
    assert [shown for _, shown in ours] == [shown for _, shown in pictures]
    known = [(mine, theirs) for (mine, _), (theirs, _) in zip(ours, pictures) if mine is not None]
    np.testing.assert_allclose(*zip(*known), atol=1e-3)
    times = np.array([time for time, _ in pictures]) - pictures[0][0]
    for need in (NEED, SPARSE):
        frames = read(path, need).frames[need]
        until = times[-1] + 1e-3
        assert frames.times[-1] > until - 1 / need.fps  # to the end
        on_display = np.searchsorted(times, frames.times + 1e-4, side="right") - 1
        expected = ffmpeg.upright(path, *frames.pixels.shape[1:3])[on_display]
        apart = np.abs(frames.pixels.astype(int) - expected).mean(axis=(1, 2, 3))
        assert apart.max() < 0.5, (need.fps, np.flatnonzero(apart >= 0.5), ffmpeg.numbers(frames.pixels))


@pytest.mark.parametrize("name", [pytest.param(n, marks=() if n in QUICK else pytest.mark.slow) for n in FILES])
def test_every_format(tmp_path, ffmpeg, name):
    how, settings = FILES[name]
    check(ffmpeg, ffmpeg.make(tmp_path / name, how, **settings))


@pytest.mark.parametrize("codec", [H264, HEVC])
@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
def test_cut_between_key_pictures(tmp_path, ffmpeg, codec, suffix):
    """In mp4 by an edit list; elsewhere with pictures at the start that lack the ones they are built on."""
    whole = ffmpeg.make(tmp_path / "whole.mp4", codec)
    path = ffmpeg.copy(whole, tmp_path / f"a.{suffix}", "-ss 0.7", "-t 1.1")
    check(ffmpeg, path)
    if suffix == "mp4":
        assert ffmpeg.numbers(read(path).frames[NEED].pixels[:1])[0] in (17, 18)


@pytest.mark.parametrize(
    ("suffix", "turn"),
    [
        ("mkv", "-display_rotation 90"),
        ("mp4", "-display_rotation 90"),
        ("mp4", "-display_rotation 180"),
        ("mp4", "-display_rotation 270"),
        ("mp4", "-display_hflip"),
        ("mp4", "-display_vflip"),
        ("mp4", "-display_rotation 90 -display_hflip"),
        ("mp4", "-display_rotation 270 -display_hflip"),
    ],
)
def test_turned_and_mirrored(tmp_path, ffmpeg, turn, suffix):
    path = ffmpeg.make(tmp_path / "whole.mp4", H264 + " -vf setsar=4/3", count=10)
    check(ffmpeg, ffmpeg.copy(path, tmp_path / f"a.{suffix}", turn))


def test_colours(tmp_path, ffmpeg):
    path = tmp_path / "a.mp4"
    ffmpeg.run("-f", "lavfi", "-i", "testsrc2=size=320x180:rate=10:duration=1", *H264.split(), path)
    check(ffmpeg, path)


def test_pictures_that_start_after_the_sound(tmp_path, ffmpeg):
    pictures = ffmpeg.make(tmp_path / "whole.mp4", H264)
    tone = ["-f", "lavfi", "-i", "sine=duration=4"]
    path = tmp_path / "a.mp4"
    ffmpeg.run("-itsoffset", "1.5", "-i", pictures, *tone, "-map", "0:v", "-map", "1:a", "-c:v", "copy", path)
    check(ffmpeg, path)


def test_a_cover_is_no_picture(tmp_path, ffmpeg):
    movie = ffmpeg.make(tmp_path / "whole.mp4", H264)
    cover = ffmpeg.make(tmp_path / "cover.png", "-frames:v 1", count=1, size=(640, 480), pixels="rgb24")
    path = tmp_path / "a.mp4"
    ffmpeg.run(
        "-i", cover, "-i", movie, "-map", "0", "-map", "1", "-c", "copy", "-disposition:v:0", "attached_pic", path
    )
    assert ffmpeg.numbers(read(path).frames[NEED].pixels)[:4] == [0, 1, 2, 4]


def test_without_any_time_stamps(tmp_path, ffmpeg):
    path = ffmpeg.make(tmp_path / "a.h264", H264).rename(tmp_path / "a.mp4")
    clip = read(path)
    assert clip.span.end_s == pytest.approx(2.0)
    assert ffmpeg.numbers(clip.frames[NEED].pixels) == [int(25 * time + 1e-3) for time in clip.frames[NEED].times]


@pytest.mark.parametrize(("suffix", "codec"), [("ts", H264), ("mpg", MPEG2)])
def test_recordings_joined_end_to_end(tmp_path, ffmpeg, suffix, codec):
    """Each starts its clock anew; they are shown one after the other, and their sound with them."""
    tone = "-f lavfi -i sine=frequency=440:duration=2 -c:a mp2 -shortest"
    made = [ffmpeg.make(tmp_path / f"{n}.mp4", codec, count=50) for n in range(2)]
    parts = []
    for number, picture in enumerate(made):
        part = tmp_path / f"{number}.{suffix}"
        words = ["-output_ts_offset", str(7 * number % 5)]
        ffmpeg.run("-i", picture, *tone.split(), "-c:v", "copy", *words, part)
        parts.append(part.read_bytes())
    path = tmp_path / f"a.{suffix}"
    path.write_bytes(parts[1] + parts[0] + parts[1])
    sound = SoundNeed(rate=16000)
    clip = read(path, NEED, sound)
    assert clip.span.end_s == pytest.approx(6.0, abs=0.3)
    shown = ffmpeg.numbers(clip.frames[NEED].pixels)
    assert Counter(np.diff(shown) < 0)[True] == 2  # 0 to 49, three times
    wanted = [number % 50 for number in (25 * clip.frames[NEED].times + 1e-3).astype(int)]
    assert np.median(np.abs(np.array(shown) - wanted)) <= 4
    wave = clip.sound[sound]
    loud = [np.abs(wave[start : start + 1600]).max() > 0.05 for start in range(0, 16000 * 55 // 10, 1600)]
    assert all(loud)


def test_needless_frames_are_spared_and_change_nothing(tmp_path, ffmpeg, monkeypatch):
    path = ffmpeg.make(tmp_path / "a.mp4", H264, count=100)
    sparse = read(path, SPARSE).frames[SPARSE]
    count = {True: 0, False: 0}
    whole = Decoder.frames

    def counted(self, needless=None):
        for frame in whole(self, needless):
            count[needless is None] += 1
            yield frame

    monkeypatch.setattr(Decoder, "frames", counted)
    read(path, SPARSE)
    monkeypatch.setattr(Decoder, "frames", lambda self, needless=None: counted(self))
    np.testing.assert_array_equal(read(path, SPARSE).frames[SPARSE].pixels, sparse.pixels)
    assert count[False] < 0.8 * count[True]
    assert count[True] == 100


def test_what_the_store_records_of_the_file(tmp_path, ffmpeg):
    turned = ffmpeg.copy(
        ffmpeg.make(tmp_path / "whole.mp4", H264 + " -vf setsar=4/3"), tmp_path / "a.mp4", "-display_rotation 90"
    )
    path = tmp_path / "b.mkv"
    tone = "-f lavfi -i sine=duration=2:sample_rate=44100 -map 0:v -map 1:a -c:v copy -c:a libvorbis"
    ffmpeg.run("-i", turned, *tone.split(), path)
    clip = read(path)
    source = clip.source
    assert (source.width, source.height) == (96, round(160 * 4 / 3))
    assert (source.video_codec, source.audio_codec, source.audio_rate) == ("h264", "vorbis", 44100)
    assert source.fps == pytest.approx(25)
    assert source.file_seconds == pytest.approx(2.0, abs=0.05)
    assert clip.verdict == OK
    assert Fraction(source.fps).limit_denominator(10) == 25
