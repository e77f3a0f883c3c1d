"""Laws of the demo's clips: counts, balance, and what keeps held-out clips apart from training."""

from collections import Counter

import pytest

from scripts.demo.world import STILL_FORMS, VALUES, combinations, is_visible, make_clips


@pytest.fixture(scope="module", params=range(8))
def clips(request):
    clips = make_clips(request.param)
    assert clips == make_clips(request.param) != make_clips(99)
    return clips


def test_counts(clips):
    assert len({clip.name for clip in clips}) == len(clips) == 254
    assert Counter(clip.split for clip in clips) == {"train": 174, "val": 18, "test": 62}
    streams = Counter(stream for clip in clips for stream in clip.streams)
    assert streams == {"appearance": 254, "motion": 233, "audio": 156, "face": 127}
    stills = [clip for clip in clips if clip.form in STILL_FORMS]
    assert len(stills) == 21
    assert all(clip.facts.keys().isdisjoint({"motion", "sound"}) for clip in stills)


def test_held_out_combinations_are_not_in_training(clips):
    trained = {each for clip in clips if clip.split == "train" for each in combinations(clip.facts)}
    assert all(clip.split == "train" or trained.isdisjoint(combinations(clip.facts)) for clip in clips)


def test_every_value_is_trained_on(clips):
    seen = Counter(item for clip in clips if clip.split == "train" for item in clip.facts.items())
    assert all(seen[name, value] >= 6 for name, values in VALUES.items() for value in values), seen


def test_every_object_stands_out_and_no_two_test_clips_look_alike(clips):
    assert all(is_visible(clip.facts) for clip in clips)
    looks = [combinations(clip.facts)[-1] for clip in clips if clip.split == "test"]
    assert len(set(looks)) == len(looks)
