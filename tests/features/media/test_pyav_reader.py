"""The default reader: frames by time, upright, streamed, with a verdict."""

from fractions import Fraction

import numpy as np
import pytest

from features.media.clip import DEGRADED, NO_PICTURE, NO_SOUND, OK, FrameNeed, SoundNeed
from features.media.container import Decoder
from features.media.cutting import Cutting
from features.media.reader import is_media, open_reader

SOUND = SoundNeed(rate=16000)
NEED = FrameNeed(fps=10, size=32)


def read(path, needs=(NEED, SOUND), clip_seconds=None):
    cutting = Cutting(clip_seconds=clip_seconds)
    return list(open_reader("pyav", path).read(path, "v/" + path.name, needs, cutting))


@pytest.mark.parametrize(
    ("suffix", "codec"),
    [("mp4", "libx264"), ("mp4", "libx265"), ("webm", "libvpx-vp9"), ("avi", "mpeg4"), ("ts", "libx264")],
)
def test_frames_by_time(tmp_path, media, suffix, codec):
    path = media.write(tmp_path / f"a.{suffix}", [media.plain(n) for n in range(12)], codec=codec)
    (clip,) = read(path)
    assert media.number_of(clip.frames[NEED].pixels) == list(range(12))
    assert (clip.verdict, clip.note, clip.reader) == (NO_SOUND, "", "pyav")


def test_variable_rate_shows_what_is_on_display(tmp_path, media):
    times = [0.0, 0.1, 0.5, 0.55, 1.3, 2.0]
    path = media.write(tmp_path / "a.mp4", [media.plain(n) for n in range(6)], times)
    (clip,) = read(path)
    shown = [max(n for n, time in enumerate(times) if time <= want + 1e-4) for want in clip.frames[NEED].times]
    assert media.number_of(clip.frames[NEED].pixels) == shown
    assert clip.frames[NEED].times[:21] == pytest.approx(np.arange(21) / 10)


def test_time_zero_is_the_first_picture(tmp_path, media):
    times = [5 + n / 10 for n in range(10)]
    sounds = [(4.0, media.tone(1)), (5.0, 0 * media.tone(1))]
    path = media.write(
        tmp_path / "a.mkv", [media.plain(n) for n in range(10)], times, sounds=sounds, sound_codec="pcm_f32le"
    )
    (clip,) = read(path)
    assert media.number_of(clip.frames[NEED].pixels) == list(range(10))
    assert np.abs(clip.sound[SOUND][320:]).max() < 0.01  # the tone lies before time 0


@pytest.mark.parametrize("degrees", [90, 180, -90])
def test_rotation_is_applied(tmp_path, media, degrees):
    stored = media.quadrants()
    path = media.write(tmp_path / "a.mp4", [stored] * 3, rotation=degrees)
    (clip,) = read(path)
    picture = clip.frames[NEED].pixels[0]
    assert picture.shape == ((48, 32, 3) if degrees % 180 else (32, 48, 3))
    expected = np.rot90(stored, degrees // 90)
    for row, column in ((4, 4), (4, -5), (-5, 4), (-5, -5)):
        assert np.abs(picture[row, column].astype(int) - expected[2 * row, 2 * column]).max() < 40


def test_pixels_become_square(tmp_path, media):
    path = media.write(tmp_path / "a.mp4", [media.plain(0)], aspect=Fraction(3, 2))
    assert read(path)[0].frames[NEED].pixels.shape[1:] == (32, 64, 3)


def test_grey_keeps_its_level(tmp_path, media):
    (clip,) = read(media.write(tmp_path / "a.mp4", [media.plain(9, (640, 360))]))
    assert clip.frames[NEED].pixels.mean() == pytest.approx(media.grey(9), abs=1)


def test_late_sound_and_gap(tmp_path, media):
    frames = [media.plain(n % 18) for n in range(40)]
    sounds = [(1.0, media.tone(1)), (3.0, media.tone(1))]
    (clip,) = read(media.write(tmp_path / "a.mp4", frames, sounds=sounds))
    wave = clip.sound[SOUND]
    assert wave.shape == (round(clip.span.end_s * 16000),)
    loud = [np.abs(wave[16000 * s + 2000 : 16000 * s + 14000]).max() > 0.3 for s in range(4)]
    assert loud == [False, True, False, True]
    assert clip.verdict == OK


def test_sound_only(tmp_path, media):
    path = media.write(tmp_path / "a.mp4", sounds=[(0.0, media.tone(2))])
    (clip,) = read(path)
    assert (clip.frames, clip.verdict) == ({}, NO_PICTURE)
    assert len(clip.sound[SOUND]) == pytest.approx(32000, abs=1024)


def test_sound_that_cannot_be_decoded(tmp_path, media):
    frames = [media.plain(n) for n in range(10)]
    path = media.write(tmp_path / "a.mkv", frames, sounds=[(0.0, media.tone(1))], sound_codec="flac")
    path.write_bytes(path.read_bytes().replace(b"\xff\xf8", b"\0\0"))
    (clip,) = read(path)
    assert clip.sound == {}
    assert clip.verdict == DEGRADED
    assert "the sound track cannot be decoded" in clip.note


def test_long_files_stream(tmp_path, media, monkeypatch):
    frames = [media.plain(n % 18) for n in range(360)]
    path = media.write(tmp_path / "a.mp4", frames, sounds=[(0.0, media.tone(36))])
    decoded = []
    plain = Decoder.frames

    def counted(self, *needless):
        for time, frame in plain(self, *needless):
            if self.stream.type == "video":
                decoded.append(time)
            yield time, frame

    monkeypatch.setattr(Decoder, "frames", counted)
    needs = [NEED, SOUND, FrameNeed(fps=2, size=32), FrameNeed(fps=5, size=48, window=8), NEED]
    clips = open_reader("pyav", path).read(path, "v", needs, Cutting())
    first = next(clips)
    assert first.span.clip_id == "v#t=0,10"
    assert len(decoded) < 110
    assert len(first.frames) == 3
    rest = list(clips)
    assert [clip.span.clip_id for clip in rest] == ["v#t=10,20", "v#t=20,30", "v#t=30,36"]
    assert media.number_of(rest[0].frames[NEED].pixels) == [n % 18 for n in range(100, 200)]
    assert len(rest[0].sound[SOUND]) == 160000
    assert len(decoded) == 360  # every frame once, for all needs


def test_spans_do_not_depend_on_needs(tmp_path, media):
    frames = [media.plain(n % 18) for n in range(50)]
    path = media.write(tmp_path / "a.mp4", frames, sounds=[(0.0, media.tone(5))])
    spans = [[c.span for c in read(path, needs, 2)] for needs in ((NEED,), (SOUND,), (NEED, SOUND))]
    assert spans[0] == spans[1] == spans[2]


def test_unknown_duration(tmp_path, media):
    frames = [media.plain(n % 18) for n in range(30)]
    path = media.write(tmp_path / "a.mkv", frames, codec="libvpx-vp9", container={"live": "1"})
    assert [clip.span.start_s for clip in read(path, clip_seconds=1)] == [0.0, 1.0, 2.0]


def test_ten_hours_between_two_frames_are_not_filled(tmp_path, media):
    path = media.write(tmp_path / "a.mkv", [media.plain(3)] * 2, [0.0, 36000.0])
    assert [clip.span.start_s for clip in read(path)] == [0.0, 10.0, 20.0, 35990.0]


def test_one_frame_that_claims_ten_hours(tmp_path, media):
    path = media.write(tmp_path / "a.mkv", [media.plain(3)])
    data = bytearray(path.read_bytes())
    place = data.index(b"\x44\x89\x88") + 3  # Matroska's Duration, a float of 8 bytes, in milliseconds
    data[place : place + 8] = np.array([36_000_000.0], ">f8").tobytes()
    path.write_bytes(data)
    (clip,) = read(path)
    assert clip.span.end_s < 1
    assert (clip.verdict, clip.note) == (DEGRADED, "0.1 of 36000.0 s could be decoded")


def test_cut_short(tmp_path, media):
    rng = np.random.default_rng(0)
    frames = [rng.integers(0, 255, (48, 64, 3), dtype=np.uint8) for _ in range(100)]
    path = media.write(tmp_path / "a.mp4", frames, container={"movflags": "faststart"})
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    (clip,) = read(path)
    assert clip.verdict == DEGRADED
    assert clip.note.endswith("of 10.0 s could be decoded")
    assert 4 < clip.span.end_s < 6
    assert len(clip.frames[NEED].times) == pytest.approx(10 * clip.span.end_s, abs=1)


def test_bad_packets_are_counted(tmp_path, media):
    frames = [media.quadrants() for _ in range(30)]
    path = media.write(tmp_path / "a.mkv", frames, codec="libvpx-vp9", options={"g": "1"})
    data = bytearray(path.read_bytes())
    blocks = [place for place in range(len(data)) if data[place : place + 3] == b"\x49\x83\x42"]
    for place in blocks[5:8]:  # the sync code of a VP9 key frame
        data[place : place + 3] = b"\0\0\0"
    path.write_bytes(data)
    (clip,) = read(path)
    assert (clip.verdict, clip.note) == (DEGRADED, "3 bad packets")
    assert len(clip.frames[NEED].times) == 30


def test_pictures_that_break_off(tmp_path, media):
    frames = [media.quadrants() for _ in range(60)]
    path = media.write(tmp_path / "a.mkv", frames, codec="libvpx-vp9", options={"g": "1"})
    data = bytearray(path.read_bytes())
    blocks = [place for place in range(len(data)) if data[place : place + 3] == b"\x49\x83\x42"]
    for place in blocks[-45:]:
        data[place : place + 3] = b"\0\0\0"
    path.write_bytes(data)
    clips = read(path, clip_seconds=1)
    assert [clip.span.start_s for clip in clips] == [0.0, 1.0]
    assert clips[-1].note.endswith("; 0.5 of 1.0 s could be decoded")
    assert len(clips[-1].frames[NEED].times) == 5


def test_twice_the_same(tmp_path, media):
    path = media.write(tmp_path / "a.mp4", [media.quadrants()] * 10, sounds=[(0.0, media.tone(1))])
    first, second = read(path)[0], read(path)[0]
    np.testing.assert_array_equal(first.frames[NEED].pixels, second.frames[NEED].pixels)
    np.testing.assert_array_equal(first.sound[SOUND], second.sound[SOUND])


def test_suffixes(tmp_path):
    accepted = ["a.MP4", "a.webm", "a.JPG", "a.3gp"]
    assert all(is_media(tmp_path / name) for name in accepted)
    assert not is_media(tmp_path / "a.txt")
