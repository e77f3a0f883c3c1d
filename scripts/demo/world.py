"""What the demo's clips show: make_clips(seed).

    clip = object (shape x colour x texture, on a background) x motion x sound x face

Each fact is drawn independently of the others, so no expert can predict another one. A held-out (val or
test) clip shares none of the combinations HELD_OUT with a training clip, while every single value is frequent in
training. In the test gallery some motions, sounds and faces occur only once, and can identify a clip alone.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

VALUES = {
    "shape": ("square", "triangle", "star", "heart", "ring"),
    "colour": ("red", "yellow", "green", "turquoise", "blue", "purple", "pink"),
    "texture": ("plain", "striped", "checked"),
    "background": ("white", "grey", "black", "grass", "brick", "wood"),
    "motion": (
        *(f"{way} {speed}" for way in ("left", "right", "up", "down") for speed in ("slow", "fast")),
        *(f"{kind} {turn}" for kind in ("spin", "circle") for turn in ("clockwise", "anticlockwise")),
        *("grow", "shrink", "bounce", "shake", "swing"),
    ),
    "sound": (
        *(f"beeps {pitch} {rate}" for pitch in ("low", "high") for rate in ("slow", "fast")),
        *(f"{kind} {rate}" for kind in ("drum", "clicks") for rate in ("slow", "fast")),
        *("tone low", "tone high", "whistle rising", "whistle falling", "siren", "bell", "hiss", "rumble"),
    ),
    "face": ("yes",),
    "glasses": ("no", "yes"),
    "beard": ("shaven", "moustache", "beard"),
    "hat": ("no", "yes"),
}
# Which stream shows which facts; "face" is the fact that there is a person.
SHOWN_BY = {
    "appearance": ("shape", "colour", "texture", "background"),
    "motion": ("motion",),
    "audio": ("sound",),
    "face": ("face", "glasses", "beard", "hat"),
}
STILL_FORMS = ("png", "jpg", "webp")
SPLITS = {"train": (162, 12), "val": (16, 2), "test": (55, 7)}  # videos and still images
ONCE = {"motion": 11, "sound": 11, "face": 6}  # how many values one test clip alone has
LOOK = ("shape", "colour", "background")
HELD_OUT = (("motion", "sound"), ("shape", "colour", "motion"), ("shape", "colour", "sound"), LOOK)
_HARD_TO_SEE = ({"green", "grass"}, {"red", "brick"}, {"yellow", "wood"})

Facts = Mapping[str, str]  # fact -> value; what the file does not show is not in it
Combination = tuple[tuple[str, str], ...]
_Value = TypeVar("_Value")


@dataclass(frozen=True, kw_only=True)
class DemoClip:
    """One file of the world."""

    name: str  # of the file, which is its video id
    split: str  # train, val or test
    facts: Facts
    seed: int  # of what no caption describes: exact hue, place, pitch ...

    @property
    def form(self) -> str:
        """The file's extension."""
        return self.name.rpartition(".")[2]

    @property
    def streams(self) -> tuple[str, ...]:
        """The streams that the file has."""
        return tuple(name for name, shown in SHOWN_BY.items() if shown[0] in self.facts)


def make_clips(seed: int) -> list[DemoClip]:
    """All clips, training first; the same for the same seed."""
    generator = np.random.default_rng([seed, 1])
    clips: list[DemoClip] = []
    trained: set[Combination] = set()
    for split, (videos, stills) in SPLITS.items():
        rows = _draw(videos, stills, ONCE if split == "test" else {}, generator)
        _settle(rows, set(trained), generator)
        if split == "train":
            trained = {combination for row in rows for combination in combinations(row)}
        for i, facts in enumerate(rows):
            form = STILL_FORMS[i % 3] if i >= videos else "webm" if i % 6 == 5 else "mp4"
            name, own = f"clip_{len(clips) + 1:04d}.{form}", seed * 10_000 + len(clips) + 1
            clips.append(DemoClip(name=name, split=split, facts=facts, seed=own))
    return clips


def combinations(facts: Facts) -> list[Combination]:
    """The combinations HELD_OUT of a clip; it has none with what it does not show."""
    shown = (names for names in HELD_OUT if facts.keys() >= set(names))
    return [tuple((name, facts[name]) for name in names) for names in shown]


def is_visible(facts: Facts) -> bool:
    """Whether the object stands out from its background, and its turning can be seen."""
    alike = facts["shape"] == "ring" and facts["texture"] == "plain" and facts.get("motion", "").startswith("spin")
    return not alike and {facts["colour"], facts["background"]} not in _HARD_TO_SEE


def _draw(
    videos: int, stills: int, once: Mapping[str, int], generator: np.random.Generator
) -> list[dict[str, str]]:
    """Facts of one split's clips, videos first: two videos in three have sound, half of the files a face."""
    count = videos + stills
    rows: list[dict[str, str]] = [{} for _ in range(count)]

    def deal(some: Sequence[dict[str, str]], names: Sequence[str]) -> None:
        values = list(itertools.product(*(VALUES[name] for name in names)))
        for row, value in zip(some, _deck(values, len(some), once.get(names[0], 0), generator)):
            row |= dict(zip(names, value))

    for name in SHOWN_BY["appearance"]:
        deal(rows, [name])
    deal(rows[:videos], ["motion"])
    deal(_mixed(rows[:videos], generator)[: round(videos * 2 / 3)], ["sound"])
    deal(_mixed(rows, generator)[: count // 2], SHOWN_BY["face"])
    return rows


def _deck(values: Sequence[_Value], count: int, once: int, generator: np.random.Generator) -> list[_Value]:
    """``count`` values, ``once`` of them a single time and the others equally often, shuffled."""
    mixed = _mixed(values, generator)
    rest = itertools.cycle(mixed[once:])
    return _mixed([*mixed[:once], *itertools.islice(rest, max(count - once, 0))][:count], generator)


def _pick(values: Sequence[_Value], generator: np.random.Generator) -> _Value:
    return values[int(generator.integers(len(values)))]


def _mixed(values: Sequence[_Value], generator: np.random.Generator) -> list[_Value]:
    return [values[i] for i in generator.permutation(len(values))]


def _settle(rows: list[dict[str, str]], taken: set[Combination], generator: np.random.Generator) -> None:
    """Exchange sounds, then redraw objects, until each is visible and no clip has a combination that is taken."""
    with_sound = [row for row in rows if "sound" in row]

    def wrong() -> list[dict[str, str]]:
        return [row for row in with_sound if combinations(row)[0] in taken]

    while bad := wrong():
        one, other = _pick(bad, generator), _pick(with_sound, generator)
        one["sound"], other["sound"] = other["sound"], one["sound"]
        if len(wrong()) > len(bad):
            one["sound"], other["sound"] = other["sound"], one["sound"]
    for row in rows:
        while not (is_visible(row) and taken.isdisjoint(combinations(row))):
            row |= {name: _pick(VALUES[name], generator) for name in LOOK}
        if taken:  # held out: a still image must not look like another clip of its gallery
            taken.add(combinations(row)[-1])
