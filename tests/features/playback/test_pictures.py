"""Small pictures: of which moment, how turned, and at what cost to the decoder."""

from contextlib import suppress
from fractions import Fraction

import cv2
import numpy as np
import pytest

from features.errors import MediaError
from features.media import key_frames, probe_file
from features.playback.moment import film_strip, thumbnail

GROUPS = {"options": {"g": "20", "bf": "2", "sc_threshold": "0"}}  # a key frame every two seconds
# container, codec
KINDS = [("mp4", "libx264"), ("mkv", "libx264"), ("mov", "mpeg4"), ("ts", "libx264"), ("ts", "mpeg2video")]
KINDS += [("avi", "mpeg4"), ("mpg", "mpeg2video"), ("wmv", "wmv2"), ("webm", "libvpx-vp9"), ("flv", "libx264")]


def decoded(jpeg):
    return cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR_RGB)


def shades(strip, count):
    """The grey level of each picture of a strip."""
    return [float(part.mean()) for part in np.split(decoded(strip), count, axis=1)]


@pytest.fixture
def ramp(tmp_path, media):
    """ramp("mp4", "libx264"): ten seconds that grow brighter by 2 every tenth of a second."""

    def make(ending, codec, seconds=10, **look):
        frames = [np.full((48, 64, 3), 20 + 2 * n, np.uint8) for n in range(10 * seconds)]
        rate = 24 if codec == "mpeg2video" else 10
        times = [Fraction(n * (rate // 10), rate) for n in range(len(frames))]
        kind = {"wmv": "asf", "mpg": "mpeg"}.get(ending, ending)
        look = {"options": {"g": "20"}} if codec == "wmv2" else GROUPS | look
        clock = Fraction(1, rate) if codec in ("mpeg2video", "wmv2") else None
        return media.write(tmp_path / f"ramp.{ending}", frames, times, codec=codec, kind=kind, clock=clock, **look)

    return make


@pytest.fixture
def no_reading_through(monkeypatch):
    """Fails where a file is decoded from its beginning."""
    monkeypatch.setattr(key_frames, "_read_through", None)


@pytest.mark.parametrize(("ending", "codec"), KINDS)
def test_pictures_are_key_frames_near_the_wanted_times(ramp, no_reading_through, ending, codec):
    path = ramp(ending, codec)
    times = probe_file(path).picture.times
    levels = dict(zip(np.round(times, 2), range(len(times))))
    assert len(levels) == 100
    (shade,) = shades(thumbnail(path, 3.0, 6.9), 1)
    second = (shade - 20) / 2 / len(times) * times[-1]
    assert 3.0 - 0.3 <= second <= 6.9
    strip = shades(film_strip(path, 2.0, 9.0, count=4), 4)
    seconds = [(shade - 20) / 2 / len(times) * times[-1] for shade in strip]
    assert seconds == sorted(seconds)
    assert max(abs(second - want) for second, want in zip(seconds, (2.875, 4.625, 6.375, 8.125))) < 2.05


@pytest.mark.parametrize("ending", ["mp4", "ts"])
def test_without_key_frames_in_the_span_it_shows_the_span_all_the_same(ramp, no_reading_through, ending):
    path = ramp(ending, "libx264", options={"g": "1000", "bf": "2"})
    strip = shades(film_strip(path, 6.0, 8.0, count=4), 4)
    for shade, want in zip(strip, (6.25, 6.75, 7.25, 7.75)):
        assert abs((shade - 20) / 20 - want) < 0.35
    (shade,) = shades(thumbnail(path, 6.0, 8.0), 1)
    assert 6.0 <= (shade - 20) / 20 < 8.0


def test_a_stream_that_was_joined_restarts_its_clock_and_pictures_are_still_the_right_ones(
    ramp, no_reading_through, tmp_path
):
    content = ramp("ts", "libx264").read_bytes()
    (tmp_path / "joined.ts").write_bytes(content + content)
    for start in (2.0, 12.0):
        (shade,) = shades(thumbnail(tmp_path / "joined.ts", start, start + 4), 1)
        assert 2.0 <= (shade - 20) / 20 < 6.1
    between = shades(film_strip(tmp_path / "joined.ts", 12.8, 13.8, count=2), 2)  # no key frame is in it
    assert np.abs((np.array(between) - 20) / 20 - (3.05, 3.55)).max() < 0.25


def test_a_key_frame_in_the_span_is_taken_though_another_is_nearer_before_it(ramp, no_reading_through):
    (shade,) = shades(thumbnail(ramp("mp4", "libx264"), 2.5, 4.5), 1)
    assert abs((shade - 20) / 20 - 4.0) < 0.06


def test_what_has_no_times_is_read_from_its_beginning(ramp, tmp_path):
    path = ramp("h264", "libx264")
    (shade,) = shades(thumbnail(path, 0.0, 4.0), 1)
    assert abs((shade - 20) / 2 - 50) < 30  # ffmpeg guesses 25 pictures a second


def test_pictures_are_upright_square_cut_and_within_their_box(tmp_path, media):
    turned = media.write(tmp_path / "turned.mp4", [np.rot90(media.quadrants(), -1)] * 5, rotation=90)
    picture = decoded(thumbnail(turned, 0.0, 0.5, width=48))
    assert picture.shape == (32, 48, 3)
    expected = cv2.resize(media.quadrants(), (48, 32), interpolation=cv2.INTER_AREA)
    assert (
        np.abs(
            picture[[4, 4, -4, -4], [4, -4, 4, -4]].astype(int) - expected[[4, 4, -4, -4], [4, -4, 4, -4]]
        ).max()
        < 40
    )
    wide = media.write(tmp_path / "wide.mp4", [media.plain(3, (48, 64))] * 5, aspect=Fraction(2))
    assert decoded(thumbnail(wide, 0.0, 0.5)).shape == (64, 96, 3)  # not enlarged
    assert decoded(film_strip(wide, 0.0, 0.5, count=3, width=24)).shape == (16, 3 * 24, 3)


def test_images_and_animations_have_pictures_and_sound_has_none(tmp_path, media):
    cv2.imwrite(str(tmp_path / "still.png"), media.quadrants((960, 640))[..., ::-1])
    assert decoded(thumbnail(tmp_path / "still.png", 0.0, 0.0, width=96)).shape == (64, 96, 3)
    assert decoded(film_strip(tmp_path / "still.png", 0.0, 0.0, count=2, width=96)).shape == (64, 192, 3)
    from PIL import Image

    pictures = [Image.fromarray(np.full((48, 64, 3), level, np.uint8)) for level in (40, 120, 200)]
    pictures[0].save(
        tmp_path / "moving.webp", save_all=True, append_images=pictures[1:], duration=1000, lossless=True
    )
    strip = shades(film_strip(tmp_path / "moving.webp", 0.0, 3.0, count=3), 3)
    assert np.abs(np.array(strip) - (40, 120, 200)).max() < 4
    media.write(tmp_path / "sound.m4a", sounds=[(0.0, media.tone(1.0))], kind="mp4")
    with pytest.raises(MediaError, match="no picture"):
        thumbnail(tmp_path / "sound.m4a", 0.0, 1.0)


def test_damaged_files_give_a_picture_or_a_sentence(ramp, tmp_path):
    content = bytearray(ramp("mkv", "libx264").read_bytes())
    spoilt = tmp_path / "spoilt.mkv"
    draw = np.random.default_rng(0)
    for _ in range(30):
        copy = bytearray(content)
        for place in draw.integers(0, len(copy), 200):
            copy[place] = draw.integers(256)
        spoilt.write_bytes(copy[: draw.integers(100, len(copy))])
        with suppress(MediaError):
            assert decoded(film_strip(spoilt, 2.0, 9.0, count=3)).shape[1] % 3 == 0
