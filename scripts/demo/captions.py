"""Captions of the demo's clips: which facts each one tells, and that it tells the truth.

    a caption is true of a clip  <=>  for every claim, the clip's value is one of the claimed values

Captions are uneven on purpose: many speak of one modality only. A test caption is true of exactly one
clip of the test gallery; if it speaks of several modalities, none of them alone would tell which.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from scripts.demo.facts import ASPECTS, NONE, DemoClip, Facts
from scripts.demo.words import MOTION_PHRASES, SOUND_PHRASES, Claims, say

CAPTIONS_OF = {"train": 24, "val": 4, "test": 1}
SINGLE_FACE, SINGLE_OBJECT = 6, 6  # test captions about the face alone, about the object alone
SAYS_SILENT = 0.12  # share of the captions of a clip without sound that say so, in training
TRIES = 4000
NOTICED = {"colour": 4, "background": 3, "shape": 2}  # how readily it is told, against 1 for other looks
PHRASES = {"motion": ("motion", MOTION_PHRASES), "audio": ("sound", SOUND_PHRASES)}


@dataclass(frozen=True, kw_only=True)
class Caption:
    """One sentence about one clip."""

    video_id: str
    split: str
    text: str
    claims: Claims

    @property
    def speaks_of(self) -> tuple[str, ...]:
        """The modalities that this caption tells something of."""
        return tuple(name for name, facts in ASPECTS.items() if self.claims.keys() & set(facts))


def is_true(claims: Claims, facts: Facts) -> bool:
    """Whether every claim holds of a clip."""
    values = facts.values()
    return all(values.get(fact) in allowed for fact, allowed in claims.items())


def make_captions(clips: Sequence[DemoClip], seed: int) -> list[Caption]:
    """Caption all clips; the same for the same clips and seed."""
    generator = np.random.default_rng([seed, 3])
    told = [caption for clip in clips if clip.split == "train" for caption in _told(clip, generator)]
    known = {word for caption in told for word in caption.text.split()}
    for clip in clips:
        if clip.split == "val":
            told += _told(clip, generator)
    gallery = [clip for clip in clips if clip.split == "test"]
    for clip, claims in zip(gallery, _telling_claims([clip.facts for clip in gallery], generator), strict=True):
        told.append(_in_known_words(clip, claims, known, generator))
    return told


def _told(clip: DemoClip, generator: np.random.Generator) -> Iterator[Caption]:
    """Different captions of one training or validation clip."""
    seen: set[str] = set()
    modalities = clip.facts.modalities
    singles = [(name,) for name in modalities]
    while len(seen) < CAPTIONS_OF[clip.split]:
        size = int(generator.choice([1, 2, 3, 4], p=[0.3, 0.3, 0.25, 0.15]))
        if len(seen) < len(singles):  # each modality is spoken of alone at least once
            chosen: tuple[str, ...] = singles[len(seen)]
        else:
            chosen = tuple(modalities[i] for i in generator.permutation(len(modalities))[:size])
        claims = _claims(clip.facts, chosen, generator, rough=0.2)
        if clip.split == "train" and clip.facts.sound is None and generator.random() < SAYS_SILENT:
            claims["sound"] = frozenset({NONE})
        text = say(claims, generator)
        if text not in seen:
            seen.add(text)
            yield Caption(video_id=clip.name, split=clip.split, text=text, claims=claims)


def _claims(
    facts: Facts, modalities: Sequence[str], generator: np.random.Generator, *, rough: float
) -> dict[str, frozenset[str]]:
    """Some claims about each of these modalities, all true; ``rough`` is how often speed or pitch is left out."""
    values = facts.values()
    claims: dict[str, frozenset[str]] = {}
    for modality in modalities:
        if modality in PHRASES:
            fact, phrases = PHRASES[modality]
            fitting = (said for said in phrases if values[fact] in said)
            exact, *vague = sorted(fitting, key=lambda said: (len(said), sorted(said)))
            use_vague = bool(vague) and generator.random() < rough
            claims[fact] = vague[int(generator.integers(len(vague)))] if use_vague else exact
        else:
            named = [fact for fact in ASPECTS[modality] if fact in values]
            weights = np.array([NOTICED.get(fact, 1) for fact in named], float)
            count = int(generator.integers(1, len(named) + 1))
            for i in generator.choice(len(named), count, replace=False, p=weights / weights.sum()):
                claims[named[i]] = frozenset({values[named[i]]})
    return claims


def _telling_claims(gallery: Sequence[Facts], generator: np.random.Generator) -> list[Claims]:
    """For each clip of the test gallery, claims that are true of it alone."""
    motions, sounds = Counter(f.motion for f in gallery), Counter(f.sound for f in gallery)
    single = Counter[str]()
    result: list[Claims] = []
    for facts in gallery:
        wanted: list[tuple[str, ...]] = []
        if motions[facts.motion] == 1:
            wanted.append(("motion",))
        if sounds[facts.sound] == 1:
            wanted.append(("audio",))
        wanted.sort(key=lambda chosen: single[chosen[0]])
        if "face" in facts.modalities and single["face"] < SINGLE_FACE:
            wanted.append(("face",))
        if "face" not in facts.modalities and (facts.motion is None or single["appearance"] < SINGLE_OBJECT):
            wanted.append(("appearance",))
        wanted += [(), ("appearance",)]  # (): two modalities or more
        chosen, claims = _first(wanted, facts, gallery, generator)
        single.update(chosen)
        result.append(claims)
    return result


def _first(
    wanted: Sequence[tuple[str, ...]],
    facts: Facts,
    gallery: Sequence[Facts],
    generator: np.random.Generator,
) -> tuple[tuple[str, ...], Claims]:
    """The first of the wanted choices of modalities for which telling claims are found."""
    modalities = facts.modalities
    for chosen in wanted:
        for _ in range(TRIES):
            size = int(generator.integers(2, len(modalities) + 1)) if len(modalities) > 1 else 1
            spoken = chosen or tuple(modalities[i] for i in generator.permutation(len(modalities))[:size])
            claims = _claims(facts, spoken, generator, rough=0.0 if chosen else 0.3)
            parts = [_of(claims, modality) for modality in spoken]
            if _fits_one(claims, gallery) and (
                len(parts) == 1 or not any(_fits_one(part, gallery) for part in parts)
            ):
                return chosen, claims
    raise RuntimeError(f"no caption tells this clip from the others: {facts}")


def _of(claims: Claims, modality: str) -> Claims:
    return {fact: claims[fact] for fact in ASPECTS[modality] if fact in claims}


def _fits_one(claims: Claims, gallery: Sequence[Facts]) -> bool:
    return sum(is_true(claims, facts) for facts in gallery) == 1


def _in_known_words(clip: DemoClip, claims: Claims, known: set[str], generator: np.random.Generator) -> Caption:
    for _ in range(TRIES):
        text = say(claims, generator)
        if known.issuperset(text.split()):
            return Caption(video_id=clip.name, split=clip.split, text=text, claims=claims)
    raise RuntimeError(f"{clip.name}: training captions lack the words for {dict(claims)}")
