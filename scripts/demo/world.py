"""Which clips the demo's world holds: make_clips(seed).

A held-out (val or test) clip shares with no training clip its motion and sound together, nor its shape
and colour together with its motion, its sound or its background (HELD_OUT). Every single value is met
often in training. In the test gallery some motions, sounds and faces occur on one clip only, so that a
caption about nothing else can mean it; the others are shared by several clips.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TypeVar

import numpy as np

from scripts.demo.facts import (
    BACKGROUNDS,
    BEARDS,
    COLOURS,
    MOTIONS,
    SHAPES,
    SOUNDS,
    TEXTURES,
    DemoClip,
    Face,
    Facts,
)

HELD_OUT = (
    ("motion", "sound"),
    ("shape", "colour", "motion"),
    ("shape", "colour", "sound"),
    ("shape", "colour", "background"),
)
ONLY_ONCE = 11  # motions, and sounds, that one test clip alone has
FACES_ONLY_ONCE = 6

# split -> files of each form, then how many of its videos have sound, and how many files a face
FORMS_OF = {
    "train": {"mp4": 136, "webm": 26, "png": 4, "jpg": 4, "webp": 4},
    "val": {"mp4": 13, "webm": 3, "png": 1, "jpg": 1, "webp": 0},
    "test": {"mp4": 45, "webm": 10, "png": 3, "jpg": 2, "webp": 2},
}
WITH_SOUND = {"train": 108, "val": 11, "test": 36}
WITH_FACE = {"train": 84, "val": 9, "test": 30}

_FACES = tuple(
    Face(glasses=glasses, beard=beard, hat=hat)
    for glasses, beard, hat in itertools.product((False, True), BEARDS, (False, True))
)
_Value = TypeVar("_Value")
_Group = tuple[tuple[str, ...], tuple[object, ...]]


def make_clips(seed: int) -> list[DemoClip]:
    """All clips, training first; the same for the same seed."""
    generator = np.random.default_rng([seed, 1])
    facts = {split: _draw(split, generator) for split in FORMS_OF}
    taken = {group for each in facts["train"] for group in groups(each)}
    for split in ("val", "test"):
        facts[split] = _kept_apart(facts[split], taken, generator)
    forms = [(split, form) for split in FORMS_OF for form in _forms(split)]
    rows = zip(forms, itertools.chain(*facts.values()), strict=True)
    return [
        DemoClip(name=f"clip_{number:04d}.{form}", split=split, form=form, facts=each, seed=seed * 10_000 + number)
        for number, ((split, form), each) in enumerate(rows, start=1)
    ]


def groups(facts: Facts) -> list[_Group]:
    """The combinations that tell held-out clips from training clips; what a clip does not have is in none."""
    values = [(names, tuple(getattr(facts, name) for name in names)) for names in HELD_OUT]
    return [(names, combination) for names, combination in values if None not in combination]


def _look(facts: Facts) -> _Group:
    return groups(facts)[-1]


def _forms(split: str) -> list[str]:
    """Videos first, as _draw expects."""
    return [form for form, count in FORMS_OF[split].items() for _ in range(count)]


def _draw(split: str, generator: np.random.Generator) -> list[Facts]:
    """Facts of one split's clips: videos first, then images, every value about equally often."""
    count = len(_forms(split))
    videos = FORMS_OF[split]["mp4"] + FORMS_OF[split]["webm"]
    motions, sounds, faces = _scarce(split, videos, generator)
    looks = zip(*(_deck(values, count, generator) for values in (SHAPES, COLOURS, TEXTURES, BACKGROUNDS)))
    images = [None] * (count - videos)
    rows = zip(looks, [*motions, *images], [*sounds, *images], faces, strict=True)
    return [
        _made_visible(
            Facts(
                shape=shape,
                colour=colour,
                texture=texture,
                background=background,
                motion=motion,
                sound=sound,
                face=face,
            ),
            generator,
        )
        for (shape, colour, texture, background), motion, sound, face in rows
    ]


def _scarce(
    split: str, videos: int, generator: np.random.Generator
) -> tuple[list[str], list[str | None], list[Face | None]]:
    """Motions and sounds of a split's videos, and faces of all its clips."""
    count, heard, seen = len(_forms(split)), WITH_SOUND[split], WITH_FACE[split]
    if split != "test":
        motions = _deck(MOTIONS, videos, generator)
        sounds = _shuffled([*_deck(SOUNDS, heard, generator), *[None] * (videos - heard)], generator)
        faces = _shuffled([*_deck(_FACES, seen, generator), *[None] * (count - seen)], generator)
        return motions, sounds, faces
    lone_motions, often_motions = _once(MOTIONS[:-1], ONLY_ONCE, generator)
    lone_sounds, often_sounds = _once(SOUNDS, ONLY_ONCE, generator)
    lone_faces, often_faces = _once(_FACES, FACES_ONLY_ONCE, generator)
    rest = videos - 2 * ONLY_ONCE
    common_motions = _deck((*often_motions, MOTIONS[-1]), ONLY_ONCE + rest, generator)
    common_sounds = _shuffled(
        [*_deck(often_sounds, heard - ONLY_ONCE, generator), *[None] * (ONLY_ONCE + rest - (heard - ONLY_ONCE))],
        generator,
    )
    common_faces = _shuffled(
        [*_deck(often_faces, seen - FACES_ONLY_ONCE, generator), *[None] * (count - seen)], generator
    )
    return (  # clips with a lone motion, clips with a lone sound, clips with a lone face, the others
        [*lone_motions, *common_motions],
        [*common_sounds[:ONLY_ONCE], *lone_sounds, *common_sounds[ONLY_ONCE:]],
        [*common_faces[: 2 * ONLY_ONCE], *lone_faces, *common_faces[2 * ONLY_ONCE :]],
    )


def _once(
    values: Sequence[_Value], count: int, generator: np.random.Generator
) -> tuple[list[_Value], list[_Value]]:
    mixed = _shuffled(values, generator)
    return mixed[:count], mixed[count:]


def _deck(values: Sequence[_Value], count: int, generator: np.random.Generator) -> list[_Value]:
    """``count`` values, each as often as the others, shuffled."""
    mixed = _shuffled(values, generator)
    return _shuffled([mixed[i % len(mixed)] for i in range(count)], generator)


def _shuffled(values: Iterable[_Value], generator: np.random.Generator) -> list[_Value]:
    listed = list(values)
    return [listed[i] for i in generator.permutation(len(listed))]


def _made_visible(facts: Facts, generator: np.random.Generator) -> Facts:
    while not facts.visible:
        facts = replace(facts, texture=_pick(TEXTURES, generator), background=_pick(BACKGROUNDS, generator))
    return facts


def _kept_apart(rows: list[Facts], taken: set[_Group], generator: np.random.Generator) -> list[Facts]:
    """Exchange sounds between clips, and draw objects again, until no group is a training clip's."""

    def sound_taken(facts: Facts) -> bool:
        return (HELD_OUT[0], (facts.motion, facts.sound)) in taken

    rows = list(rows)
    often = Counter(facts.sound for facts in rows)
    while wrong := [i for i, facts in enumerate(rows) if sound_taken(facts)]:
        i, j = wrong[0], int(generator.integers(len(rows)))
        lone = [often[rows[k].sound] == 1 for k in (i, j)]
        if rows[j].motion is None or lone[0] != lone[1]:  # a lone sound stays off the clips of lone motions
            continue
        one, other = replace(rows[i], sound=rows[j].sound), replace(rows[j], sound=rows[i].sound)
        if sound_taken(one) + sound_taken(other) <= 1 + sound_taken(rows[j]):  # wander until all fit
            rows[i], rows[j] = one, other
    for i, facts in enumerate(rows):
        while not facts.visible or not taken.isdisjoint(groups(facts)):
            facts = replace(
                facts,
                shape=_pick(SHAPES, generator),
                colour=_pick(COLOURS, generator),
                background=_pick(BACKGROUNDS, generator),
            )
        rows[i] = facts
        taken = taken | {_look(facts)}  # an image must not look like another clip of its gallery
    return rows


def _pick(values: Sequence[_Value], generator: np.random.Generator) -> _Value:
    return values[int(generator.integers(len(values)))]
