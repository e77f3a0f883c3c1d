"""Sound at its place in time."""

from itertools import pairwise

import numpy as np
import pytest

from features.media.clip import SoundNeed, Span
from features.media.sound import SoundTrack

NEED = SoundNeed(rate=16000)


def heard(path, start, end, need=NEED, origin=0.0):
    span = Span(clip_id="a", video="a", start_s=start, end_s=end)
    return SoundTrack(path, [need], origin).read(span).get(need)


def loud(wave, start, end, rate=16000):
    """Root mean square between two seconds."""
    return float(np.sqrt(np.mean(wave[round(start * rate) : round(end * rate)] ** 2)))


def test_a_late_track_is_preceded_by_silence(tmp_path, media):
    path = media.write(tmp_path / "a.mkv", sounds=[(1.0, media.tone(1))], sound_codec="pcm_f32le")
    wave = heard(path, 0.0, 2.5)
    assert wave.shape == (40000,)
    assert loud(wave, 0, 0.99) == 0
    assert loud(wave, 1.01, 1.9) == pytest.approx(0.5 / np.sqrt(2), abs=0.01)
    assert loud(wave, 2.05, 2.5) == 0


def test_a_gap_stays_a_gap(tmp_path, media):
    pieces = [(0.0, media.tone(1)), (3.0, media.tone(1))]
    wave = heard(media.write(tmp_path / "a.mkv", sounds=pieces), 0.0, 4.0)
    assert [loud(wave, second + 0.1, second + 0.9) > 0.3 for second in range(4)] == [True, False, False, True]


def test_sound_before_time_zero_is_dropped(tmp_path, media):
    pieces = [(0.0, np.concatenate([media.tone(1), 0 * media.tone(1)]))]
    path = media.write(tmp_path / "a.mkv", sounds=pieces, sound_codec="pcm_f32le")
    wave = heard(path, 0.0, 1.0, origin=0.5)
    assert loud(wave, 0, 0.45) > 0.3
    assert loud(wave, 0.55, 1.0) < 0.01


def test_no_entry_where_nothing_is_heard(tmp_path, media):
    path = media.write(tmp_path / "a.mkv", sounds=[(0.0, media.tone(1))])
    assert heard(path, 2.0, 3.0) is None


@pytest.mark.parametrize("rate", [8000, 22050, 48000])
def test_a_click_stays_where_it_is_at_every_rate(tmp_path, media, rate):
    samples = np.zeros(32000, np.float32)
    samples[16000:16004] = 0.9
    path = media.write(tmp_path / "a.mkv", sounds=[(0.0, samples)], sound_codec="pcm_f32le")
    wave = heard(path, 0.0, 2.0, SoundNeed(rate=rate))
    assert wave.shape == (2 * rate,)
    assert np.abs(wave).argmax() / rate == pytest.approx(1.0, abs=0.0005)


def test_clips_in_a_row_are_the_whole(tmp_path, media):
    path = media.write(tmp_path / "a.mkv", sounds=[(0.0, media.tone(3))], sound_codec="libopus")
    track = SoundTrack(path, [NEED], 0.0)
    edges = [0.0, 0.7, 1.5, 2.0]
    parts = [
        track.read(Span(clip_id="a", video="a", start_s=start, end_s=end))[NEED] for start, end in pairwise(edges)
    ]
    np.testing.assert_array_equal(np.concatenate(parts), heard(path, 0.0, 2.0))
