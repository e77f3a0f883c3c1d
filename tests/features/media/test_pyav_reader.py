"""The default reader: frames by time, upright, streamed, with a verdict; and the facts of a file."""

import numpy as np
import pytest

from features.errors import MediaError
from features.media.clip import DEGRADED, FrameNeed, SoundNeed
from features.media.container import Decoder
from features.media.frames import Orientation
from features.media.probe import probe_file
from features.media.reader import read_clips

SOUND = SoundNeed(rate=16000)
NEED = FrameNeed(fps=10, size=32)


def read(path, needs=(NEED, SOUND), clip_seconds=None):
    return list(read_clips(path, "v/" + path.name, needs, clip_seconds=clip_seconds))


def test_time_zero_is_the_first_picture_and_no_entry_is_made_without_sound(tmp_path, media):
    times, frames = [5 + n / 10 for n in range(10)], [media.plain(n) for n in range(10)]
    sounds = [(4.0, media.tone(1)), (5.0, 0 * media.tone(1))]
    (clip,) = read(media.write(tmp_path / "a.mkv", frames, times, sounds=sounds, sound_codec="pcm_f32le"))
    assert media.number_of(clip.frames[NEED].pixels) == list(range(10))
    assert np.abs(clip.sound[SOUND][320:]).max() < 0.01  # the tone is before time 0
    frames = [media.plain(n % 18) for n in range(30)]
    path = media.write(tmp_path / "a.mkv", frames, sounds=[(0.0, media.tone(1))], sound_codec="pcm_f32le")
    assert [SOUND in clip.sound for clip in read(path, clip_seconds=1)] == [True, False, False]
    media.write(path, frames[:10], sounds=[(0.0, media.tone(1))], sound_codec="flac")
    path.write_bytes(path.read_bytes().replace(b"\xff\xf8", b"\0\0"))
    (clip,) = read(path)
    assert (clip.sound, clip.verdict) == ({}, DEGRADED)
    assert "the sound track cannot be decoded" in clip.note


def test_long_files_stream(tmp_path, media, monkeypatch):
    frames = [media.plain(n % 18) for n in range(360)]
    path = media.write(tmp_path / "a.mp4", frames, sounds=[(0.0, media.tone(36))])
    decoded, plain = [], Decoder.frames

    def counted(self, *needless):
        for time, frame in plain(self, *needless):
            if self.stream.type == "video":
                decoded.append(time)
            yield time, frame

    monkeypatch.setattr(Decoder, "frames", counted)
    needs = [NEED, SOUND, FrameNeed(fps=2, size=32), FrameNeed(fps=5, size=48, window=8), NEED]
    clips = read_clips(path, "v", needs)
    first = next(clips)
    assert first.span.clip_id == "v#t=0,10"
    assert len(decoded) < 110
    assert len(first.frames) == 3
    rest = list(clips)
    assert [clip.span.clip_id for clip in rest] == ["v#t=10,20", "v#t=20,30", "v#t=30,36"]
    assert media.number_of(rest[0].frames[NEED].pixels) == [n % 18 for n in range(100, 200)]
    assert len(rest[0].sound[SOUND]) == 160000
    assert len(decoded) == 360  # every frame once, for all needs


def test_clips_do_not_depend_on_needs_on_the_run_or_on_a_known_duration(tmp_path, media):
    frames = [media.plain(n % 18) for n in range(50)]
    path = media.write(tmp_path / "a.mp4", frames, sounds=[(0.0, media.tone(5))])
    first, second, *others = [read(path, needs, 2) for needs in ((NEED, SOUND), (NEED, SOUND), (NEED,), (SOUND,))]
    for clips in (second, *others):
        assert [clip.span for clip in clips] == [clip.span for clip in first]
    np.testing.assert_array_equal(first[0].frames[NEED].pixels, second[0].frames[NEED].pixels)
    np.testing.assert_array_equal(first[0].sound[SOUND], second[0].sound[SOUND])
    path = media.write(tmp_path / "a.mkv", frames[:30], codec="libvpx-vp9", container={"live": "1"})
    assert [clip.span.start_s for clip in read(path, clip_seconds=1)] == [0.0, 1.0, 2.0]


def test_files_that_are_shorter_than_they_claim(tmp_path, media):
    path = media.write(tmp_path / "a.mkv", [media.plain(3)])
    data = bytearray(path.read_bytes())
    place = data.index(b"\x44\x89\x88") + 3  # Matroska's Duration, a float of 8 bytes, in milliseconds
    data[place : place + 8] = np.array([36_000_000.0], ">f8").tobytes()
    path.write_bytes(data)
    (clip,) = read(path)
    assert clip.span.end_s < 1
    assert (clip.verdict, clip.note) == (DEGRADED, "0.1 of 36000.0 s could be decoded")
    rng = np.random.default_rng(0)
    frames = [rng.integers(0, 255, (48, 64, 3), dtype=np.uint8) for _ in range(100)]
    path = media.write(tmp_path / "a.mp4", frames, container={"movflags": "faststart"})
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    (clip,) = read(path)
    assert clip.verdict == DEGRADED
    assert clip.note.endswith("of 10.0 s could be decoded")
    assert 4 < clip.span.end_s < 6
    assert len(clip.frames[NEED].times) == pytest.approx(10 * clip.span.end_s, abs=1)


def test_bad_packets_are_counted_and_pictures_may_end_early(tmp_path, media):
    def spoiled(count, packets):
        path = media.write(tmp_path / "a.mkv", [media.quadrants()] * count, codec="libvpx-vp9", options={"g": "1"})
        data = bytearray(path.read_bytes())
        blocks = [place for place in range(len(data)) if data[place : place + 3] == b"\x49\x83\x42"]
        for place in blocks[packets]:  # the sync code of a VP9 key frame
            data[place : place + 3] = b"\0\0\0"
        path.write_bytes(data)
        return path

    (clip,) = read(spoiled(30, slice(5, 8)))
    assert (clip.verdict, clip.note, len(clip.frames[NEED].times)) == (DEGRADED, "3 bad packets", 30)
    clips = read(spoiled(60, slice(-45, None)), clip_seconds=1)
    assert [clip.span.start_s for clip in clips] == [0.0, 1.0]
    assert clips[-1].note.endswith("; 0.5 of 1.0 s could be decoded")
    assert len(clips[-1].frames[NEED].times) == 5


def test_tracks_and_durations_and_files_without_an_index_content_or_track(tmp_path, media):
    frames = [media.plain(n) for n in range(15)]
    facts = probe_file(media.write(tmp_path / "a.mp4", frames, sounds=[(0.0, media.tone(2))], rotation=90))
    assert (facts.picture.codec, facts.picture.width, facts.picture.height) == ("h264", 64, 48)
    assert (facts.picture.aspect, facts.picture.trimmed) == (1.0, False)
    assert facts.picture.orientation == Orientation(transposed=True, bottom_up=True)
    np.testing.assert_allclose(facts.picture.times, np.arange(15) / 10, atol=1e-6)
    assert facts.picture.end_s == pytest.approx(1.5, abs=0.01)
    assert facts.held[:, 1].max() == facts.picture.end_s  # half a second more of sound counts for nothing
    assert facts.sound.codec == "aac"
    assert facts.declared_s == pytest.approx(facts.extent_s, abs=0.1)
    facts = probe_file(media.write(tmp_path / "a.mp4", [media.plain(0)], sounds=[(0.0, media.tone(4))]))
    assert facts.held[:, 1].max() == pytest.approx(4.0, abs=0.1)
    assert facts.picture.end_s == pytest.approx(4.0, abs=0.1)  # a lone picture stays
    path = media.write(tmp_path / "a.mp4", [media.plain(n) for n in range(10)])
    with pytest.raises(MediaError, match="no audio track"):
        Decoder(path, "audio")
    data = path.read_bytes()
    start, index = data.index(b"mdat") + 4, data.index(b"moov")
    cut = "cut short or damaged: the index (moov) is missing"
    empty = "damaged: neither pictures nor sound in it can be decoded"
    zeros = data[:start] + bytes(index - 4 - start) + data[index - 4 :]
    for content, reason in ((data[: index - 40], cut), (data[: index + 40], cut), (zeros, empty)):
        path.write_bytes(content)
        with pytest.raises(MediaError) as caught:
            probe_file(path)
        assert str(caught.value) == reason
