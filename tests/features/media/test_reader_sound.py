"""Sound against the ffmpeg program: the same samples, at the same places."""

import numpy as np
import pytest

from features.media.clip import FrameNeed, SoundNeed
from features.media.reader import read_clips

H264 = "-c:v libx264 -preset ultrafast -x264-params log-level=0"
END_S = 0.01  # where a file ends inside a packet, the last samples depend on what follows
LAYOUTS = {1: "mono", 2: "stereo", 6: "5.1"}
KINDS = """m4a aac 44100
mp4 aac 48000
mkv aac 44100
ts aac 48000
ogg libopus 48000
mp4 libopus 48000
webm libopus 48000
mp3 libmp3lame 44100
mkv libmp3lame 48000
ogg libvorbis 44100
webm libvorbis 48000
flac flac 44100
mkv flac 48000
wav pcm_s16le 44100"""


def waves(channels: int, rate: int, seconds: float = 3.3) -> bytes:
    """Chirps in noise, another one in every channel, soft enough for no sum of them to be cut off."""
    time = np.arange(int(rate * seconds)) / rate
    noise = np.random.default_rng(0).standard_normal((len(time), channels))
    sines = np.sin(2 * np.pi * np.outer(time * (1 + 0.3 * time), 200 + 170 * np.arange(channels)))
    return (0.1 * sines + 0.02 * noise).astype(np.float32).tobytes()


def write(ffmpeg, path, channels, rate, codec, before=(), after=()):
    raw = ["-f", "f32le", "-ar", rate, "-ac", channels, "-channel_layout", LAYOUTS[channels], "-i", "-"]
    ffmpeg.run(*before, *raw, *after, "-c:a", *codec.split(), path, given=waves(channels, rate))
    return ffmpeg.there(path)


def heard(path, rate, seconds=100.0):
    need = SoundNeed(rate=rate)
    clips = read_clips(path, "v", (need, FrameNeed(fps=1, size=16)), clip_seconds=seconds)
    return np.concatenate([clip.sound[need] for clip in clips])


def check(ours, theirs, rate):
    length = min(len(ours), len(theirs))
    assert abs(len(ours) - len(theirs)) < 0.05 * rate
    whole = length - round(END_S * rate)
    np.testing.assert_allclose(ours[:whole], theirs[:whole], atol=1e-4)


@pytest.mark.parametrize("channels", [2, *(pytest.param(n, marks=pytest.mark.slow) for n in (1, 6))])
@pytest.mark.parametrize("kind", KINDS.splitlines())
def test_every_codec(tmp_path, ffmpeg, kind, channels):
    suffix, codec, rate = kind.split()
    if codec == "libmp3lame" and channels == 6:
        channels = 2  # all that mp3 has
    path = write(ffmpeg, tmp_path / f"a.{suffix}", channels, int(rate), codec)
    for wanted in (16000, 48000):
        check(heard(path, wanted), ffmpeg.sound(path, wanted), wanted)
    if codec == "libvorbis":  # clips are pieces of the whole
        check(heard(path, 16000, seconds=0.7), ffmpeg.sound(path, 16000), 16000)


@pytest.mark.parametrize("rate", [16000, 48000])
@pytest.mark.parametrize(
    ("suffix", "codec", "stored"),
    [("mp4", "aac", 48000), ("mp4", "aac", 44100), ("mkv", "flac", 48000), ("mkv", "pcm_u8", 44100)],
)
def test_a_late_track_is_padded_not_shifted(tmp_path, ffmpeg, suffix, codec, stored, rate):
    pictures = ffmpeg.make(tmp_path / f"pictures.{suffix}", H264, count=125)
    tone = write(ffmpeg, tmp_path / f"sound.{suffix}", 2, stored, codec)
    path = tmp_path / f"a.{suffix}"
    ffmpeg.run("-i", pictures, "-itsoffset", "1.25", "-i", tone, "-map", "0:v", "-map", "1:a", "-c", "copy", path)
    ours, theirs = heard(path, rate), ffmpeg.sound(path, rate, padded=True)
    assert np.abs(ours[: round(1.2 * rate)]).max() == 0  # an encoder's own silence may precede 1.25
    assert np.abs(ours[round(1.2 * rate) : round(1.3 * rate)]).max() > 0.05
    start = int(np.flatnonzero(ours)[0])
    theirs[start - 100 : start] = 0  # where a filter rings ahead of the first sound
    check(ours[: len(theirs)], theirs, rate)


def test_a_gap_stays_a_gap(tmp_path, ffmpeg):
    """As the program fills it when told to keep to the time stamps."""
    path = tmp_path / "a.mkv"
    gap = "aselect='lt(t,1)+gt(t,2)'"
    write(ffmpeg, path, 1, 48000, "pcm_f32le", after=["-af", gap])
    ours = heard(path, 48000)
    source = np.frombuffer(waves(1, 48000), np.float32)
    assert np.abs(ours[round(1.03 * 48000) : round(1.97 * 48000)]).max() == 0
    late = slice(round(2.1 * 48000), round(3.2 * 48000))
    lags = range(-60, 61)
    apart = [np.abs(ours[late] - source[late.start + lag : late.stop + lag]).max() for lag in lags]
    assert min(apart) < 1e-4
    assert abs(lags[int(np.argmin(apart))]) <= 48  # one millisecond, matroska's clock
