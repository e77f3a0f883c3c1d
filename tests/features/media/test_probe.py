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
    facts = probe_file(media.write(tmp_path / "a.mp4", [media.plain(0)], sounds=[(0.0, media.tone(4))]))
    assert facts.held[:, 1].max() == pytest.approx(4.0, abs=0.1)
    assert facts.picture.end_s < 0.2  # much longer sound makes the file longer


def test_files_without_an_index_content_or_track(tmp_path, media):
    path = media.write(tmp_path / "a.mp4", [media.plain(n) for n in range(10)])
    with pytest.raises(MediaError, match="no audio track"):
        Decoder(path, "audio")
    data = path.read_bytes()
    start, index = data.index(b"mdat") + 4, data.index(b"moov")
    cut, empty = (
        "cut short or damaged: the index (moov) is missing",
        "neither pictures nor sound in it can be decoded",
    )
    zeros = data[:start] + bytes(index - 4 - start) + data[index - 4 :]
    for content, reason in ((data[: index - 40], cut), (data[: index + 40], cut), (zeros, f"damaged: {empty}")):
        path.write_bytes(content)
        with pytest.raises(MediaError) as caught:
            probe_file(path)
        assert str(caught.value) == reason
