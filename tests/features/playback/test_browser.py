"""What is given to browsers as it is, and why other files are not."""

import re

import numpy as np
import pytest
from PIL import Image

from features.errors import MediaError
from features.media import probe_file
from features.playback import playable
from tests.features.playback import clock_films as films
from tests.features.playback.clock_films import H264, HEVC

AAC, OPUS, PCM = "-c:a aac", "-c:a libopus", "-c:a pcm_s16le"
VP9 = "-c:v libvpx-vp9 -b:v 200k -g 50 -deadline realtime -cpu-used 8"
AV1 = "-c:v libsvtav1 -preset 12 -svtav1-params lp=1"
DEEP = {"pixels": "yuv420p10le"}
# file -> the program's words for pictures and sound, and the MIME type
DIRECT = {
    "h264.mp4": (H264, AAC, "video/mp4"),
    "mute.m4v": (H264, "", "video/mp4"),
    "h264.mov": (H264, AAC, "video/mp4"),
    "mp3.mp4": (H264, "-c:a libmp3lame", "video/mp4"),
    "vp9.mp4": (VP9, OPUS, "video/mp4"),
    "av1.mp4": (AV1, "-c:a flac -strict -2", "video/mp4"),
    "vp8.webm": (VP9.replace("libvpx-vp9", "libvpx"), "-c:a libvorbis", "video/webm"),
    "vp9.webm": (VP9, OPUS, "video/webm"),
    "av1.webm": (AV1, OPUS, "video/webm"),
    "a.m4a": ("", AAC, "audio/mp4"),
    "a.mp3": ("", "-c:a libmp3lame -b:a 64k", "audio/mpeg"),
    "a.opus": ("", OPUS, "audio/ogg"),
    "a.flac": ("", "-c:a flac", "audio/flac"),
    "a.wav": ("", PCM, "audio/wav"),
    "wide.mp4": (H264 + " -vf setsar=4/3", AAC, "video/mp4"),
}
# file -> the same, more settings, and a part of the reason
CONVERTED = {
    "h264.mkv": (H264, AAC, {}, "container is matroska"),
    "h264.ts": (H264, AAC, {}, "container is mpegts"),
    "xvid.avi": ("-c:v mpeg4", "-c:a libmp3lame", {}, "container is avi"),
    "wmv.wmv": ("-c:v wmv2", "-c:a wmav2", {}, "container is asf"),
    "theora.ogv": ("-c:v libtheora", "", {}, "container is ogg"),
    "hevc.mp4": (HEVC, AAC, {}, "video codec is hevc"),
    "prores.mov": ("-c:v prores_ks", PCM, {"pixels": "yuv422p10le"}, "video codec is prores"),
    "ac3.mp4": (H264, "-c:a ac3", {}, "audio codec is ac3"),
    "pcm.mov": (H264, PCM, {}, "audio codec is pcm_s16le"),
    "a.aac": ("", AAC, {}, "container is aac"),
    "deep.wav": ("", "-c:a pcm_s24le", {}, "audio codec is pcm_s24le"),
    "varies.mp3": ("", "-c:a libmp3lame -q:a 4", {}, "bit rate varies"),
    "deep.mp4": (H264, AAC, DEEP, "High 10|yuv420p10le"),
    "deep.webm": (VP9, OPUS, DEEP, "yuv420p10le"),
    "fine.mp4": (H264, AAC, {"pixels": "yuv444p"}, "yuv444p"),
    "hdr.mp4": (H264 + ":transfer=arib-std-b67:colorprim=bt2020:colormatrix=bt2020nc", AAC, {}, "HDR"),
    "interlaced.mp4": (H264 + ":tff=1 -flags +ildct+ilme", AAC, {}, "interlaced"),
    "fragments.mp4": (H264, AAC, {"after": "-movflags frag_keyframe+delay_moov"}, "fragmented"),
    "late.mp4": (H264, AAC, {"after": "-output_ts_offset 3"}, "clock starts at 3.0 s"),
    "late.webm": (VP9, OPUS, {"after": "-output_ts_offset 3"}, "clock starts at 3.0 s"),
    "late_sound.mp4": (H264, AAC, {"late": 1.5}, "begin far apart"),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("files")


def written(folder, name, pictures, sound, **more):
    return films.write(folder / name, pictures, sound, seconds=3, **more)


@pytest.mark.parametrize("name", DIRECT)
def test_plays_as_it_is(name, folder):
    pictures, sound, mime = DIRECT[name]
    path = written(folder, name, pictures, sound)
    found = playable(path)
    assert (found.direct, found.mime, found.why) == (True, mime, "")
    assert found.kind == mime.split("/")[0]
    assert found.zero_s == pytest.approx(probe_file(path).origin_s)
    assert found.zero_s < 0.1


@pytest.mark.parametrize("name", CONVERTED)
def test_is_converted(name, folder):
    pictures, sound, more, why = CONVERTED[name]
    found = playable(written(folder, name, pictures, sound, **more))
    assert not found.direct
    assert found.mime == f"{found.kind}/mp4"
    assert any(part in found.why for part in why.split("|")), found.why


@pytest.mark.parametrize(("turn", "why"), [("rotate", ""), ("mirror", "mirrored")])
def test_turned_by_the_player(turn, why, folder):
    found = playable(films.turned(written(folder, "turned.mp4", H264, AAC), films.TURNED[turn]))
    assert found.direct == (not why)
    assert why in found.why


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        (rb"(elst.{16})\0\x01", b"\0\2", "several parts"),  # played at twice the rate
        (rb"(stsd\0{7})\x01", b"\2", "change their format"),
        (rb"()pasp", b"clap", "cropped"),
        (rb"()ftyp", b"wide", "container is mov"),
        (rb"(edts....elst....\0\0\0)\x01", b"\0", ""),  # no edit at all
    ],
)
def test_odd_boxes(old, new, why, folder):
    path = written(folder, "boxes.mov", H264 + " -vf setsar=4/3", AAC)
    data, count = re.subn(old, lambda found: found[1] + new, path.read_bytes(), flags=re.DOTALL)
    assert count
    path.write_bytes(data)
    found = playable(path)
    assert found.direct == (not why)
    assert why in found.why


def test_an_edit_list_that_delays_the_sound_a_little(folder):
    assert playable(written(folder, "little_late.mp4", H264, AAC, late=0.4)).direct


def test_several_tracks(folder, ffmpeg):
    path = written(folder, "one.mp4", H264, AAC)
    ffmpeg.run("-i", path, "-map", "0:v", "-map", "0:a", "-map", "0:a", "-c", "copy", folder / "two.mp4")
    assert "several audio tracks" in playable(folder / "two.mp4").why


def test_an_edit_in_the_middle_of_a_group_of_pictures(folder, ffmpeg):
    path = written(folder, "whole.mp4", H264, AAC)
    ffmpeg.run("-ss", "1.2", "-i", path, "-c", "copy", folder / "cut.mp4")
    assert "edit list" in playable(folder / "cut.mp4").why


@pytest.mark.parametrize("kind", ["jpeg", "png", "webp", "gif"])
def test_images(kind, tmp_path):
    path = tmp_path / f"image.{'jpg' if kind == 'jpeg' else kind}"
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(path)
    found = playable(path)
    assert (found.kind, found.direct, found.mime) == ("image", True, f"image/{kind}")
    path.write_bytes(b"<svg/>")
    with pytest.raises(MediaError, match="image"):
        playable(path)


def test_a_changed_file_is_looked_at_again(folder):
    path = written(folder, "first.mp4", H264, AAC)
    assert playable(path).direct
    path.write_bytes(written(folder, "second.mkv", HEVC, AAC).read_bytes())
    assert not playable(path).direct


@pytest.mark.parametrize("data", [b"", b"#EXTM3U\nhttp://127.0.0.1/a.ts\n", b"\0" * 1000])
def test_what_is_no_video(data, tmp_path):
    path = tmp_path / "a.mp4"
    path.write_bytes(data)
    with pytest.raises(MediaError):
        playable(path)
