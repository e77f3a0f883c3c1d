"""The default reader against the ffmpeg program: the same pictures and samples, at their times, upright."""

from collections import Counter
from fractions import Fraction

import numpy as np
import pytest

from features.media.clip import OK, FrameNeed, SoundNeed
from features.media.container import Decoder
from features.media.probe import probe_file
from features.media.reader import read_clips
from tests.features.ffmpeg_program import FILES, H264, HEVC, MPEG2

NEED = FrameNeed(fps=17.3, size=96)
SPARSE = FrameNeed(fps=2, size=48)
QUICK = "h264.mp4 h264.ts h264.avi jumpy.mp4 deep.mp4 hevc.mkv vp9.webm av1.mkv mpeg4.avi"


def read(path, *needs):
    (clip,) = read_clips(path, "v", needs or (NEED,), clip_seconds=100)
    return clip


def check(ffmpeg, path):
    """Every decoded picture and its time, and what is returned for the requested times, densely and sparsely."""
    pictures = ffmpeg.decoded(path)
    facts = probe_file(path)
    ours = [(time, ffmpeg.digest(frame)) for time, frame in Decoder(path, "video", facts.timeline).frames()]
    assert [shown for _, shown in ours] == [shown for _, shown in pictures]
    known = [(mine, theirs) for (mine, _), (theirs, _) in zip(ours, pictures) if mine is not None]
    np.testing.assert_allclose(*zip(*known), atol=1e-3)
    times = np.array([time for time, _ in pictures]) - pictures[0][0]
    for need in (NEED, SPARSE):
        frames = read(path, need).frames[need]
        assert frames.times[-1] > times[-1] + 1e-3 - 1 / need.fps  # to the end
        on_display = np.searchsorted(times, frames.times + 1e-4, side="right") - 1
        expected = ffmpeg.upright(path, *frames.pixels.shape[1:3])[on_display]
        apart = np.abs(frames.pixels.astype(int) - expected).mean(axis=(1, 2, 3))
        assert apart.max() < 0.5, (need.fps, np.flatnonzero(apart >= 0.5), ffmpeg.numbers(frames.pixels))


@pytest.mark.parametrize(
    "name",  # mpg has no times of its last pictures, and the program guesses others
    [pytest.param(n, marks=() if n in QUICK.split() else pytest.mark.slow) for n in FILES if n != "mpeg2.mpg"],
)
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


TURNS = ["rotation 90", "rotation 180", "rotation 270", "hflip", "vflip", "rotation 90 -display_hflip"]


@pytest.mark.parametrize("turn", [*TURNS, "rotation 270 -display_hflip"])
def test_turned_and_mirrored(tmp_path, ffmpeg, turn):
    path = ffmpeg.make(tmp_path / "whole.mp4", H264 + " -vf setsar=4/3", count=10)
    for suffix in ("mp4", "mkv")[: 1 + (turn == "rotation 90")]:
        check(ffmpeg, ffmpeg.copy(path, tmp_path / f"a.{suffix}", f"-display_{turn}"))


def test_colours_late_pictures_covers_and_frames_without_time_stamps(tmp_path, ffmpeg):
    path = tmp_path / "a.mp4"
    ffmpeg.run("-f", "lavfi", "-i", "testsrc2=size=320x180:rate=10:duration=1", *H264.split(), path)
    check(ffmpeg, path)
    pictures = ffmpeg.make(tmp_path / "whole.mp4", H264)
    tone = ["-f", "lavfi", "-i", "sine=duration=4"]
    ffmpeg.run("-itsoffset", "1.5", "-i", pictures, *tone, "-map", "0:v", "-map", "1:a", "-c:v", "copy", path)
    check(ffmpeg, path)
    movie = ffmpeg.make(tmp_path / "whole.mp4", H264)
    cover = ffmpeg.make(tmp_path / "cover.png", "-frames:v 1", count=1, size=(640, 480), pixels="rgb24")
    path, words = tmp_path / "a.mp4", "-map 0 -map 1 -c copy -disposition:v:0 attached_pic"
    ffmpeg.run("-i", cover, "-i", movie, *words.split(), path)
    assert ffmpeg.numbers(read(path).frames[NEED].pixels)[:4] == [0, 1, 2, 4]
    path = ffmpeg.make(tmp_path / "a.h264", H264).rename(tmp_path / "a.mp4")
    clip = read(path)
    assert clip.span.end_s == pytest.approx(2.0)
    assert ffmpeg.numbers(clip.frames[NEED].pixels) == [int(25 * time + 1e-3) for time in clip.frames[NEED].times]


@pytest.mark.parametrize(("suffix", "codec"), [("ts", H264), ("mpg", MPEG2)])
def test_recordings_joined_end_to_end(tmp_path, ffmpeg, suffix, codec):
    """Each starts its clock anew; they are shown one after the other, and their sound with them."""
    tone = "-f lavfi -i sine=frequency=440:duration=2 -c:a mp2 -shortest"
    picture, parts = ffmpeg.make(tmp_path / "a.mp4", codec, count=50), []
    for number in range(2):
        part = tmp_path / f"{number}.{suffix}"
        ffmpeg.run("-i", picture, *tone.split(), "-c:v", "copy", "-output_ts_offset", 7 * number % 5, part)
        parts.append(part.read_bytes())
    path, sound = tmp_path / f"a.{suffix}", SoundNeed(rate=16000)
    path.write_bytes(parts[1] + parts[0] + parts[1])
    clip = read(path, NEED, sound)
    assert clip.span.end_s == pytest.approx(6.0, abs=0.3)
    shown = ffmpeg.numbers(clip.frames[NEED].pixels)
    assert Counter(np.diff(shown) < 0)[True] == 2  # 0 to 49, three times
    wanted = [number % 50 for number in (25 * clip.frames[NEED].times + 1e-3).astype(int)]
    assert np.median(np.abs(np.array(shown) - wanted)) <= 4
    pieces = clip.sound[sound][: 16000 * 55 // 10].reshape(-1, 1600)
    assert (np.abs(pieces).max(1) > 0.05).all()


def test_what_the_store_records_of_the_file_and_that_needless_frames_are_spared(tmp_path, ffmpeg, monkeypatch):
    whole, path = ffmpeg.make(tmp_path / "whole.mp4", H264 + " -vf setsar=4/3"), tmp_path / "b.mkv"
    turned = ffmpeg.copy(whole, tmp_path / "a.mp4", "-display_rotation 90")
    tone = "-f lavfi -i sine=duration=2:sample_rate=44100 -map 0:v -map 1:a -c:v copy -c:a libvorbis"
    ffmpeg.run("-i", turned, *tone.split(), path)
    clip = read(path)
    source = clip.source
    assert (source.width, source.height, clip.verdict) == (96, round(160 * 4 / 3), OK)
    assert (source.video_codec, source.audio_codec, source.audio_rate) == ("h264", "vorbis", 44100)
    assert source.fps == pytest.approx(25)
    assert source.file_seconds == pytest.approx(2.0, abs=0.05)
    assert Fraction(source.fps).limit_denominator(10) == 25
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


FAST = "-c:v libx264 -preset ultrafast -x264-params log-level=0"
END_S = 0.01  # where a file ends inside a packet, the last samples depend on what follows
LAYOUTS = {1: "mono", 2: "stereo", 6: "5.1"}
SOUNDS = "m4a aac 44100, mp4 aac 48000, mkv aac 44100, ts aac 48000, ogg libopus 48000"
SOUNDS += ", mp4 libopus 48000, webm libopus 48000, mp3 libmp3lame 44100, mkv libmp3lame 48000"
SOUNDS += ", ogg libvorbis 44100, webm libvorbis 48000, flac flac 44100, mkv flac 48000, wav pcm_s16le 44100"


def waves(channels: int, rate: int, seconds: float = 3.3) -> bytes:
    """Chirps in noise, another one in every channel, soft enough for no sum of them to be cut off."""
    time = np.arange(int(rate * seconds)) / rate
    noise = np.random.default_rng(0).standard_normal((len(time), channels))
    sines = np.sin(2 * np.pi * np.outer(time * (1 + 0.3 * time), 200 + 170 * np.arange(channels)))
    return (0.1 * sines + 0.02 * noise).astype(np.float32).tobytes()


def write_sound(ffmpeg, path, channels, rate, codec, before=(), after=()):
    raw = ["-f", "f32le", "-ar", rate, "-ac", channels, "-channel_layout", LAYOUTS[channels], "-i", "-"]
    ffmpeg.run(*before, *raw, *after, "-c:a", *codec.split(), path, given=waves(channels, rate))
    return ffmpeg.there(path)


def read_sound(path, rate, seconds=100.0):
    need = SoundNeed(rate=rate)
    clips = read_clips(path, "v", (need, FrameNeed(fps=1, size=16)), clip_seconds=seconds)
    return np.concatenate([clip.sound[need] for clip in clips])


def check_sound(ours, theirs, rate):
    length = min(len(ours), len(theirs))
    assert abs(len(ours) - len(theirs)) < 0.05 * rate
    whole = length - round(END_S * rate)
    np.testing.assert_allclose(ours[:whole], theirs[:whole], atol=1e-4)


@pytest.mark.parametrize("channels", [2, *(pytest.param(n, marks=pytest.mark.slow) for n in (1, 6))])
@pytest.mark.parametrize("kind", SOUNDS.split(", "))
def test_every_codec(tmp_path, ffmpeg, kind, channels):
    suffix, codec, rate = kind.split()
    if codec == "libmp3lame" and channels == 6:
        channels = 2  # all that mp3 has
    path = write_sound(ffmpeg, tmp_path / f"a.{suffix}", channels, int(rate), codec)
    for wanted in (16000, 48000):
        check_sound(read_sound(path, wanted), ffmpeg.sound(path, wanted), wanted)
    if codec == "libvorbis":  # clips are pieces of the whole
        check_sound(read_sound(path, 16000, seconds=0.7), ffmpeg.sound(path, 16000), 16000)


@pytest.mark.parametrize("rate", [16000, 48000])
@pytest.mark.parametrize(
    ("suffix", "codec", "stored"),
    [("mp4", "aac", 48000), ("mp4", "aac", 44100), ("mkv", "flac", 48000), ("mkv", "pcm_u8", 44100)],
)
def test_a_late_track_is_padded_not_shifted(tmp_path, ffmpeg, suffix, codec, stored, rate):
    pictures = ffmpeg.make(tmp_path / f"pictures.{suffix}", FAST, count=125)
    tone = write_sound(ffmpeg, tmp_path / f"sound.{suffix}", 2, stored, codec)
    path = tmp_path / f"a.{suffix}"
    ffmpeg.run("-i", pictures, "-itsoffset", "1.25", "-i", tone, "-map", "0:v", "-map", "1:a", "-c", "copy", path)
    ours, theirs = read_sound(path, rate), ffmpeg.sound(path, rate, padded=True)
    assert np.abs(ours[: round(1.2 * rate)]).max() == 0  # an encoder's own silence may precede 1.25
    assert np.abs(ours[round(1.2 * rate) : round(1.3 * rate)]).max() > 0.05
    start = int(np.flatnonzero(ours)[0])
    theirs[start - 100 : start] = 0  # where a filter rings ahead of the first sound
    check_sound(ours[: len(theirs)], theirs, rate)


def test_a_gap_stays_a_gap(tmp_path, ffmpeg):
    """As the program fills it when told to keep to the time stamps."""
    path = tmp_path / "a.mkv"
    gap = "aselect='lt(t,1)+gt(t,2)'"
    write_sound(ffmpeg, path, 1, 48000, "pcm_f32le", after=["-af", gap])
    ours = read_sound(path, 48000)
    source = np.frombuffer(waves(1, 48000), np.float32)
    assert np.abs(ours[round(1.03 * 48000) : round(1.97 * 48000)]).max() == 0
    late = slice(round(2.1 * 48000), round(3.2 * 48000))
    lags = range(-60, 61)
    apart = [np.abs(ours[late] - source[late.start + lag : late.stop + lag]).max() for lag in lags]
    assert min(apart) < 1e-4
    assert abs(lags[int(np.argmin(apart))]) <= 48  # one millisecond, matroska's clock
