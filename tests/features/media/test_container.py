"""Opening: what cannot be opened says why in one sentence."""

import pytest

from features.errors import MediaError
from features.media.container import Decoder
from features.media.probe import probe_file


@pytest.fixture
def movie(tmp_path, media):
    return media.write(tmp_path / "a.mp4", [media.plain(n) for n in range(10)], sounds=[(0.0, media.tone(1))])


def reason(path) -> str:
    with pytest.raises(MediaError) as caught:
        probe_file(path)
    return str(caught.value)


def test_no_file_and_empty_file(tmp_path):
    assert reason(tmp_path / "none.mp4") == "there is no such file"
    assert reason(tmp_path) == "not a file"
    (tmp_path / "empty.mp4").touch()
    assert reason(tmp_path / "empty.mp4") == "the file is empty (0 bytes)"


def test_mp4_without_its_index(tmp_path, movie):
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
