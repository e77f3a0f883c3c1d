"""Laws of the demo's clips: counts, balance, and what keeps held-out clips apart from training."""

from __future__ import annotations

from collections import Counter

import pytest

from scripts.demo.facts import BACKGROUNDS, COLOURS, MOTIONS, SHAPES, SOUNDS, TEXTURES, DemoClip
from scripts.demo.world import groups, make_clips

SEEDS = range(12)


def of_split(clips: list[DemoClip], split: str) -> list[DemoClip]:
    return [clip for clip in clips if clip.split == split]


def test_counts():
    clips = make_clips(0)
    assert len({clip.name for clip in clips}) == len(clips) == 254
    assert Counter(clip.split for clip in clips) == {"train": 174, "val": 18, "test": 62}
    images = [clip for clip in clips if clip.form in ("png", "jpg", "webp")]
    assert len(images) == 21
    assert all(clip.facts.motion is None and clip.facts.sound is None for clip in images)
    videos = len(clips) - len(images)
    assert sum(clip.facts.sound is None for clip in clips) - len(images) == pytest.approx(videos / 3, abs=1)
    assert sum(clip.facts.face is not None for clip in clips) == 123  # about a half
    assert sum(clip.form == "webm" for clip in clips) == pytest.approx(0.15 * videos, abs=5)


@pytest.mark.parametrize("seed", SEEDS)
def test_held_out_combinations_are_not_in_training(seed):
    clips = make_clips(seed)
    trained = {group for clip in of_split(clips, "train") for group in groups(clip.facts)}
    for clip in clips:
        if clip.split != "train":
            assert trained.isdisjoint(groups(clip.facts)), clip


@pytest.mark.parametrize("seed", SEEDS)
def test_every_value_is_trained_on(seed):
    facts = [clip.facts for clip in of_split(make_clips(seed), "train")]
    tables = {
        "shape": SHAPES,
        "colour": COLOURS,
        "texture": TEXTURES,
        "background": BACKGROUNDS,
        "motion": MOTIONS,
        "sound": SOUNDS,
    }
    for name, values in tables.items():
        seen = Counter(getattr(each, name) for each in facts)
        assert all(seen[value] >= 6 for value in values), (name, seen)
    for name in ("glasses", "beard", "hat"):
        seen = Counter(getattr(each.face, name) for each in facts if each.face)
        assert min(seen.values()) >= 6


@pytest.mark.parametrize("seed", SEEDS)
def test_every_object_stands_out(seed):
    assert all(clip.facts.visible for clip in make_clips(seed))


def test_the_seed_decides():
    assert make_clips(3) == make_clips(3)
    assert make_clips(3) != make_clips(4)
