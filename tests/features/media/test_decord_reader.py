"""decord: the same frames as PyAV inside its guard, PyAV outside."""

import subprocess
import sys

import av  # noqa: F401 - both before decord, which brings encoders of its own,
import cv2  # noqa: F401 - and a libpng with which OpenCV reads no png
import numpy as np
import pytest

from features.errors import InputError
from features.media.clip import NO_SOUND, FrameNeed, SoundNeed
from features.media.reader import load_reader, read_clips
from tests.features.ffmpeg_program import H264, HEVC, JUMPY, VP9

decord = pytest.importorskip("decord")
NEEDS = (FrameNeed(fps=10, size=32), FrameNeed(fps=4, size=24, window=4), SoundNeed(rate=16000))


def test_it_agrees_with_pyav_which_continues_where_decord_fails_or_is_not_installed(tmp_path, media, monkeypatch):
    frames = [media.plain(n % 18, (128, 96)) for n in range(40)]
    path = media.write(tmp_path / "a.mp4", frames, options={"preset": "fast"}, sounds=[(0.0, media.tone(4))])
    both = [read_clips(path, "v", NEEDS, clip_seconds=2.0, reader=name) for name in ("pyav", "decord")]
    for ours, theirs in zip(*both, strict=True):
        assert (ours.reader, theirs.reader) == ("pyav", "decord")
        assert (ours.span, ours.verdict, ours.note) == (theirs.span, theirs.verdict, theirs.note)
        for need, frames in ours.frames.items():
            np.testing.assert_array_equal(frames.times, theirs.frames[need].times)
            apart = np.abs(frames.pixels.astype(int) - theirs.frames[need].pixels).mean(axis=(1, 2, 3))
            assert apart.max() < 4
        for need, wave in ours.sound.items():
            np.testing.assert_array_equal(wave, theirs.sound[need])
    path = media.write(tmp_path / "a.mp4", [media.plain(n % 18) for n in range(40)])
    clips = read_clips(path, "v", NEEDS, clip_seconds=2, reader="decord")
    assert next(clips).reader == "decord"

    def fail(*_):
        raise decord.DECORDError("no more")

    monkeypatch.setattr(decord.VideoReader, "get_batch", fail)
    (last,) = clips
    assert last.reader == "pyav"
    assert media.number_of(last.frames[NEEDS[0]].pixels) == [n % 18 for n in range(20, 40)]

    def fail(name):
        raise ImportError(name)

    monkeypatch.setattr("features.media.decord_reader.import_module", fail)
    with pytest.raises(InputError, match="decord is not installed"):
        load_reader("decord")
    with pytest.raises(InputError, match="no reader is called 'fast'; there are pyav, decord"):
        load_reader("fast")


CLOSED = H264.replace("open-gop=1", "open-gop=0")
WITHIN = dict.fromkeys(("a.mp4", "a.mkv"), (CLOSED, {})) | {"late.mp4": (CLOSED + " -output_ts_offset 3.3", {})}
WITHIN |= {"jumpy.mkv": (CLOSED + JUMPY, {}), "ntsc.mp4": (CLOSED, {"rate": "30000/1001"})}
WITHIN |= {"fast.mkv": (CLOSED, {"rate": "120"})}
WITHIN |= {"a.webm": (VP9, {}), "vp8.webm": ("-c:v libvpx -b:v 200k -g 20", {})}
WITHIN |= dict.fromkeys(("a.avi", "a_mpeg4.mp4"), ("-c:v mpeg4 -q:v 3", {}))
OUTSIDE = {
    "a.ts": (H264, {}, "container mpegts"),
    "a.flv": (H264, {}, "container flv"),
    "hevc.mkv": (HEVC, {}, "codec hevc"),
    "av1.mkv": ("-c:v libsvtav1 -preset 10 -svtav1-params lp=1", {}, "codec av1"),
    "mpeg2.mkv": ("-c:v mpeg2video", {}, "codec mpeg2video"),
    "deep.mp4": (H264, {"pixels": "yuv420p10le"}, "pixels yuv420p10le"),
    "wide.mp4": (H264 + " -vf setsar=4/3", {}, "pixels that are not square"),
    **dict.fromkeys(("open.mp4", "open.mkv"), (H264, {}, "open groups of pictures")),
    "interlaced.mp4": (CLOSED + ":tff=1 -flags +ildct+ilme", {}, "an interlaced picture"),
    "bframes.mp4": ("-c:v mpeg4 -q:v 3 -bf 2", {}, "open groups of pictures"),
}


def shown(ffmpeg, path, name):
    need = FrameNeed(fps=17.3, size=96)
    (clip,) = read_clips(path, "v", (need,), clip_seconds=100, reader=name)
    return clip, clip.frames[need].times, ffmpeg.numbers(clip.frames[need].pixels)


@pytest.mark.parametrize("name", WITHIN | OUTSIDE)
def test_frame_for_frame_within_the_guard_and_a_fallback_outside(tmp_path, ffmpeg, name):
    how, settings, *reason = (WITHIN | OUTSIDE)[name]
    path = ffmpeg.make(tmp_path / name, how, **settings)
    ours, theirs = shown(ffmpeg, path, "pyav"), shown(ffmpeg, path, "decord")
    by_decord = ("pyav", f"not read by decord: {reason[0]}") if reason else ("decord", "")
    assert (theirs[0].reader, theirs[0].note.partition(";")[0]) == by_decord
    assert theirs[0].verdict == ours[0].verdict == NO_SOUND  # it is no fault of the file
    np.testing.assert_array_equal(ours[1], theirs[1])
    assert ours[2] == theirs[2]


@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
@pytest.mark.parametrize("turn", ["-ss 0.7", "-display_rotation 90", "-display_hflip"])
def test_what_is_cut_or_turned_falls_back(tmp_path, ffmpeg, turn, suffix):
    path = ffmpeg.copy(ffmpeg.make(tmp_path / "whole.mp4", H264), tmp_path / f"a.{suffix}", turn)
    ours, theirs = shown(ffmpeg, path, "pyav"), shown(ffmpeg, path, "decord")
    assert ours[2] == theirs[2]
    if (suffix, turn) != ("mkv", "-display_hflip"):  # matroska keeps rotations only
        assert theirs[0].reader == "pyav"
        assert theirs[0].note.startswith("not read by decord: ")


def test_png_images_beside_decord(tmp_path, ffmpeg):
    """In a fresh process: decord brings a zlib of its own, which OpenCV must not meet."""
    path = ffmpeg.make(tmp_path / "a.png", "-frames:v 1", count=1, pixels="rgb24")
    code = (
        "import sys, pathlib; from features.media.decord_reader import import_decord; import_decord()\n"
        "from features.media import FrameNeed, read_clips; need = FrameNeed(fps=1, size=32)\n"
        f"print(len(list(read_clips(pathlib.Path({str(path)!r}), 'v', (need,), reader='decord'))))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == "1\n", done.stderr
