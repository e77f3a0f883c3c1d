"""Laws of the demo's clips and captions: counts, truth, and what keeps held-out clips apart from training."""

import re
from collections import Counter

import numpy as np
import pytest

from scripts.demo.words import CAPTIONS_OF, is_true, make_captions, say
from scripts.demo.world import SHOWN_BY, STILL_FORMS, VALUES, combinations, is_visible, make_clips


@pytest.fixture(scope="module", params=range(8))
def clips(request):
    clips = make_clips(request.param)
    assert clips == make_clips(request.param) != make_clips(99)
    return clips


def test_counts_and_looks(clips):
    assert len({clip.name for clip in clips}) == len(clips) == 254
    assert Counter(clip.split for clip in clips) == {"train": 174, "val": 18, "test": 62}
    streams = Counter(stream for clip in clips for stream in clip.streams)
    assert streams == {"appearance": 254, "motion": 233, "audio": 156, "face": 127}
    stills = [clip for clip in clips if clip.form in STILL_FORMS]
    assert len(stills) == 21
    assert all(clip.facts.keys().isdisjoint({"motion", "sound"}) for clip in stills)
    assert all(is_visible(clip.facts) for clip in clips)
    looks = [combinations(clip.facts)[-1] for clip in clips if clip.split == "test"]
    assert len(set(looks)) == len(looks)  # no two test clips look alike


def test_held_out_combinations_are_not_in_training_and_every_value_is(clips):
    trained = {each for clip in clips if clip.split == "train" for each in combinations(clip.facts)}
    assert all(clip.split == "train" or trained.isdisjoint(combinations(clip.facts)) for clip in clips)
    seen = Counter(item for clip in clips if clip.split == "train" for item in clip.facts.items())
    assert all(seen[name, value] >= 6 for name, values in VALUES.items() for value in values), seen


@pytest.fixture(scope="module", params=range(4))
def world(request):
    clips = make_clips(request.param)
    captions = make_captions(clips, request.param)
    assert captions == make_captions(clips, request.param)
    return {clip.name: clip for clip in clips}, captions


def test_every_caption_is_true_and_only_about_streams_of_its_file(world):
    clips, captions = world
    for caption in captions:
        clip = clips[caption.video_id]
        assert set(clip.streams) >= set(caption.speaks_of) > set()
        assert is_true(caption.claims, clip.facts)
    counted = Counter(video for video, _ in {(caption.video_id, caption.text) for caption in captions})
    assert counted == {clip.name: CAPTIONS_OF[clip.split] for clip in clips.values()}


def test_a_test_caption_identifies_its_clip_and_needs_all_streams_it_is_about(world):
    clips, captions = world

    def fitting(claims):
        return [clip.name for clip in clips.values() if clip.split == "test" and is_true(claims, clip.facts)]

    for caption in (caption for caption in captions if caption.split == "test"):
        assert fitting(caption.claims) == [caption.video_id], caption
        for name in caption.speaks_of if len(caption.speaks_of) > 1 else ():
            part = {fact: claim for fact, claim in caption.claims.items() if fact in SHOWN_BY[name]}
            assert len(fitting(part)) > 1, (caption, name)


def test_test_captions_are_uneven_in_trained_words(world):
    _, captions = world
    spoken = Counter(caption.speaks_of for caption in captions if caption.split == "test")
    assert spoken.total() == 124
    assert all(spoken[name,] >= least for name, least in (("audio", 7), ("motion", 7), ("face", 3)))
    assert 10 <= spoken["appearance",] <= 24
    words = {split: {w for c in captions if c.split == split for w in c.text.split()} for split in CAPTIONS_OF}
    assert words["test"] <= words["train"]
    assert 120 <= len(words["train"]) <= 220


def test_a_sentence_says_what_is_claimed():
    claims = {"shape": "star", "colour": "red", "texture": "striped", "background": "grass", "motion": "left slow"}
    claims |= {"sound": "siren", "face": "yes", "glasses": "yes", "beard": "beard", "hat": "no"}
    said = ("a strip", "red star", "grass|lawn", "left", "siren|alarm", "with (glasses|spectacles) and a beard")
    for seed in range(20):
        text = say(claims, np.random.default_rng(seed))
        assert all(re.search(words, text) for words in (*said, "without a (hat|cap)")), text
        assert not re.search(r"[()|{}]|  | $|^ |\ba [aeiou]", text), text
