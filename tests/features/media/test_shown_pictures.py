"""What of a video is on display: for how long, of which shape, without cropped edges, and without combing."""

import io
import struct

import av
import numpy as np
import pytest

from features.errors import MediaError
from features.media import frames
from features.media.clip import NO_SOUND, OK, FrameNeed, SoundNeed
from features.media.library import Limits
from features.media.probe import probe_file
from features.media.reader import read_clips

NEED, SOUND = FrameNeed(fps=1, size=48), SoundNeed(rate=16000)
READERS = ["pyav", "decord"]


def read(path, reader="pyav", **how):
    return list(read_clips(path, "v", (NEED, SOUND), reader=reader, **how))


def shown(clips, media):
    """The number of each frame, a list a clip."""
    return [media.number_of(clip.frames[NEED].pixels) for clip in clips]


SLIDES = [("a.mkv", "libx264"), ("a.mp4", "libx264"), ("a.webm", "libvpx"), ("a.mov", "mpeg4")]


@pytest.mark.parametrize(("name", "codec", "sounds"), [*((*each, 0) for each in SLIDES), (*SLIDES[0], 82)])
def test_a_picture_stays_until_the_next_one(tmp_path, media, name, codec, sounds):
    """And the last one as long as its packet, the header or the sound says."""
    how = {"lasts": 18.0} | ({"sounds": [(0.0, media.tone(sounds))]} if sounds else {})
    if codec == "mpeg4":
        how["options"] = {"qmin": "1"}
    path = media.write(tmp_path / name, [media.plain(n) for n in range(3)], [0, 31, 64], codec=codec, **how)
    clips = read(path)
    assert [clip.span.start_s for clip in clips] == list(range(0, 10 * len(clips), 10))
    assert clips[-1].span.end_s == pytest.approx(82, abs=0.2)
    assert [n for clip in shown(clips, media) for n in clip] == [0] * 31 + [1] * 33 + [2] * 18
    assert {(clip.verdict, clip.note) for clip in clips} == {(OK if sounds else NO_SOUND, "")}


def test_a_still_with_a_song_a_video_that_ends_early_and_a_pause_of_two_hours(tmp_path, media, says):
    song = [(0.0, media.tone(60))]
    clips = read(media.write(tmp_path / "a.mp4", [media.plain(3)], sounds=song))
    assert shown(clips, media) == [[3] * 10] * 6
    facts = probe_file(media.write(tmp_path / "a.mp4", [media.plain(n % 18) for n in range(50)], sounds=song))
    assert facts.picture.end_s == pytest.approx(5.0, abs=0.2)  # no slide show: its pictures are over
    path = media.write(tmp_path / "a.mkv", [media.plain(n) for n in range(2)], [0, 7200])
    clips = read(path, clip_seconds=100)
    assert [clip.span.start_s for clip in clips] == [*range(0, 3600, 100), 7100]
    says(clips[0].note)
    with pytest.raises(MediaError, match="too long"):
        probe_file(path, Limits(max_seconds=3000))


def parts(ffmpeg, tmp_path, how, *looks):
    """Files of a second each, one after the other."""
    files = [tmp_path / f"part{n}.{how.split()[-1]}" for n in range(len(looks))]
    for file, (size, colour, aspect) in zip(files, looks):
        picture = f"color={colour}:s={size}:r=10:d=1,setsar={aspect}"
        ffmpeg.run("-f", "lavfi", "-i", picture, *how.split()[:-1], "-bsf:v", "dump_extra", "-g", "5", file)
        ffmpeg.there(file)
    path = tmp_path / f"whole.{how.split()[-1]}"
    if path.suffix in (".ts", ".mpg"):
        path.write_bytes(b"".join(file.read_bytes() for file in files))
        return path
    (tmp_path / "list").write_text("".join(f"file {file.name}\n" for file in files))
    return ffmpeg.copy(tmp_path / "list", path, "-f concat -safe 0")


TURN = [("64x128", "red", "1"), ("128x64", "blue", "1")]
WIDE = [("720x576", "red", "16/15"), ("720x576", "blue", "64/45")]
CHANGES = {
    "libvpx webm": TURN,
    "libvpx-vp9 webm": TURN,
    "libx264 mkv": TURN,
    "libx264 ts": TURN,
    "mpeg2video -q:v 3 mpg": WIDE,
    "mpeg2video -q:v 3 ts": WIDE,
}


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("kind", CHANGES)
def test_another_shape_is_letterboxed_into_the_first(tmp_path, ffmpeg, kind, reader):
    (clip,) = read(parts(ffmpeg, tmp_path, f"-c:v {kind}", *CHANGES[kind]), reader)
    first, second = clip.frames[NEED].pixels[[0, -1]].astype(int)
    np.testing.assert_allclose(first, np.broadcast_to([254, 0, 0], first.shape), atol=3)
    assert "the picture changes shape: letterboxed" in clip.note
    height = len(second)
    tall = round(height / 4) if CHANGES[kind] is TURN else round(height * 3 / 4)
    blue = np.abs(second - [0, 0, 254]).max(-1) < 4
    assert blue.all(1).sum() == pytest.approx(tall, abs=1)
    bars = np.flatnonzero((second == 0).all((1, 2)))
    assert (len(bars), bars.min(), bars.max()) == (pytest.approx(height - tall, abs=1), 0, height - 1)


@pytest.mark.parametrize("kind", ["libvpx webm", "libx264 ts"])
def test_another_size_of_the_same_shape_is_scaled(tmp_path, ffmpeg, kind):
    path = parts(ffmpeg, tmp_path, f"-c:v {kind}", ("128x96", "red", "1"), ("64x48", "blue", "1"))
    (clip,) = read(path)
    np.testing.assert_allclose(clip.frames[NEED].pixels[-1], np.broadcast_to([0, 0, 254], (48, 64, 3)), atol=3)
    assert "shape" not in clip.note


def with_clean_aperture(data, width, height, right, down):
    """An mp4 with a `clap` box (ISO/IEC 14496-12): a size, and how far off its centre is, in half pixels."""
    data, place, chain = bytearray(data), 0, []
    for kind in (b"moov", b"trak", b"mdia", b"minf", b"stbl", b"stsd", b"avc1"):
        while data[place + 4 : place + 8] != kind:
            place += struct.unpack_from(">I", data, place)[0]
        chain.append(place)
        end = place + struct.unpack_from(">I", data, place)[0]
        place += {b"stsd": 16, b"avc1": 86}.get(kind, 8)
    for box in chain:
        struct.pack_into(">I", data, box, struct.unpack_from(">I", data, box)[0] + 40)
    data[end:end] = struct.pack(">I4s8i", 40, b"clap", width, 1, height, 1, right, 2, down, 2)
    return bytes(data)


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("how", ["a.mp4", "a.mkv", "a.mp4 -display_rotation 90", "a.mkv -display_rotation 270"])
def test_what_the_container_crops_is_cut_off(tmp_path, ffmpeg, how, reader):
    """At odd places: 95 of 128 columns from column 33 on, and 47 of 64 rows from row 3 on, are red."""
    plain, name = tmp_path / "plain.mp4", how.split()[0]
    picture = "color=blue:s=128x64:r=10:d=1,format=yuv444p,drawbox=33:3:95:47:red:fill"
    ffmpeg.run("-f", "lavfi", "-i", picture, "-c:v", "libx264", "-crf", "5", plain)
    plain.write_bytes(with_clean_aperture(plain.read_bytes(), 95, 47, 33, -11))
    (clip,) = read(ffmpeg.copy(plain, tmp_path / name, how.removeprefix(name)), reader)
    assert (clip.source.width, clip.source.height) == ((47, 95) if "rotation" in how else (95, 47))
    red = np.abs(clip.frames[NEED].pixels.astype(int) - [254, 0, 0]).max(-1) < 6
    assert red.all()


KINDS = ["mpeg2video -q:v 2 ts", "dvvideo avi", "libx264 -crf 10 mp4", "mpeg2video -q:v 2 mxf"]


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("kind", KINDS)
def test_interlaced_pictures_do_not_comb(tmp_path, ffmpeg, kind, reader, says):
    """A white bar moves by a third of its width from field to field."""
    *codec, suffix = kind.split()
    picture = "color={}x576:r=50:d=0.4"
    bar = [word for look in ("black:s=720", "white:s=60") for word in ("-f", "lavfi", "-i", picture.format(look))]
    moves = "[0][1]overlay=x='100+1000*t',interlace=scan=tff:lowpass=off,setfield=tff,format=yuv420p"
    path = tmp_path / f"a.{suffix}"
    ffmpeg.run(*bar, "-filter_complex", moves, "-flags", "+ildct+ilme", "-c:v", *codec, path)
    need = FrameNeed(fps=25, size=288)
    (clip,) = read_clips(ffmpeg.there(path), "v", (need,), reader=reader)
    pixels = clip.frames[need].pixels.astype(int)
    assert (len(pixels), pixels.max() > 230) == (10, True)
    assert np.abs(np.diff(pixels, axis=1)).mean() < 1
    assert (clip.source.width, clip.source.height) == (720, 576)
    says(clip.note)


def test_what_the_container_crops_is_the_same_every_time(tmp_path, ffmpeg, monkeypatch):
    """It is read off a header that is written; nothing in that may be drawn at random and look like a crop."""
    path, written = tmp_path / "a.mp4", []
    ffmpeg.run("-f", "lavfi", "-i", "color=blue:s=128x64:r=10:d=1", "-c:v", "libx264", path)
    path.write_bytes(with_clean_aperture(path.read_bytes(), 95, 47, 33, -11))
    real = io.BytesIO
    monkeypatch.setattr(frames.io, "BytesIO", lambda: written.append(real()) or written[-1])
    with av.open(path) as container:
        crops = {frames.container_crop(container.streams.video[0]) for _ in range(20)}
    assert len({each.getvalue() for each in written}) == len(crops) == 1
    assert crops != {frames.NO_CROP}
