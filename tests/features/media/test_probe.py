"""What a file holds, found without decoding it; what cannot be opened says why in one sentence."""

import numpy as np
import pytest

from features.errors import MediaError
from features.media.container import Decoder
from features.media.frames import Orientation
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


def test_much_longer_sound_makes_the_file_longer(tmp_path, media):
    facts = probe_file(media.write(tmp_path / "a.mp4", [media.plain(0)], sounds=[(0.0, media.tone(4))]))
    assert facts.held[:, 1].max() == pytest.approx(4.0, abs=0.1)
    assert facts.picture.end_s < 0.2


def reason(path) -> str:
    with pytest.raises(MediaError) as caught:
        probe_file(path)
    return str(caught.value)


def test_mp4_without_its_index(tmp_path, media):
    movie = media.write(tmp_path / "a.mp4", [media.plain(n) for n in range(10)])
    data = movie.read_bytes()
    movie.write_bytes(data[: data.index(b"moov") - 40])
    assert reason(movie) == "cut short or damaged: the index (moov) is missing"
    movie.write_bytes(data[: data.index(b"moov") + 40])
    assert reason(movie) == "cut short or damaged: the index (moov) is missing"


def test_nothing_in_it_can_be_decoded(tmp_path, media):
    path = media.write(tmp_path / "a.mp4", [media.plain(n) for n in range(10)])
    data = bytearray(path.read_bytes())
    start = data.index(b"mdat") + 4
    data[start : data.index(b"moov") - 4] = bytes(data.index(b"moov") - 4 - start)
    path.write_bytes(data)
    assert reason(path) == "damaged: neither pictures nor sound in it can be decoded"


def test_missing_track(tmp_path, media):
    with pytest.raises(MediaError, match="no audio track"):
        Decoder(media.write(tmp_path / "a.mp4", [media.plain(0)]), "audio")
