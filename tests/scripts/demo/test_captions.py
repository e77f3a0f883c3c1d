"""Laws of the demo's captions: truth, telling one clip from all others, known words, unevenness."""

from __future__ import annotations

import re
from collections import Counter, defaultdict

import numpy as np
import pytest

from scripts.demo.captions import CAPTIONS_OF, Caption, is_true, make_captions
from scripts.demo.facts import ASPECTS, DemoClip, Face, Facts
from scripts.demo.words import MOTION_PHRASES, SOUND_PHRASES, say
from scripts.demo.world import make_clips

World = tuple[dict[str, DemoClip], list[Caption]]


@pytest.fixture(scope="module", params=range(4))
def world(request) -> World:
    clips = make_clips(request.param)
    return {clip.name: clip for clip in clips}, make_captions(clips, request.param)


def test_every_caption_is_true(world):
    clips, captions = world
    assert all(is_true(caption.claims, clips[caption.video_id].facts) for caption in captions)


def test_captions_speak_only_of_what_the_file_has(world):
    clips, captions = world
    for caption in captions:
        silent = caption.claims.get("sound") == {"none"}
        there = {*clips[caption.video_id].facts.modalities, *(["audio"] if silent else [])}
        assert caption.speaks_of
        assert there.issuperset(caption.speaks_of)


def test_how_many_captions_a_clip_has(world):
    clips, captions = world
    texts = defaultdict(list)
    for caption in captions:
        texts[caption.video_id].append(caption.text)
    for clip in clips.values():
        assert len(set(texts[clip.name])) == len(texts[clip.name]) == CAPTIONS_OF[clip.split]


def test_a_test_caption_is_true_of_one_clip_alone(world):
    clips, captions = world
    gallery = [clip.facts for clip in clips.values() if clip.split == "test"]
    for caption in captions:
        if caption.split == "test":
            assert sum(is_true(caption.claims, facts) for facts in gallery) == 1, caption


def test_where_several_modalities_are_told_none_suffices(world):
    clips, captions = world
    gallery = [clip.facts for clip in clips.values() if clip.split == "test"]
    for caption in captions:
        if caption.split == "test" and len(caption.speaks_of) > 1:
            for name in caption.speaks_of:
                part = {fact: caption.claims[fact] for fact in ASPECTS[name] if fact in caption.claims}
                assert sum(is_true(part, facts) for facts in gallery) > 1, (caption, name)


def test_test_captions_are_uneven(world):
    _, captions = world
    spoken = Counter(caption.speaks_of for caption in captions if caption.split == "test")
    assert spoken[("audio",)] >= 10
    assert spoken[("motion",)] >= 10
    assert spoken[("face",)] >= 4
    assert spoken[("appearance",)] >= 4
    assert sum(count for told, count in spoken.items() if len(told) > 1) >= 20


def test_test_captions_use_trained_words(world):
    _, captions = world
    words = {split: {w for c in captions if c.split == split for w in c.text.split()} for split in CAPTIONS_OF}
    assert words["test"] <= words["train"]
    assert 120 <= len(words["train"]) <= 220


def test_the_seed_decides():
    clips = make_clips(5)
    assert make_captions(clips, 5) == make_captions(clips, 5)


def test_a_sentence_says_what_is_claimed():
    facts = Facts(
        shape="star",
        colour="red",
        texture="striped",
        background="grass",
        motion="left slow",
        sound="siren",
        face=Face(glasses=True, beard="beard", hat=False),
    )
    claims = {fact: frozenset({value}) for fact, value in facts.values().items()}
    for seed in range(20):
        text = say(claims, np.random.default_rng(seed))
        for word in (
            "strip",
            "red star",
            "left",
            "siren|alarm",
            "(with|,) (glasses|spectacles)",
            "a beard",
            "without a",
        ):
            assert re.search(word, text), (word, text)


def test_a_phrase_means_one_thing():
    for table in (MOTION_PHRASES, SOUND_PHRASES):
        said = Counter(phrase for phrases in table.values() for phrase in phrases)
        assert not [phrase for phrase, count in said.items() if count > 1]
