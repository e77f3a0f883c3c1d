"""Sound of any order of channels: mixed as the ffmpeg program mixes it, and never the end of the process."""

import subprocess
import sys

import numpy as np
import pytest

from features.media.clip import SoundNeed
from features.media.reader import read_clips

SOUND = SoundNeed(rate=16000)
FILM = "FL+FC+FR+BL+BR+LFE"


def tones(count, rate=8000):
    """The program's words for one second of channels that sound 300, 400, ... Hz."""
    return (
        "-f lavfi -i aevalsrc=" + "|".join(f"0.1*sin({2 * n + 6}00*PI*t)" for n in range(count)) + f":d=1:s={rate}"
    )


def ordered(layout, codec, name, count=6, rate=8000):
    return pytest.param(f"{tones(count, rate)} -af channelmap=channel_layout={layout} -c:a {codec}", id=name)


ODD = [ordered(FILM, codec, f"{codec}.{end}") for codec, end in (("pcm_s16le", "mov"), ("pcm_s24be", "mp4"))]
ODD += [
    ordered("FL+FC+FR+SL+SR+BL+BR+LFE", "pcm_s16le", "film71.mov", 8),
    ordered("FR+FL", "pcm_s16le", "two.mov", 2),
]
ODD += [ordered("FL+FL+FR+FR", "pcm_f32le", "twice.mov", 4), ordered(FILM, "pcm_s16le", "a.mkv")]
ODD += [
    ordered(FILM, "pcm_s16le", "a.caf"),
    ordered(FILM, "pcm_s16le", "a.wav"),
    ordered(FILM, "alac", "alac.mov"),
]
ODD += [pytest.param(f"{tones(6, 48000)} -c:a aac -aac_pce 1", id="pce.mp4")]


@pytest.mark.parametrize("how", ODD)
def test_every_order_is_mixed_as_the_program_mixes_it(tmp_path, ffmpeg, request, how):
    path = tmp_path / request.node.callspec.id
    ffmpeg.run(*how.split(), path)
    theirs = ffmpeg.sound(ffmpeg.there(path), SOUND.rate)
    (clip,) = read_clips(path, "v", (SOUND,))
    ours = clip.sound[SOUND]
    count = min(len(ours), len(theirs)) - 100  # a resampler's end may differ
    assert count > 15_000
    np.testing.assert_allclose(ours[:count], theirs[:count], atol=2e-3)


def peaks(wave):
    """Which tones are heard, Hz."""
    loud = np.abs(np.fft.rfft(wave[4000:12000] * np.hanning(8000)))
    return [
        hertz for hertz in range(300, 1500, 100) if loud[hertz // 2 - 3 : hertz // 2 + 4].max() > loud.max() / 20
    ]


@pytest.mark.parametrize(
    ("layout", "count", "heard"),
    [
        ("ambisonic 1", 4, [300]),  # the microphone that hears all around
        ("ambisonic 1+stereo", 6, [300]),
        (None, 13, [*range(300, 1500, 100)]),  # channels without places: all alike
    ],
)
def test_channels_for_which_ffmpeg_has_no_weights(tmp_path, ffmpeg, layout, count, heard):
    path = tmp_path / "a.mkv"
    words = tones(count, 48000).split()
    if layout:
        words += ["-af", f"channelmap=channel_layout={layout}", "-c:a", "libopus", "-mapping_family", "2"]
    else:
        words += ["-c:a", "pcm_s16le"]
    ffmpeg.run(*words, "-b:a", "600k", path)
    (clip,) = read_clips(ffmpeg.there(path), "v", (SOUND,))
    assert peaks(clip.sound[SOUND]) == heard


def test_no_heap_corruption(tmp_path, ffmpeg):
    """In a process whose allocator checks each block, where there is such a one."""
    path = tmp_path / "a.mov"
    picture = "-f lavfi -i color=red:s=64x64:r=10:d=1 -map 0 -map 1 -c:v libx264 -c:a pcm_s16le"
    ffmpeg.run(*tones(6).split(), *picture.split(), "-af", f"channelmap=channel_layout={FILM}", path)
    code = (
        "import sys, pathlib\nfrom features.media import SoundNeed, probe_file, read_clips\n"
        "for _ in range(30):\n    probe_file(pathlib.Path(sys.argv[1]))\n"
        "    (clip,) = read_clips(pathlib.Path(sys.argv[1]), 'v', (SoundNeed(rate=16000),))\nprint(clip.verdict)"
    )
    checks = {"LD_PRELOAD": "libc_malloc_debug.so.0", "MALLOC_CHECK_": "3", "PYTHONPATH": ":".join(sys.path)}
    done = subprocess.run([sys.executable, "-c", code, path], env=checks, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "ok\n"), done.stderr
