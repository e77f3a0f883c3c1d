"""Sound of any order of channels: mixed as the ffmpeg program mixes it, and never the end of the process."""

import subprocess
import sys

import numpy as np
import pytest

from features.media.clip import SoundNeed
from features.media.reader import read_clips

SOUND = SoundNeed(rate=16000)
FILM = " -af channelmap=channel_layout=FL+FC+FR+BL+BR+LFE -c:a "
FILM7 = " -af channelmap=channel_layout=FL+FC+FR+SL+SR+BL+BR+LFE -c:a "


def tones(count, rate=8000):
    """The program's words for one second of channels that sound 600, 800, ... Hz."""
    return (
        "-f lavfi -i aevalsrc=" + "|".join(f"0.1*sin({2 * n + 6}00*PI*t)" for n in range(count)) + f":d=1:s={rate}"
    )


ODD = {"film.mov": FILM + "pcm_s16le", "film.mp4": FILM + "pcm_s24be", "alac.mov": FILM + "alac"}
ODD |= {"film.mkv": FILM + "pcm_s16le", "film.caf": FILM + "pcm_s16le", "film.wav": FILM + "pcm_f32le"}
ODD |= {"two.mov": " -af pan=FR+FL|c0=c0|c1=c1 -c:a pcm_s16le", "seven.mov": " -ac 8" + FILM7 + "pcm_s16le"}
ODD |= {"pce.mp4": " -ar 48000 -c:a aac -aac_pce 1"}


@pytest.mark.parametrize("name", ODD)
def test_every_order_is_mixed_as_the_program_mixes_it(tmp_path, ffmpeg, name):
    path = tmp_path / name
    ffmpeg.run(*(tones(8 if name == "seven.mov" else 6) + ODD[name]).split(), path)
    theirs = ffmpeg.sound(ffmpeg.there(path), SOUND.rate)
    (clip,) = read_clips(path, "v", (SOUND,))
    count = min(len(clip.sound[SOUND]), len(theirs)) - 100  # the ends of resamplers differ
    assert count > 15_000
    np.testing.assert_allclose(clip.sound[SOUND][:count], theirs[:count], atol=2e-3)


@pytest.mark.parametrize(
    ("layout", "count", "heard"), [("ambisonic 1", 4, 1), ("ambisonic 1+stereo", 6, 1), ("", 11, 11)]
)
def test_channels_for_which_ffmpeg_has_no_weights(tmp_path, ffmpeg, layout, count, heard):
    """Of ambisonic sound the first channel, an omnidirectional microphone; of others all, evenly."""
    odd = ["-af", f"channelmap=channel_layout={layout}", "-c:a", "libopus", "-mapping_family", "2", "-b:a", "600k"]
    ffmpeg.run(*tones(count, 48000).split(), *(odd if layout else ["-c:a", "pcm_s16le"]), tmp_path / "a.mkv")
    (clip,) = read_clips(ffmpeg.there(tmp_path / "a.mkv"), "v", (SOUND,))
    loud = np.abs(np.fft.rfft(clip.sound[SOUND][4000:12000] * np.hanning(8000)))
    peaks = [loud[place - 3 : place + 4].max() for place in range(150, 150 + 50 * count, 50)]
    assert [peak > max(peaks) / 20 for peak in peaks] == [n < heard for n in range(count)]


@pytest.mark.parametrize("codec", ["aac", "libopus -mapping_family 255", "flac"])
def test_late_sound_of_many_planes(tmp_path, ffmpeg, codec):
    path = tmp_path / "late.mkv"
    picture = "-f lavfi -i color=red:s=64x64:r=10:d=2 -itsoffset 0.5"
    ffmpeg.run(*picture.split(), *tones(8, 48000).split(), "-ac", "8", "-c:a", *codec.split(), path)
    (clip,) = read_clips(ffmpeg.there(path), "v", (SOUND,))
    loud = np.abs(clip.sound[SOUND]).reshape(-1, 800).max(axis=1) > 0.05  # each 50 ms
    assert [loud[:10].any(), loud[10:30].all(), loud[31:].any()] == [False, True, False]  # Opus decays


def test_no_heap_corruption(tmp_path, ffmpeg):
    """In a process whose allocator checks each block, where there is such a one."""
    path = tmp_path / "a.mov"
    picture = "-f lavfi -i color=red:s=64x64:r=10:d=1 -map 0 -map 1 -c:v libx264"
    ffmpeg.run(*tones(6).split(), *picture.split(), *FILM.split(), "pcm_s16le", path)
    code = (
        "import sys, pathlib\nfrom features.media import SoundNeed, probe_file, read_clips\n"
        "for _ in range(30):\n    probe_file(pathlib.Path(sys.argv[1]))\n"
        "    (clip,) = read_clips(pathlib.Path(sys.argv[1]), 'v', (SoundNeed(rate=16000),))\nprint(clip.verdict)"
    )
    checks = {"LD_PRELOAD": "libc_malloc_debug.so.0", "MALLOC_CHECK_": "3", "PYTHONPATH": ":".join(sys.path)}
    done = subprocess.run([sys.executable, "-c", code, path], env=checks, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "ok\n"), done.stderr
