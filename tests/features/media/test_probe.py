"""What a file holds, found without decoding it."""

from fractions import Fraction

import numpy as np
import pytest

from features.media.orientation import Orientation
from features.media.probe import probe_file


def test_tracks_and_durations(tmp_path, media):
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


def test_pixels_that_are_not_square(tmp_path, media):
    facts = probe_file(media.write(tmp_path / "a.mp4", [media.plain(0)], aspect=Fraction(4, 3)))
    assert facts.picture.aspect == pytest.approx(4 / 3)


def test_unknown_duration_is_found_by_the_packets(tmp_path, media):
    frames = [media.plain(n % 18) for n in range(30)]
    path = media.write(tmp_path / "a.mkv", frames, codec="libvpx-vp9", container={"live": "1"})
    facts = probe_file(path)
    assert facts.declared_s is None
    assert facts.picture.end_s == pytest.approx(3.0, abs=0.02)


def test_much_longer_sound_makes_the_file_longer(tmp_path, media):
    facts = probe_file(media.write(tmp_path / "a.mp4", [media.plain(0)], sounds=[(0.0, media.tone(4))]))
    assert facts.held[:, 1].max() == pytest.approx(4.0, abs=0.1)
    assert facts.picture.end_s < 0.2
