"""How facts are said in English: say(claims, generator) -> one sentence.

A claim names a fact and the values that would make the sentence true, such as
``{"colour": {"red"}, "motion": {"left slow", "left fast"}}``: "something red moves to the left".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import final

import numpy as np

from scripts.demo.facts import NONE

Claims = Mapping[str, frozenset[str]]

_WAYS = {
    "left": ("to the left", "leftwards"),
    "right": ("to the right", "rightwards"),
    "up": ("up", "upwards"),
    "down": ("down", "downwards"),
}
_SPEEDS = {"slow": ("slowly", "gently"), "fast": ("quickly", "fast")}
_BEATS = {"drum": ("drum beats", "drumming"), "clicks": ("clicks", "clicking")}
_PITCHES = {"low": ("low", "deep"), "high": ("high", "shrill")}
_RATES = {"slow": ("slow", "unhurried"), "fast": ("fast", "quick")}


def _motion_phrases() -> dict[frozenset[str], tuple[str, ...]]:
    """Set of motions -> verb phrases that are true of each of them."""
    phrases: dict[frozenset[str], tuple[str, ...]] = {
        frozenset({"spin clockwise", "spin anticlockwise"}): ("spins on the spot", "rotates on the spot"),
        frozenset({"circle clockwise", "circle anticlockwise"}): (
            "goes round in a circle",
            "travels in a circle",
        ),
        frozenset({"grow"}): ("grows", "gets bigger", "comes closer"),
        frozenset({"shrink"}): ("shrinks", "gets smaller", "goes away from us"),
        frozenset({"bounce"}): ("bounces", "hops", "jumps up and down"),
        frozenset({"shake"}): ("shakes", "trembles", "shivers"),
        frozenset({"swing"}): ("swings from side to side", "sways", "swings to and fro"),
        frozenset({"still"}): ("stands still", "does not move", "stays where it is"),
    }
    for way, says in _WAYS.items():
        phrases[frozenset({f"{way} slow", f"{way} fast"})] = tuple(
            f"{verb} {say}" for verb in ("moves", "goes", "travels") for say in says
        )
        for speed, adverbs in _SPEEDS.items():
            phrases[frozenset({f"{way} {speed}"})] = tuple(
                phrase
                for verb in ("moves", "goes", "drifts" if speed == "slow" else "races")
                for say in says
                for adverb in adverbs
                for phrase in (f"{verb} {adverb} {say}", f"{verb} {say} {adverb}")
            )
    for turn in ("clockwise", "anticlockwise"):
        phrases[frozenset({f"spin {turn}"})] = (f"spins {turn}", f"rotates {turn}", f"turns {turn}")
        phrases[frozenset({f"circle {turn}"})] = (
            f"goes round in a {turn} circle",
            f"circles {turn}",
            f"travels {turn} in a circle",
        )
    return phrases


def _sound_phrases() -> dict[frozenset[str], tuple[str, ...]]:
    """Set of sounds -> noun phrases that are true of each of them."""
    phrases: dict[frozenset[str], tuple[str, ...]] = {
        frozenset({"tone low"}): ("a low tone", "a deep tone", "a deep hum"),
        frozenset({"tone high"}): ("a high tone", "a shrill tone", "a high note"),
        frozenset({"whistle rising"}): ("a rising whistle", "a whistle that gets higher", "a rising sound"),
        frozenset({"whistle falling"}): ("a falling whistle", "a whistle that gets lower", "a falling sound"),
        frozenset({"siren"}): ("a siren", "a wailing siren", "an alarm"),
        frozenset({"bell"}): ("a bell", "a ringing bell", "a bell that rings"),
        frozenset({"hiss"}): ("a hiss", "a hissing noise", "white noise"),
        frozenset({"rumble"}): ("a rumble", "a rumbling noise", "thunder"),
    }
    for kind, names in _BEATS.items():
        phrases[frozenset({f"{kind} slow", f"{kind} fast"})] = names
    for pitch, tones in _PITCHES.items():
        phrases[frozenset({f"beeps {pitch} slow", f"beeps {pitch} fast"})] = tuple(f"{t} beeps" for t in tones)
    for rate, says in _RATES.items():
        phrases[frozenset({f"beeps low {rate}", f"beeps high {rate}"})] = tuple(f"{say} beeps" for say in says)
        for kind, names in _BEATS.items():
            phrases[frozenset({f"{kind} {rate}"})] = tuple(f"{say} {name}" for say in says for name in names)
        for pitch, tones in _PITCHES.items():
            phrases[frozenset({f"beeps {pitch} {rate}"})] = tuple(
                phrase
                for say in says
                for tone in tones
                for phrase in (f"{say} {tone} beeps", f"{tone} beeps that are {say}")
            )
    return phrases


MOTION_PHRASES = _motion_phrases()
SOUND_PHRASES = _sound_phrases()

_SHAPES = {
    "square": ("square", "box"),
    "triangle": ("triangle",),
    "star": ("star",),
    "heart": ("heart",),
    "ring": ("ring", "hoop"),
}
_COLOURS = {"purple": ("purple", "violet"), "turquoise": ("turquoise", "cyan"), "pink": ("pink",)}
_TEXTURES = {
    "plain": ("plain",),
    "striped": ("striped", "stripy"),
    "checked": ("checked", "checkered"),
}
_BACKGROUNDS = {
    "white": ("on a white background", "on white"),
    "grey": ("on a grey background", "on grey"),
    "black": ("on a black background", "in the dark"),
    "grass": ("on grass", "on a lawn"),
    "brick": ("in front of a brick wall", "on bricks"),
    "wood": ("on a wooden table", "on wood"),
}

_TEMPLATES: dict[str, tuple[str, ...]] = {
    "O": ("{O}", "there is {O}", "we see {O}", "this is {O}"),
    "M": ("something {M}", "an object {M}", "it {M}", "the object {M}", "we see something that {M}"),
    "S": ("{S}", "we hear {S}", "you hear {S}", "the sound of {S}", "{S} can be heard", "listen to {S}"),
    "F": ("{F}", "we see {F}", "there is {F}", "{F} looks at us", "this is {F}"),
    "OM": ("{O} {M}", "we see {O} that {M}", "{O} that {M}"),
    "OS": ("{O} and {S}", "{O} with {S}", "we see {O} and hear {S}", "{S} and {O}"),
    "OF": ("{O} next to {F}", "{F} beside {O}", "{F} and {O}", "we see {O} and {F}"),
    "MS": ("something {M} while we hear {S}", "an object {M} to {S}", "{S} while something {M}"),
    "MF": ("something {M} next to {F}", "{F} and something that {M}", "{F} while an object {M}"),
    "SF": ("{F} and {S}", "{F} while you hear {S}", "we see {F} and hear {S}", "{S} and {F}"),
    "OMS": ("{O} {M} while we hear {S}", "{O} {M} to {S}", "{S} can be heard while {O} {M}"),
    "OMF": ("{O} {M} next to {F}", "{F} while {O} {M}", "{F} beside {O} that {M}"),
    "OSF": ("{O} next to {F} while you hear {S}", "{F} and {O} with {S}", "{S} while we see {F} and {O}"),
    "MSF": ("something {M} next to {F} while we hear {S}", "{F} and {S} while something {M}"),
    "OMSF": ("{O} {M} next to {F} while we hear {S}", "{F} beside {O} that {M} to {S}"),
}
_SILENCES = ("without any sound", "in silence", "without a sound")


def say(claims: Claims, generator: np.random.Generator) -> str:
    """Make one of the many sentences that claim just this."""
    words = _Words(generator)
    silent = claims.get("sound") == frozenset({NONE})
    parts: dict[str, str] = {}
    if claims.keys() & {"shape", "colour", "texture", "background"}:
        parts["O"] = words.thing(claims)
    if "motion" in claims:
        parts["M"] = words.pick(MOTION_PHRASES[claims["motion"]])
    if "sound" in claims and not silent:
        parts["S"] = words.pick(SOUND_PHRASES[claims["sound"]])
    if claims.keys() & {"face", "glasses", "beard", "hat"}:
        parts["F"] = words.person(claims)
    sentence = words.pick(_TEMPLATES["".join(parts)]).format(**parts)
    return f"{sentence} {words.pick(_SILENCES)}" if silent else sentence


@final
class _Words:
    """Noun phrases for the object and for the person."""

    def __init__(self, generator: np.random.Generator) -> None:
        self._generator = generator

    def pick(self, choices: Sequence[str]) -> str:
        return choices[int(self._generator.integers(len(choices)))]

    def _of(self, claims: Claims, fact: str, table: Mapping[str, Sequence[str]]) -> str:
        """A word for the one value claimed, or nothing."""
        if fact not in claims:
            return ""
        (value,) = claims[fact]
        return self.pick(table.get(value, (value,)))

    def thing(self, claims: Claims) -> str:
        """A noun phrase such as "a striped red star on grass"."""
        looks = [self._of(claims, "texture", _TEXTURES), self._of(claims, "colour", _COLOURS)]
        shape = self._of(claims, "shape", _SHAPES)
        if not shape and any(looks) and self._generator.random() < 0.5:
            phrase = "something " + _listed([each for each in looks if each])
        else:
            phrase = _with_article(
                " ".join(each for each in (*looks, shape or self.pick(("object", "shape"))) if each)
            )
        return f"{phrase} {self._of(claims, 'background', _BACKGROUNDS)}".strip()

    def person(self, claims: Claims) -> str:
        """A noun phrase such as "a clean-shaven person with a hat and without glasses"."""
        shaven = "clean-shaven" if claims.get("beard") == frozenset({"shaven"}) else ""
        phrase = _with_article(f"{shaven} {self.pick(('person', 'face'))}".strip())
        names = {"glasses": self.pick(("glasses", "spectacles")), "hat": self.pick(("a hat", "a cap"))}
        worn = [names[fact] for fact in names if claims.get(fact) == frozenset({"yes"})]
        bare = [names[fact] for fact in names if claims.get(fact) == frozenset({"no"})]
        worn += [f"a {hair}" for hair in ("beard", "moustache") if claims.get("beard") == frozenset({hair})]
        if worn:
            phrase += f" with {_listed(worn)}"
        if bare:
            phrase += f"{' and' if worn else ''} without {' or '.join(bare)}"
        return phrase


def _listed(names: Sequence[str]) -> str:
    return " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))


def _with_article(noun: str) -> str:
    return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"
