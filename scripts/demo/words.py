"""Captions of the demo's clips: what each one claims, and how it is said in English.

    a claim names a fact and some words of its value: {"colour": "red", "motion": "left"} is true of a
    red object that goes to the left, slowly or fast

Captions are uneven on purpose: many are about one stream only. A test caption is true of exactly one clip of the
test gallery; if it is about several streams, none of them alone identifies the clip.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from scripts.demo.world import SHOWN_BY, DemoClip, Facts

Claims = Mapping[str, str]

CAPTIONS_OF = {"train": 24, "val": 4, "test": 2}
SINGLE = {"motion": 24, "audio": 24, "face": 12, "appearance": 12}  # about how many test captions name it alone
SEVERAL = "several"  # streams
TRIES = 1000
NOTICED = {"colour": 4, "background": 3, "shape": 2}  # how often it is mentioned, against 1 for other details

# What is said of a value, or of a part of it. (a|b): one of the two.
_WAYS = {"left": "(to the left|leftwards)", "right": "(to the right|rightwards)"}
_WAYS |= {"up": "(up|upwards)", "down": "(down|downwards)"}
_SPEEDS = {"slow": "(goes|drifts) (slowly|gently)", "fast": "(goes|races) (quickly|fast)"}
_PITCHES = {"low": "(low|deep)", "high": "(high|shrill)"}
_RATES = {"slow": "(slow|unhurried)", "fast": "(fast|quick)"}
_BEATS = {"drum": "(drum beats|drumming)", "clicks": "(clicks|clicking)"}
PHRASES = {
    **{way: f"(moves|goes|travels) {where}" for way, where in _WAYS.items()},
    **{f"{way} {speed}": f"{goes} {_WAYS[way]}" for way in _WAYS for speed, goes in _SPEEDS.items()},
    **{f"spin {turn}": f"(spins|rotates|turns) {turn}" for turn in ("clockwise", "anticlockwise")},
    **{f"circle {turn}": f"(circles|travels in a circle) {turn}" for turn in ("clockwise", "anticlockwise")},
    **{f"beeps {pitch}": f"{tone} beeps" for pitch, tone in _PITCHES.items()},
    **{f"beeps {rate}": f"{say} beeps" for rate, say in _RATES.items()},
    **{f"beeps {p} {r}": f"{_RATES[r]} {_PITCHES[p]} beeps" for p in _PITCHES for r in _RATES},
    **_BEATS,
    **{f"{kind} {rate}": f"{say} {_BEATS[kind]}" for kind in _BEATS for rate, say in _RATES.items()},
}
PHRASES |= {"spin": "(spins|rotates) on the spot", "circle": "(goes round|travels) in a circle"}
PHRASES |= {"grow": "(grows|gets bigger|comes closer)", "shrink": "(shrinks|gets smaller|goes away from us)"}
PHRASES |= {"bounce": "(bounces|hops|jumps up and down)", "shake": "(shakes|trembles|shivers)"}
PHRASES |= {"swing": "(sways|swings from side to side|swings to and fro)"}
PHRASES |= {"tone low": "a ((low|deep) tone|deep hum)", "tone high": "a ((high|shrill) tone|high note)"}
PHRASES |= {"whistle rising": "(a rising (whistle|sound)|a whistle that gets higher)"}
PHRASES |= {"whistle falling": "(a falling (whistle|sound)|a whistle that gets lower)"}
PHRASES |= {"siren": "(a (|wailing )siren|an alarm)", "bell": "a (bell|ringing bell|bell that rings)"}
PHRASES |= {"hiss": "(a hiss|a hissing noise|white noise)", "rumble": "(a rumble|a rumbling noise|thunder)"}
PHRASES |= {"square": "(square|box)", "ring": "(ring|hoop)", "turquoise": "(turquoise|cyan)"}
PHRASES |= {"purple": "(purple|violet)", "striped": "(striped|stripy)", "checked": "(checked|checkered)"}
PHRASES |= {"white": "on (a white background|white)", "grey": "on (a grey background|grey)"}
PHRASES |= {"black": "(on a black background|in the dark)", "grass": "on (grass|a lawn)"}
PHRASES |= {"brick": "(in front of a brick wall|on bricks)", "wood": "on (a wooden table|wood)"}
_VAGUER = {value: [said for said in PHRASES if set(said.split()) < set(value.split())] for value in PHRASES}
_WORN = {"glasses": "(glasses|spectacles)", "hat": "a (hat|cap)"}


@dataclass(frozen=True, kw_only=True)
class Caption:
    """One sentence about one clip."""

    video_id: str
    split: str
    text: str
    claims: Claims

    @property
    def speaks_of(self) -> tuple[str, ...]:
        """The streams that this caption says something about."""
        return tuple(name for name, facts in SHOWN_BY.items() if self.claims.keys() & set(facts))


def is_true(claims: Claims, facts: Facts) -> bool:
    """Whether every claim holds of a clip."""
    return all(fact in facts and set(claim.split()) <= set(facts[fact].split()) for fact, claim in claims.items())


def make_captions(clips: Sequence[DemoClip], seed: int) -> list[Caption]:
    """Caption all clips; the same for the same clips and seed."""
    generator = np.random.default_rng([seed, 3])
    gallery = [clip for clip in clips if clip.split == "test"]
    telling = _telling_claims(gallery, generator)
    captions = []
    for clip in clips:
        texts: dict[str, Claims] = {}
        for claims in next(telling) if clip.split == "test" else _any_claims(clip, generator):
            texts.setdefault(say(claims, generator), claims)
            if len(texts) == CAPTIONS_OF[clip.split]:
                break
        for text, claims in texts.items():
            captions.append(Caption(video_id=clip.name, split=clip.split, text=text, claims=claims))
    return captions


def _any_claims(clip: DemoClip, generator: np.random.Generator) -> Iterator[Claims]:
    """Claims of a training or validation clip without end: first about each stream alone, then about several."""
    for name in clip.streams:
        yield _claims(clip.facts, (name,), 0.2, generator)
    while True:
        size = int(generator.choice([1, 2, 3, 4], p=[0.3, 0.3, 0.25, 0.15]))
        yield _claims(clip.facts, generator.permutation(clip.streams)[:size].tolist(), 0.2, generator)


def _claims(facts: Facts, streams: Sequence[str], vague: float, generator: np.random.Generator) -> dict[str, str]:
    """True claims about each of these streams; ``vague`` is how often speed, pitch or turn is left out."""
    claims: dict[str, str] = {}
    for stream in streams:
        named = [fact for fact in SHOWN_BY[stream] if fact in facts]
        if len(named) == 1:
            exact = facts[named[0]]
            choices = (_VAGUER[exact] if generator.random() < vague else []) or [exact]
            claims[named[0]] = choices[int(generator.integers(len(choices)))]
        else:
            weights = np.array([NOTICED.get(fact, 1) for fact in named], float)
            count = int(generator.integers(1, len(named) + 1))
            chosen = generator.choice(named, count, replace=False, p=weights / weights.sum())
            claims |= {str(fact): facts[fact] for fact in chosen}
    return claims


def _telling_claims(gallery: Sequence[DemoClip], generator: np.random.Generator) -> Iterator[Iterator[Claims]]:
    """For each test clip claims without end that identify it: about one stream where one suffices, or several."""
    remaining = Counter(SINGLE)

    def claims_of(clip: DemoClip) -> Iterator[Claims]:
        while True:
            left = (name for name in clip.streams if remaining[name] > 0)
            singles = sorted(left, key=lambda name: -remaining[name])
            stream, claims = _first([*singles, SEVERAL, "appearance"], clip, gallery, generator)
            remaining[stream] -= 1
            yield claims

    return map(claims_of, gallery)


def _first(
    wanted: Sequence[str], clip: DemoClip, gallery: Sequence[DemoClip], generator: np.random.Generator
) -> tuple[str, Claims]:
    """The first wanted stream about which claims identify the clip; of SEVERAL, none must do so alone."""

    def identifies(claims: Claims, streams: Sequence[str]) -> bool:
        part = {fact: claim for name in streams for fact in SHOWN_BY[name] if (claim := claims.get(fact))}
        return sum(is_true(part, other.facts) for other in gallery) == 1

    for stream in wanted:
        for _ in range(TRIES if stream == SEVERAL or identifies(clip.facts, [stream]) else 0):
            size = int(generator.integers(2, max(len(clip.streams), 2) + 1))
            streams = generator.permutation(clip.streams)[:size].tolist() if stream == SEVERAL else [stream]
            claims = _claims(clip.facts, streams, 0.3 if stream == SEVERAL else 0.0, generator)
            parts = streams if len(streams) > 1 else ()
            if identifies(claims, streams) and not any(identifies(claims, [part]) for part in parts):
                return stream, claims
    raise RuntimeError(f"no caption identifies this clip: {clip.facts}")


def say(claims: Claims, generator: np.random.Generator) -> str:
    """Make one of the many sentences that claim just this."""
    said = {fact: PHRASES.get(claim, claim) for fact, claim in claims.items()}
    moves, sound = said.get("motion", ""), said.get("sound", "")
    scene = ""
    if claims.keys() & set(SHOWN_BY["appearance"]):
        noun = said.get("shape", "(object|shape)")
        scene = " ".join(["a", *(said[fact] for fact in ("texture", "colour") if fact in said), noun])
        scene += f" {said['background']}" if "background" in said else ""
    if moves:
        scene = f"{scene or '(something|an object)'} {moves}"
    if claims.keys() & set(SHOWN_BY["face"]):
        person, meanwhile = _person(claims), "while" if moves else "and"
        scene = f"({scene} (next to|beside) {person}|{person} {meanwhile} {scene})" if scene else person
    if not sound:
        pattern = scene if moves else f"(|we see |there is |this is ){scene}"
    elif not scene:
        pattern = f"(|we hear |listen to |the sound of ){sound}"
    else:
        pattern = f"({scene} (while we hear|to the sound of|with) {sound}|{sound} and {scene})"

    def one_of(match: re.Match[str]) -> str:
        choices = match[1].split("|")
        return choices[int(generator.integers(len(choices)))]

    while "(" in pattern:  # innermost first
        pattern = re.sub(r"\(([^()]*)\)", one_of, pattern)
    return re.sub(r"\ba(?= [aeiou])", "an", pattern)


def _person(claims: Claims) -> str:
    """Such as "a clean-shaven person with a hat and without glasses"."""
    beard = claims.get("beard")
    worn = [phrase for fact, phrase in _WORN.items() if claims.get(fact) == "yes"]
    worn += [f"a {beard}"] if beard in ("beard", "moustache") else []
    bare = [phrase for fact, phrase in _WORN.items() if claims.get(fact) == "no"]
    parts = [f"with {' and '.join(worn)}"] if worn else []
    parts += [f"without {' or '.join(bare)}"] if bare else []
    return f"a {'clean-shaven ' if beard == 'shaven' else ''}(person|face) {' and '.join(parts)}".strip()
