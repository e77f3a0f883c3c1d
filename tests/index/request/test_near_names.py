"""Names that are nearly right."""

import pytest

from index.request.near_names import COMPARED, did_you_mean, near_names


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("audo", ["audio"]),
        ("AUDIO", ["audio"]),
        ("v01", ["v0101", "v0001"]),
        ("news", ["news/today.mp4"]),
        ("zzz", []),
        ("", []),
    ],
)
def test_nearest_first(name, near):
    assert near_names(name, ["motion", "audio", "v0101", "v0001", "news/today.mp4"]) == near


def test_it_is_asked_after_a_sentence():
    assert did_you_mean("audo", ["motion", "audio"]) == " (did you mean 'audio'?)"
    assert did_you_mean("b", ["ab", "cb"]) == " (did you mean 'ab' or 'cb'?)"
    assert did_you_mean("x", []) == ""


def test_among_very_many_names():
    names = [f"clip{number:06d}.mp4" for number in range(3 * COMPARED)]
    assert near_names("clip50123.mp4", names)[0] == "clip050123.mp4"
    assert near_names("clip00123.mp4", names[:9999])[0] == "clip000123.mp4"
    assert "clip050123.mp4" in near_names("clip50123.mp4", names)
    assert near_names("050123", names) == ["clip050123.mp4"]
